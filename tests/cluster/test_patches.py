"""Patches of kubeadm's and containerd's configuration, as they arrive in a real node."""

from __future__ import annotations

import ssl
import tomllib
from typing import Any

import pytest
from kubernetes_asyncio.client import CoreV1Api

from kindasync import Cluster
from tests.pages import ROOT, blocks

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(240)]

# The page about the node image ends its configuration with a patch of the kubelet's.
CONFIG = (
    blocks(ROOT / "docs/node-image.md", "yaml")[0]
    + """
- |
  kind: KubeletConfiguration
  maxPods: 42
- |
  kind: ClusterConfiguration
  apiServer: {extraArgs: {event-ttl: 2h}}
  etcd: {local: {dataDir: /tmp/etcd}}
- |
  kind: JoinConfiguration
  nodeRegistration: {kubeletExtraArgs: {max-pods: 44}}
networking: {dnsSearch: [corp.example]}
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
  [plugins."io.containerd.grpc.v1.cri"]
  max_container_log_line_size = 8192
containerdConfigPatchesJSON6902:
- '[{"op": "add", "path": "/debug", "value": {"level": "info"}}]'
"""
)
ADDED: list[dict[str, Any]] = [{"labels": {"tier": "db"}}, {"memory": "1Gi"}]


async def test_patches_arrive() -> None:
    """The kubelet, the API server, etcd and containerd all run with what was patched, those of an added node, too; the cluster becomes ready."""
    async with Cluster.running(CONFIG) as cluster:
        node, _ = cluster.nodes
        added = await cluster.add_node(config=ADDED)
        async with cluster.client() as api:
            nodes = {each.metadata.name: each for each in (await CoreV1Api(api).list_node()).items}
        server = (await node.exec(["pgrep", "--list-full", "kube-apiserver"])).text
        file = tomllib.loads((await node.get("/etc/containerd/config.toml")).decode())
        dumps = [(await each.exec(["containerd", "config", "dump"])).text for each in (node, added)]
        resolver = (await added.get("/etc/resolv.conf")).decode()
        certificate = ssl.PEM_cert_to_DER_cert((await node.get("/etc/kubernetes/pki/apiserver.crt")).decode())
        kubelet = (await node.get("/var/lib/kubelet/config.yaml")).decode()
        etcd = (await node.exec(["ls", "/tmp/etcd"])).text

    assert "failCgroupV1: false" in kubelet
    pods = {name: each.status.capacity["pods"] for name, each in nodes.items()}
    assert pods == {node.name: "42", f"{cluster.name}-worker": "43", added.name: "44"}
    assert nodes[added.name].metadata.labels["tier"] == "db"
    assert nodes[added.name].status.allocatable["memory"] == "1Gi"
    assert "search corp.example" in resolver.splitlines()
    assert "--event-ttl=2h" in server
    plugin = file["plugins"]["io.containerd.grpc.v1.cri"]
    assert (plugin["max_container_log_line_size"], plugin["containerd"]["snapshotter"]) == (8192, "overlayfs")
    assert all("max_container_log_line_size = 8192" in each and "level = 'info'" in each for each in dumps)
    assert etcd.strip() == "member"
    assert b"api.example" in certificate
