"""The network that nodes share: everybody gets the same one, whoever makes or removes it meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest

from kindasync.cluster._network import ATTEMPTS, ensure_network, release_network
from kindasync.docker import Connection, Engine
from kindasync.docker.networks import Network
from kindasync.errors import ApiError, ClusterError, one_error
from kindasync.events import Bus
from kindasync.testing import FakeEngine
from tests.unit.recording import Recording

pytestmark = pytest.mark.anyio

LISTS = 3  # of one attempt: by its name, all, and by its name again


@pytest.fixture
async def connection(fake: FakeEngine, anyio_backend: str) -> AsyncIterator[Connection]:
    """A connection to the fake."""
    async with Engine.of(fake.url).connect() as connection:
        yield connection


async def ensure(connection: Connection, *seen: Recording) -> Network:
    """The network `kind`, as a create gets it."""
    with one_error():
        async with Bus().delivering(*(each.keep for each in seen)) as bus:
            return await ensure_network(connection, "kind", bus, "demo")


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
