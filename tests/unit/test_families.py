"""Address families: what a create of an IPv6 or dual-stack cluster makes, and what it says where there is no IPv6."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from kindasync import Cluster, Engine
from kindasync.docker.containers import container_start
from kindasync.errors import ClusterError, StepFailed
from kindasync.testing import FakeContainer, FakeEngine, ProgramResult
from tests.unit.leftovers import nothing_left

pytestmark = pytest.mark.anyio

FIRST, WORKER, BALANCER = "demo-control-plane", "demo-worker", "demo-external-load-balancer"
SYSCTLS = {"net.ipv6.conf.all.disable_ipv6": "0", "net.ipv6.conf.all.forwarding": "1"}


async def create(fake: FakeEngine, *roles: str, **networking: Any) -> Cluster:
    """A cluster on the fake."""
    nodes = [{"role": role} for role in roles]
    config = {"kind": "Cluster", "apiVersion": "kind.x-k8s.io/v1alpha4", "nodes": nodes, "networking": networking}
    return await Cluster.create("demo", config=config, engine=fake.url)


def documents(container: FakeContainer) -> dict[str, Any]:
    """kubeadm's documents of a node, by kind."""
    return {document["kind"]: document for document in yaml.safe_load_all(container.files["/kind/kubeadm.conf"])}


def node_ip(document: Any) -> str:
    """What the node's kubelet is told."""
    (value,) = [each["value"] for each in document["nodeRegistration"]["kubeletExtraArgs"] if each["name"] == "node-ip"]
    return str(value)


async def test_the_network_keeps_addresses_of_both_families_for_us(fake: FakeEngine) -> None:
    """Whatever the first cluster in it asks for: the next one may want IPv6."""
    await create(fake, "control-plane")

    (ipv6,) = [subnet for subnet in fake.networks["kind"].subnets if ":" in subnet["Subnet"]]
    assert ipv6 == {"Subnet": "fc00:f853:ccd:e793::/64", "IPRange": "fc00:f853:ccd:e793:1::/80", "Gateway": "fc00:f853:ccd:e793::1"}


async def test_an_ipv6_cluster(fake: FakeEngine) -> None:
    """Kubernetes knows the nodes' IPv6 address, and no other, and the API server is reached on IPv6's loopback."""
    cluster = await create(fake, "control-plane", "worker", ipFamily="ipv6", apiServerPort=26443)

    first, worker = fake.containers[FIRST], fake.containers[WORKER]
    assert first.asked_addresses["IPv6Address"] == first.ipv6_address
    assert documents(first)["InitConfiguration"]["localAPIEndpoint"]["advertiseAddress"] == first.ipv6_address
    assert node_ip(documents(first)["InitConfiguration"]) == first.ipv6_address
    assert node_ip(documents(worker)["JoinConfiguration"]) == worker.ipv6_address
    assert first.host_config["Sysctls"] == worker.host_config["Sysctls"] == SYSCTLS
    assert '"subnet": "fd00:10:244:1::/64"' in worker.files["/etc/cni/net.d/10-kindasync.conflist"].decode()
    assert cluster.kubeconfig["clusters"][0]["cluster"]["server"] == "https://[::1]:26443"


@pytest.mark.parametrize(
    ("subnets", "versions"),
    [({}, (4, 6)), ({"serviceSubnet": "fd00:1::/112,10.1.0.0/16", "podSubnet": "fd00:2::/56,10.2.0.0/16"}, (6, 4))],
)
async def test_a_dual_stack_cluster(fake: FakeEngine, subnets: dict[str, str], versions: Sequence[int]) -> None:
    """Both addresses, first that of the family of the first Service subnet, which the API server advertises."""
    await create(fake, "control-plane", "control-plane", "worker", ipFamily="dual", **subnets)

    for name in (FIRST, WORKER):
        container = fake.containers[name]
        assert container.asked_addresses == {"IPv4Address": container.address, "IPv6Address": container.ipv6_address}
        addresses = {4: container.address, 6: container.ipv6_address}
        (registered,) = [document for kind, document in documents(container).items() if kind in ("InitConfiguration", "JoinConfiguration")]
        assert node_ip(registered) == ",".join(addresses[version] for version in versions)
    first = fake.containers[FIRST]
    advertised = documents(first)["InitConfiguration"]["localAPIEndpoint"]["advertiseAddress"]
    assert advertised == {4: first.address, 6: first.ipv6_address}[versions[0]]
    assert fake.containers[BALANCER].host_config["Sysctls"] == SYSCTLS
    assert set(fake.containers[BALANCER].asked_addresses) == {"IPv4Address", "IPv6Address"}


