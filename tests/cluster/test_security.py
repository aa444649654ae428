"""Security: what a container beside the nodes can reach, read and do without credentials: no more than upstream's defaults allow."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from secrets import token_hex

import anyio
import pytest
import yaml
from kubernetes_asyncio.client import CoreV1Api

from kindasync import Cluster, Node
from kindasync.cluster._lookup import members
from kindasync.config import Role
from kindasync.docker import Connection
from kindasync.docker.containers import Container, ContainerSpec, container_create, container_remove, container_start
from kindasync.docker.execs import container_exec
from tests.cluster.test_shapes import shape

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

REFUSED, NO_TLS = (7,), (35, 56)  # curl's exit codes: no connection; the TLS handshake, or what comes after it, failed
# What listens on more than a node's loopback address, and who keeps others out.
WORKER_PORTS = {
    10250: "kubelet: asks everybody for a certificate or token",
    10256: "kube-proxy's health: says whether Services work, as upstream's does",
}
CONTROL_PLANE_PORTS = WORKER_PORTS | {
    6443: "API server: authentication and RBAC",
    2379: "etcd for clients: a certificate of its authority",
    2380: "etcd for its members: a certificate of its authority",
}


@dataclass(frozen=True, slots=True)
class Outsider:
    """A container beside the nodes that belongs to nobody."""

    connection: Connection
    id: str

    async def curl(self, url: str, *options: str) -> tuple[int, str]:
        """Ask for a URL, whatever its certificate; curl's exit code, and the status of the answer."""
        argv = ("curl", "--insecure", "--silent", "--max-time", "10", "--output", "/dev/null", "--write-out", "%{http_code}", *options, url)
        result = await container_exec(self.connection, self.id, argv)
        return result.exit_code, result.text

    async def status(self, url: str, *options: str) -> int:
        """The status of an answer."""
        code, status = await self.curl(url, *options)
        assert code == 0, f"{url}: curl ended with {code}"
        return int(status)


@pytest.fixture(scope="module")
async def cluster(anyio_backend: str) -> AsyncIterator[Cluster]:
    """Several control planes, for the balancer's sake."""
    async with Cluster.running(shape(2, 1), wait_s=240) as running:
        yield running


@pytest.fixture(scope="module")
async def outsider(cluster: Cluster) -> AsyncIterator[Outsider]:
    async with cluster.engine.connect() as connection:
        first = (await members(connection, cluster.name))[0]
        spec = ContainerSpec(image=first.image, network=first.attachments[0].network, entrypoint=("sleep", "infinity"), cmd=())
        container = await container_create(connection, f"outsider-{token_hex(4)}", spec)
        try:
            await container_start(connection, container)
            yield Outsider(connection, container)
        finally:
            await container_remove(connection, container)


def of_role(cluster: Cluster, role: Role) -> list[Node]:
    return [node for node in cluster.nodes if node.role is role]


@pytest.mark.parametrize("path", ["/pods", "/metrics", "/logs/", "/configz", "/run/kube-system/x/y", "/healthz"])
async def test_the_kubelet_knows_nobody_without_credentials(cluster: Cluster, outsider: Outsider, path: str) -> None:
    """401, whatever is asked for."""
    for node in cluster.nodes:
        assert await outsider.status(f"https://{node.name}:10250{path}") == 401


async def test_the_kubelet_has_no_port_without_tls(cluster: Cluster, outsider: Outsider) -> None:
    """10255, of old."""
    for node in cluster.nodes:
        code, _ = await outsider.curl(f"http://{node.name}:10255/pods")
        assert code in REFUSED


@pytest.mark.parametrize("port", [2379, 2380])
async def test_etcd_wants_a_certificate(cluster: Cluster, outsider: Outsider, port: int) -> None:
    """Of its own authority; there is none for whoever asks."""
    for node in of_role(cluster, Role.CONTROL_PLANE):
        code, _ = await outsider.curl(f"https://{node.name}:{port}/version")
        assert code in NO_TLS


@pytest.mark.parametrize("port", [2381, 10257, 10259, 10248, 10249])
async def test_what_is_for_the_node_itself_is_not_for_others(cluster: Cluster, outsider: Outsider, port: int) -> None:
    """etcd's metrics, controller-manager, scheduler, the kubelet's health, kube-proxy's metrics."""
    for node in cluster.nodes:
        code, _ = await outsider.curl(f"https://{node.name}:{port}/")
        assert code in REFUSED


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/version", 200),
        ("/healthz", 200),
        ("/livez", 200),
        ("/readyz", 200),
        ("/api/v1/namespaces/kube-public/configmaps/cluster-info", 200),  # kubeadm's: who is the cluster's authority
        ("/api", 403),
        ("/apis", 403),
        ("/openapi/v2", 403),
        ("/metrics", 403),
        ("/api/v1/nodes", 403),
        ("/api/v1/secrets", 403),
        ("/api/v1/namespaces/kube-system/configmaps/kubeadm-config", 403),
    ],
)
async def test_the_api_server_tells_strangers_what_upstreams_does(cluster: Cluster, outsider: Outsider, path: str, status: int) -> None:
    """By the balancer, and by each control plane."""
    for name in (f"{cluster.name}-external-load-balancer", *(node.name for node in of_role(cluster, Role.CONTROL_PLANE))):
        assert await outsider.status(f"https://{name}:6443{path}") == status


async def test_the_token_of_the_create_joins_nobody_any_more(cluster: Cluster, outsider: Outsider) -> None:
    """Neither it nor no token asks for a kubelet's certificate, and cluster-info is signed with none.

    API servers know a token that they have just accepted for ten seconds more, as upstream sets them.
    """
    (worker,) = of_role(cluster, Role.WORKER)
    documents = yaml.safe_load_all(await worker.get("/kind/kubeadm.conf"))
    (token,) = [each["discovery"]["tlsBootstrapToken"] for each in documents if each["kind"] == "JoinConfiguration"]
    for node in of_role(cluster, Role.CONTROL_PLANE):
        url = f"https://{node.name}:6443/apis/certificates.k8s.io/v1/certificatesigningrequests"
        with anyio.fail_after(30):
            while await outsider.status(url, "--header", f"Authorization: Bearer {token}", "--data", "{}") != 401:
                await anyio.sleep(0.5)
        assert await outsider.status(url, "--data", "{}") == 403
    async with cluster.client() as api:
        info = await CoreV1Api(api).read_namespaced_config_map("cluster-info", "kube-public")
    assert [key for key in info.data if key.startswith("jws-")] == []


async def test_nodes_listen_where_it_is_known_why(cluster: Cluster) -> None:
    """On more than their loopback address, that is; the balancer only as the API server, without a page of statistics."""
    async with cluster.engine.connect() as connection:
        containers = {each.name: each for each in await members(connection, cluster.name)}
        for node in cluster.nodes:
            allowed = CONTROL_PLANE_PORTS if node.role is Role.CONTROL_PLANE else WORKER_PORTS
            assert await listening(connection, containers[node.name]) == set(allowed)
        assert await listening(connection, containers[f"{cluster.name}-external-load-balancer"]) == {6443}


async def listening(connection: Connection, container: Container) -> set[int]:
    """The TCP and UDP ports at which others reach something in a container."""
    result = await container_exec(connection, container.id, ("ss", "--no-header", "--listening", "--tcp", "--udp", "--numeric"))
    return {int(port) for host, port in map(endpoint, result.text.splitlines()) if not host.startswith(("127.", "[::1]"))}


def endpoint(line: str) -> Sequence[str]:
    """The local address and port in a line of ss."""
    host, _, port = line.split()[4].rpartition(":")
    return host, port
