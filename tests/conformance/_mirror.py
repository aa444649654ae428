"""Mirror: the test images that nodes have to pull although they have them, served on every node to that node alone."""

from __future__ import annotations

import anyio

from kindasync import Cluster, Engine
from kindasync.cluster._api import ClusterApi, api_client, deadline
from kindasync.docker.archives import put_archive
from kindasync.node._files import tar_of
from tests.conformance._images import MIRROR, MIRROR_PORT

_NAME = "kindasync-conformance-mirror"
# Source: containerd's docs/hosts.md. What the mirror does not have is asked for at the registry itself.
_HOSTS = f"""\
server = "https://registry.k8s.io"

[host."http://127.0.0.1:{MIRROR_PORT}"]
  capabilities = ["pull", "resolve"]
"""
_DAEMON_SET = {
    "apiVersion": "apps/v1",
    "kind": "DaemonSet",
    "metadata": {"name": _NAME, "namespace": "kube-system"},
    "spec": {
        "selector": {"matchLabels": {"app": _NAME}},
        "template": {
            "metadata": {"labels": {"app": _NAME}},
            "spec": {
                "hostNetwork": True,
                "priorityClassName": "system-node-critical",  # tests preempt, and taint nodes
                "tolerations": [{"operator": "Exists"}],
                "containers": [{"name": "nginx", "image": MIRROR, "imagePullPolicy": "Never"}],
            },
        },
    },
}


async def start_mirror(cluster: Cluster) -> None:
    """Have the cluster's nodes take registry.k8s.io's images from the mirror, whose image they have, before they go there."""
    async with api_client(cluster.kubeconfig) as client:
        api = ClusterApi(client)
        with deadline(api, "the mirror of the test images on all nodes", 120):
            await api.create(_DAEMON_SET)
            async for _, found in api.watch(
                "/apis/apps/v1/namespaces/kube-system/daemonsets", selector=f"fieldSelector=metadata.name%3D{_NAME}"
            ):
                if found["status"].get("numberReady") == len(cluster.nodes):
                    break
    async with Engine.of(None).connect() as connection, anyio.create_task_group() as tasks:
        files = tar_of({"certs.d/registry.k8s.io/hosts.toml": _HOSTS})
        for node in cluster.nodes:
            tasks.start_soon(put_archive, connection, node.name, "/etc/containerd", files)