async def test_an_ipv4_cluster_leaves_ipv6_alone(fake: FakeEngine) -> None:
    """Nodes keep their address of it over restarts, too; Kubernetes does not know it."""
    await create(fake, "control-plane")

    first = fake.containers[FIRST]
    assert first.asked_addresses == {"IPv4Address": first.address, "IPv6Address": first.ipv6_address}
    assert node_ip(documents(first)["InitConfiguration"]) == first.address
    assert fake.containers[FIRST].host_config["Sysctls"] == {}


@pytest.mark.parametrize("family", ["ipv6", "dual"])
async def test_without_ipv6_nothing_is_started(home: Path, family: str) -> None:
    """An Engine that cannot make a network with it: said with what to do, and no container was made."""
    with FakeEngine("rootless") as fake:
        with nothing_left(fake, home), pytest.raises(StepFailed, match=f"a cluster of ipFamily {family}") as raised:
            await create(fake, "control-plane", ipFamily=family)

        assert [request.json.get("Labels") for request in fake.requests_of("ContainerCreate")] == []
    (failure,) = raised.value.failures
    assert isinstance(failure, ClusterError)
    assert "disable_ipv6" in failure.hint


async def test_a_network_of_others_that_has_no_ipv6_is_refused_and_kept(fake: FakeEngine) -> None:
    """It may be in use."""
    fake.add_network("kind")

    with pytest.raises(StepFailed, match='in the network "kind"'):
        await create(fake, "control-plane", ipFamily="ipv6")

    assert list(fake.networks) == ["kind"]


async def test_nodes_that_got_other_ipv6_addresses_are_named(fake: FakeEngine) -> None:
    """Of a network that is not ours the Engine gives the addresses, of both families."""
    network = fake.add_network("kind", subnet="fc00:1::/64")
    network.enable_ipv6 = True
    network.subnets.append({"Subnet": "10.77.0.0/16"})
    cluster = await create(fake, "control-plane", ipFamily="dual")
    ipv4, ipv6 = fake.containers[FIRST].address, fake.containers[FIRST].ipv6_address
    await cluster.stop()
    fake.add_container("intruder", "kindasync/node:v1.37.2", network="kind")
    async with Engine.of(fake.url).connect() as connection:
        await container_start(connection, "intruder")

    with pytest.raises(ClusterError, match="came back with other addresses") as raised:
        await cluster.start()

    assert f"{FIRST} was {ipv4} and {ipv6}, and is" in raised.value.why


# -- kube-proxy's modes


def exits_with(code: int) -> Any:
    """A program that does nothing but that."""
    return lambda *_: ProgramResult(exit_code=code)


@pytest.mark.parametrize(("there", "module"), [(0, 1), (1, 0)])
async def test_ipvs_is_taken_where_the_kernel_has_it(fake: FakeEngine, there: int, module: int) -> None:
    """Built in, or loaded already; or a module."""
    fake.node.programs |= {"test": exits_with(there), "modprobe": exits_with(module)}

    await create(fake, "control-plane", kubeProxyMode="ipvs")

    assert documents(fake.containers[FIRST])["KubeProxyConfiguration"]["mode"] == "ipvs"


async def test_ipvs_is_refused_where_it_has_it_not(fake: FakeEngine, home: Path) -> None:
    """Before the boot, as kube-proxy would say it where nobody looks."""
    fake.node.programs |= {"test": exits_with(1), "modprobe": exits_with(1)}

    with nothing_left(fake, home), pytest.raises(StepFailed, match="kube-proxy cannot use IPVS here") as raised:
        await create(fake, "control-plane", kubeProxyMode="ipvs")

    assert "kubeProxyMode to nftables" in raised.value.hint
