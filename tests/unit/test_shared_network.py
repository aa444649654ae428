"""The network that nodes share: everybody gets the same one, whoever makes or removes it meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from kindasync import Cluster
from kindasync._delivering import delivering
from kindasync.cluster._network import ATTEMPTS, ensure_network, release_network
from kindasync.config import NetworkExtras
from kindasync.docker import Connection, Engine
from kindasync.docker.networks import Network, Subnet, ula_subnet
from kindasync.errors import ApiError, ClusterError, one_error
from kindasync.events import Bus
from kindasync.testing import FakeEngine
from tests.unit.leftovers import nothing_left
from tests.unit.recording import Recording

pytestmark = pytest.mark.anyio

LISTS = 3  # of one attempt: by its name, all, and by its name again


@pytest.fixture
async def connection(fake: FakeEngine, anyio_backend: str) -> AsyncIterator[Connection]:
    """A connection to the fake."""
    async with Engine.of(fake.url).connect() as connection:
        yield connection


async def ensure(connection: Connection, *seen: Recording, **asked: str) -> Network:
    """The network `kind`, as a create gets it that asks for these subnets."""
    with one_error():
        async with delivering(Bus(), *(each.keep for each in seen)) as bus:
            return await ensure_network(connection, "kind", bus, "demo", asked=NetworkExtras(**asked))


async def test_one_that_is_there_is_taken(fake: FakeEngine, connection: Connection) -> None:
    """Whoever made it; nothing is told."""
    there, seen = fake.add_network("kind"), Recording()

    assert (await ensure(connection, seen)).id == there.id
    assert seen == []
    assert fake.requests_of("NetworkCreate") == []


async def test_one_that_goes_between_its_making_and_the_look_at_it_is_made_again(fake: FakeEngine, connection: Connection) -> None:
    """Another process's cluster was the last in it."""
    fake.on("NetworkList", lambda: fake.remove_network("kind"), nth=LISTS)
    seen = Recording()

    network = await ensure(connection, seen)

    assert network.id == fake.networks["kind"].id
    assert len(fake.requests_of("NetworkCreate")) == 2
    assert seen.names == ["NetworkCreated"]


async def test_one_that_others_make_and_remove_again_is_made_again(fake: FakeEngine, connection: Connection) -> None:
    """It was there when ours was refused, and is not when it is looked for."""
    fake.on("NetworkCreate", lambda: fake.add_network("kind"))
    fake.on("NetworkList", lambda: fake.remove_network("kind"), nth=LISTS)

    network = await ensure(connection)

    assert [(network.name, network.id) for network in fake.networks.values()] == [("kind", network.id)]


async def test_one_that_always_goes_is_an_error(fake: FakeEngine, connection: Connection) -> None:
    """After some attempts, with what is in the way."""
    for attempt in range(1, ATTEMPTS + 1):
        fake.on("NetworkList", lambda: fake.remove_network("kind"), nth=LISTS * attempt)

    with anyio.fail_after(10), pytest.raises(ClusterError, match='cannot make the network "kind"') as raised:
        await ensure(connection)

    assert raised.value.why == "others remove it as soon as it is there"
    assert raised.value.hint
    assert len(fake.requests_of("NetworkCreate")) == ATTEMPTS
    assert fake.networks == {}


async def test_all_who_make_it_at_once_get_the_same(fake: FakeEngine, connection: Connection) -> None:
    """One makes it, and tells so."""
    seen = Recording()
    networks: list[str] = []

    async def one() -> None:
        networks.append((await ensure(connection, seen)).id)

    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(one)

    assert set(networks) == {fake.networks["kind"].id}
    assert seen.names == ["NetworkCreated"]


async def test_a_refusal_for_another_reason_is_not_tried_again(fake: FakeEngine, connection: Connection) -> None:
    """In the Engine's words."""
    fake.fail("NetworkCreate", message="failed to set up iptables")

    with pytest.raises(ApiError, match="failed to set up iptables"):
        await ensure(connection)

    assert len(fake.requests_of("NetworkCreate")) == 1


