"""Patches of kubeadm's and containerd's configuration, as they arrive in a real node."""

from __future__ import annotations

import ssl
import tomllib

import pytest
from kubernetes_asyncio.client import CoreV1Api

from kindasync import Cluster

pytestmark = pytest.mark.anyio

CONFIG = """
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
kubeadmConfigPatches:
- |
  kind: KubeletConfiguration
  maxPods: 42
- |
  kind: ClusterConfiguration
  apiServer: {extraArgs: {event-ttl: 2h}}
  etcd: {local: {dataDir: /tmp/etcd}}
nodes:
- kubeadmConfigPatchesJSON6902:
  - {group: kubeadm.k8s.io, version: v1beta4, kind: ClusterConfiguration, patch: '[{"op": "add", "path": "/apiServer/certSANs/-", "value": "api.example"}]'}
- role: worker
  kubeadmConfigPatches:
  - |
    kind: JoinConfiguration
    nodeRegistration: {kubeletExtraArgs: {max-pods: 43}}
containerdConfigPatches:
- |
  [plugins.'io.containerd.cri.v1.runtime']
  max_container_log_line_size = 8192
containerdConfigPatchesJSON6902:
- '[{"op": "add", "path": "/debug", "value": {"level": "info"}}]'
"""


async def test_patches_arrive() -> None:
    """The kubelet, the API server, etcd and containerd all run with what was patched; the cluster becomes ready."""
    async with Cluster.running(CONFIG) as cluster:
        node, _ = cluster.nodes
        async with cluster.client() as api:
            pods = {each.metadata.name: each.status.capacity["pods"] for each in (await CoreV1Api(api).list_node()).items}
        server = (await node.exec(["pgrep", "--list-full", "kube-apiserver"])).text
        file = tomllib.loads((await node.get("/etc/containerd/config.toml")).decode())
        dumped = (await node.exec(["containerd", "config", "dump"])).text
        certificate = ssl.PEM_cert_to_DER_cert((await node.get("/etc/kubernetes/pki/apiserver.crt")).decode())
        etcd = (await node.exec(["ls", "/tmp/etcd"])).text

    assert pods == {node.name: "42", f"{cluster.name}-worker": "43"}
    assert "--event-ttl=2h" in server
    assert file["plugins"]["io.containerd.cri.v1.runtime"]["max_container_log_line_size"] == 8192
    assert file["plugins"]["io.containerd.cri.v1.images"]["snapshotter"] == "overlayfs"
    assert "max_container_log_line_size = 8192" in dumped
    assert "level = 'info'" in dumped
    assert etcd.strip() == "member"
    assert b"api.example" in certificate
