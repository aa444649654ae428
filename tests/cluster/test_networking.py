"""Fields of the configuration that shape networks, nodes and the API, each seen to have its effect in a real cluster."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from kubernetes_asyncio.client import AppsV1Api, CoreV1Api
from kubernetes_asyncio.watch import Watch

from kindasync import Cluster
from kindasync.docker.containers import container_inspect
from kindasync.errors import StepFailed
from tests.cluster.conftest import BUSYBOX, pod, pod_ends, pod_is

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

HEAD = {"kind": "Cluster", "apiVersion": "kind.x-k8s.io/v1alpha4"}
SEARCH = "search a.example b.example"
ASK_THE_API = "for i in 1 2 3 4 5 6 7 8; do nc -w 2 kubernetes.default 443 </dev/null && exit 0; sleep 1; done; exit 1"
GATE = "CoordinatedLeaderElection"  # beta, and off


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory whose mounts others see, as on a host that systemd has booted; elsewhere it is made so."""
    directory = tmp_path_factory.mktemp("shared")
    subprocess.run(["mount", "--bind", directory, directory], check=True)
    subprocess.run(["mount", "--make-shared", directory], check=True)
    for name in ("both-ways", "inwards"):
        (directory / name).mkdir()
    yield directory
    subprocess.run(["umount", "--recursive", directory], check=True)


@pytest.fixture(scope="module")
async def asked(shared: Path, anyio_backend: str) -> AsyncIterator[Cluster]:
    """A cluster with all of it."""
    mounts = [
        {"hostPath": f"{shared}/both-ways", "containerPath": "/both-ways", "propagation": "Bidirectional"},
        {"hostPath": f"{shared}/inwards", "containerPath": "/inwards", "propagation": "HostToContainer"},
    ]
    node = {
        "role": "control-plane",
        "labels": {"tier": "a"},
        "extraMounts": mounts,
        "extraPortMappings": [{"containerPort": 30053, "protocol": "udp"}],
    }
    config = {
        **HEAD,
        "nodes": [node],
        "networking": {"kubeProxyMode": "nftables", "dnsSearch": ["a.example", "b.example"]},
        "featureGates": {GATE: True},
        "runtimeConfig": {"api/all": "true"},
    }
    async with Cluster.running(config) as cluster:
        yield cluster


async def test_dns_search_is_that_of_nodes_and_pods(asked: Cluster) -> None:
    """Instead of the host's; pods have the cluster's own before it."""
    node = (await asked.nodes[0].exec(["cat", "/etc/resolv.conf"])).text
    async with asked.client() as api:
        core = CoreV1Api(api)
        await core.create_namespaced_pod("default", pod("searches", ["cat", "/etc/resolv.conf"]))
        _, in_a_pod = await pod_ends(core, "default", "searches")

    assert [line for line in node.splitlines() if line.startswith("search")] == [SEARCH]
    assert "search default.svc.cluster.local svc.cluster.local cluster.local a.example b.example" in in_a_pod.splitlines()


async def test_services_answer_through_nftables(asked: Cluster) -> None:
    """By address and name; also one by UDP, asked from this machine through a published port."""
    service: Any = {
        "metadata": {"name": "dns", "namespace": "kube-system"},
        "spec": {
            "type": "NodePort",
            "selector": {"k8s-app": "kube-dns"},
            "ports": [{"port": 53, "protocol": "UDP", "nodePort": 30053}],
        },
    }
    async with asked.client() as api:
        core = CoreV1Api(api)
        await core.create_namespaced_service("kube-system", service)
        await core.create_namespaced_pod("default", pod("asks", ["sh", "-c", ASK_THE_API]))
        phase, output = await pod_ends(core, "default", "asks")
    answer = await anyio.to_thread.run_sync(lookup, await asked.nodes[0].published(30053, "udp"))

    assert phase == "Succeeded", output
    assert "kube-proxy" in (await asked.nodes[0].exec(["nft", "list", "tables"])).text
    assert socket.inet_aton("10.96.0.1") in answer


def lookup(server: str) -> bytes:
    """What a DNS server says of the API's Service."""
    host, _, port = server.rpartition(":")
    name = b"".join(bytes([len(label)]) + label for label in b"kubernetes.default.svc.cluster.local".split(b".")) + b"\0"
    question = b"\x12\x34\x01\0\0\1\0\0\0\0\0\0" + name + b"\0\1\0\1"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(2)
        udp.connect((host.strip("[]"), int(port)))
        for _ in range(10):
            udp.send(question)
            try:
                return udp.recv(512)
            except TimeoutError:  # or the Service has no endpoint yet
                continue
    raise AssertionError(f"{server} does not answer")


async def test_labels_gates_and_apis_are_as_asked_for(asked: Cluster) -> None:
    """The node's label; a gate that the API server knows to be on; APIs that are off by default."""
    async with asked.client() as api:
        (node,) = (await CoreV1Api(api).list_node()).items
        metrics = await (await api.call_api("/metrics", "GET", auth_settings=["BearerToken"], _preload_content=False)).text()
        groups = await (await api.call_api("/apis", "GET", auth_settings=["BearerToken"], _preload_content=False)).json()

    assert node.metadata.labels["tier"] == "a"
    assert f'kubernetes_feature_enabled{{name="{GATE}",stage="BETA"}} 1' in metrics
    assert any("alpha" in version["version"] for group in groups["groups"] for version in group["versions"])