async def test_one_that_others_have_just_removed_counts_as_released(fake: FakeEngine, connection: Connection) -> None:
    """Two clusters' last nodes can go at once."""
    await ensure(connection)
    fake.on("NetworkDelete", lambda: fake.remove_network("kind"))

    await release_network(connection, "kind", Bus(), "demo")

    assert fake.networks == {}


# -- beside the cluster's own addresses


@pytest.mark.parametrize("field", ["podSubnet", "serviceSubnet"])
async def test_a_network_is_made_apart_from_pods_and_services(fake: FakeEngine, field: str) -> None:
    """Although the subnet is free: packets for them would stay in it."""
    taken = "10.89.0.0/16"
    config = {"kind": "Cluster", "apiVersion": "kind.x-k8s.io/v1alpha4", "networking": {field: taken}}

    await Cluster.create("demo", config=config, engine=fake.url)

    assert taken not in [subnet["Subnet"] for subnet in fake.networks["kind"].subnets]


async def test_a_network_with_the_addresses_of_pods_is_refused(fake: FakeEngine, home: Path) -> None:
    """With both named."""
    fake.add_network("kind", subnet="10.244.0.0/16")

    with nothing_left(fake, home), pytest.raises(ClusterError, match="overlaps") as raised:
        await Cluster.create("demo", engine=fake.url)

    assert "it has 10.244.0.0/16, and the configuration asks for 10.244.0.0/16" in raised.value.why


# -- subnets that are asked for


async def test_subnets_that_are_asked_for(fake: FakeEngine, connection: Connection) -> None:
    """A part of each is the Engine's to give, in the rest addresses are fixed."""
    network = await ensure(connection, ipv4_subnet="10.200.0.0/24", ipv6_subnet="fd00:200::/64")

    assert network.subnets == (
        Subnet(subnet="10.200.0.0/24", ip_range="10.200.0.128/25", gateway="10.200.0.1"),
        Subnet(subnet="fd00:200::/64", ip_range="fd00:200:0:0:1::/80", gateway="fd00:200::1"),
    )


async def test_one_subnet_that_is_asked_for_beside_one_that_is_free(connection: Connection) -> None:
    """What is not asked for is as ever."""
    network = await ensure(connection, ipv4_subnet="10.200.0.0/24")

    assert [subnet.subnet for subnet in network.subnets] == ["10.200.0.0/24", ula_subnet("kind", 0)]


@pytest.mark.parametrize("asked", [{"ipv4_subnet": "10.200.0.0/24"}, {"ipv6_subnet": "fd00:200::/64"}])
async def test_a_network_with_another_subnet_is_refused(fake: FakeEngine, connection: Connection, asked: dict[str, str]) -> None:
    """It may be another cluster's; what it has is told."""
    fake.add_network("kind", subnet="10.94.0.0/16")

    with pytest.raises(ClusterError) as raised:
        await ensure(connection, **asked)

    assert raised.value.what == 'the network "kind" is there, with another subnet than the configuration asks for'
    assert "it has 10.94.0.0/16" in raised.value.why
    assert asked.popitem()[1] in raised.value.why


async def test_a_network_with_the_subnet_is_taken(fake: FakeEngine, connection: Connection) -> None:
    """Whoever made it."""
    there = fake.add_network("kind", subnet="10.200.0.0/24")

    assert (await ensure(connection, ipv4_subnet="10.200.0.0/24")).id == there.id


async def test_a_subnet_that_another_network_has(fake: FakeEngine, connection: Connection) -> None:
    """No other is taken in its place."""
    fake.add_network("other", subnet="10.200.0.0/16")

    with pytest.raises(ClusterError, match="the subnets that the configuration asks for overlap"):
        await ensure(connection, ipv4_subnet="10.200.0.0/24", ipv6_subnet="fd00:200::/64")

    assert "kind" not in fake.networks


async def test_an_ipv6_subnet_without_ipv6(fake: FakeEngine, connection: Connection) -> None:
    """Without one, networks are made without IPv6 where there is none; not so one that was asked for."""
    fake.fail("NetworkCreate", status=403, message="Cannot read IPv6 setup for bridge br-1")

    with pytest.raises(ApiError, match="IPv6"):
        await ensure(connection, ipv6_subnet="fd00:200::/64")