async def test_mounts_propagate(asked: Cluster, shared: Path) -> None:
    """Bidirectional: what the node mounts is seen on the host, but not what pods mount in its /var, which would keep the volume there.
    HostToContainer: what the host mounts is seen in the node, and no more.
    """
    node = asked.nodes[0]
    for name in ("both-ways", "inwards"):
        await node.exec(["mkdir", "-p", f"/{name}/of-node"])
        await node.exec(["mount", "-t", "tmpfs", "of-node", f"/{name}/of-node"])
    os.mkdir(shared / "inwards/of-host")
    subprocess.run(["mount", "-t", "tmpfs", "of-host", shared / "inwards/of-host"], check=True)

    async with asked.engine.connect() as connection:
        (volume,) = (mount.source for mount in (await container_inspect(connection, node.id)).mounts if mount.target == "/var")
    assert "kubernetes.io~projected" in (await node.exec(["cat", "/proc/mounts"])).text
    assert volume not in Path("/proc/self/mounts").read_text()
    assert (shared / "both-ways/of-node").is_mount()
    assert not (shared / "inwards/of-node").is_mount()
    assert (await node.exec(["mountpoint", "/inwards/of-host"], check=False)).exit_code == 0


CONFLIST = """{"cniVersion": "1.0.0", "name": "foreign", "plugins": [{"type": "bridge", "bridge": "foreign0", "isGateway": true, "ipMasq": true,
"ipam": {"type": "host-local", "ranges": [[{"subnet": "10.245.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}"""
FOREIGN: Any = {
    "metadata": {"name": "foreign-cni"},
    "spec": {
        "selector": {"matchLabels": {"app": "foreign-cni"}},
        "template": {
            "metadata": {"labels": {"app": "foreign-cni"}},
            "spec": {
                "hostNetwork": True,
                "tolerations": [{"operator": "Exists"}],
                "containers": [
                    {
                        "name": "install",
                        "image": BUSYBOX,
                        "imagePullPolicy": "Never",
                        "command": ["sh", "-c", 'echo "$CONFLIST" >/cni/10-foreign.conflist && exec sleep infinity'],
                        "env": [{"name": "CONFLIST", "value": CONFLIST}],
                        "volumeMounts": [{"name": "cni", "mountPath": "/cni"}],
                    }
                ],
                "volumes": [{"name": "cni", "hostPath": {"path": "/etc/cni/net.d"}}],
            },
        },
    },
}


async def test_another_pod_network_in_the_place_of_ours(name: str) -> None:
    """The node waits for it, and is Ready with it; its pods have its addresses. Nor is there a kube-proxy, or a search line."""
    networking = {"disableDefaultCNI": True, "kubeProxyMode": "none", "dnsSearch": []}
    async with Cluster.running({**HEAD, "networking": networking}, name=name) as cluster, cluster.client() as api:
        core, apps = CoreV1Api(api), AppsV1Api(api)
        before = await readiness(core)
        await apps.create_namespaced_daemon_set("kube-system", FOREIGN)
        await node_ready(core)
        await core.create_namespaced_pod("default", pod("one", ["sleep", "infinity"]))
        await pod_is(core, "default", "one", lambda status: status.phase == "Running")
        address = (await core.read_namespaced_pod("one", "default")).status.pod_ip
        sets = [each.metadata.name for each in (await apps.list_namespaced_daemon_set("kube-system")).items]
        resolv_conf = (await cluster.nodes[0].exec(["cat", "/etc/resolv.conf"])).text

    assert before == "False"
    assert address.startswith("10.245.0.")
    assert sets == ["foreign-cni"]
    assert "nameserver" in resolv_conf
    assert "search" not in resolv_conf


async def readiness(core: CoreV1Api) -> str:
    (node,) = (await core.list_node()).items
    return str({condition.type: condition.status for condition in node.status.conditions}["Ready"])


async def node_ready(core: CoreV1Api) -> None:
    """Wait, by a watch, until the one node is."""
    with anyio.fail_after(120):
        async with Watch().stream(core.list_node) as events:
            async for event in events:
                conditions = {each.type: each.status for each in event["object"].status.conditions or []}
                if conditions.get("Ready") == "True":
                    return


async def test_ipvs_answers_where_the_kernel_has_it_and_is_refused_elsewhere(name: str) -> None:
    """It is not found out by a Service that never answers."""
    config = {**HEAD, "networking": {"kubeProxyMode": "ipvs"}}
    if not Path("/proc/net/ip_vs").exists():
        with pytest.raises(StepFailed, match="kube-proxy cannot use IPVS here"):
            await Cluster.create(name, config=config)
        assert name not in await Cluster.list()
        return
    async with Cluster.running(config, name=name) as cluster, cluster.client() as api:
        core = CoreV1Api(api)
        await core.create_namespaced_pod("default", pod("asks", ["sh", "-c", ASK_THE_API]))
        assert (await pod_ends(core, "default", "asks"))[0] == "Succeeded"


async def test_sctp_is_published_where_the_kernel_has_it_and_is_refused_elsewhere(name: str) -> None:
    """With what to do."""
    mapping = {"containerPort": 30090, "protocol": "SCTP"}
    config = {**HEAD, "nodes": [{"role": "control-plane", "extraPortMappings": [mapping]}]}
    if not Path("/proc/net/sctp").exists():
        with pytest.raises(StepFailed, match="modprobe sctp"):
            await Cluster.create(name, config=config)
        assert name not in await Cluster.list()
        return
    async with Cluster.running(config, name=name) as cluster:
        assert await cluster.nodes[0].published(30090, "sctp")
