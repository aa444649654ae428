"""Contract: networks, and containers in them."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from kindasync.docker._hints import Refusal, refusal_of
from kindasync.docker.containers import container_create, container_inspect, container_list, container_start, container_stop
from kindasync.docker.networks import (
    NetworkSpec,
    Subnet,
    network_connect,
    network_create,
    network_disconnect,
    network_inspect,
    network_list,
    network_remove,
    ula_subnet,
)
from kindasync.errors import ApiError, Conflict, NotFound
from tests.engine.lab import Lab

pytestmark = pytest.mark.anyio


async def test_a_network_is_as_it_was_asked_for(lab: Lab) -> None:
    """Subnet, range, labels, options; a bridge."""
    subnet = await lab.free_subnet()
    options = {"com.docker.network.driver.mtu": "1400"}
    spec = NetworkSpec(name=lab.name("n"), subnets=(subnet,), labels={**lab.labels, "a": "b"}, options=options)

    network_id = await network_create(lab.connection, spec)

    network = await network_inspect(lab.connection, network_id)
    assert (network.id, network.name, network.driver, network.enable_ipv6) == (network_id, lab.name("n"), "bridge", False)
    assert [(each.subnet, each.ip_range) for each in network.subnets] == [(subnet.subnet, subnet.ip_range)]
    assert (network.labels, network.options, network.containers) == ({**lab.labels, "a": "b"}, options, ())


async def test_a_network_without_a_subnet_gets_one_of_the_engine(lab: Lab) -> None:
    """IPv4."""
    name = await lab.network(subnets=())

    (subnet,) = (await network_inspect(lab.connection, name)).subnets
    assert ip_network(subnet.subnet).version == 4


async def test_a_name_is_taken(lab: Lab) -> None:
    """By the first who asks; Podman makes a second one, which is why it is looked for afterwards."""
    name = await lab.network()
    again = NetworkSpec(name=name, subnets=(await lab.free_subnet(),), labels=lab.labels)

    if lab.fake and lab.profile == "podman":
        second = await network_create(lab.connection, again)
        assert [network.id for network in await network_list(lab.connection, name=name)][1] == second
        with pytest.raises(ApiError, match="ambiguous"):
            await network_inspect(lab.connection, name)
    else:
        with pytest.raises(Conflict) as caught:
            await network_create(lab.connection, again)
        assert refusal_of(caught.value.message) is Refusal.NETWORK_EXISTS
        assert caught.value.subject == f"network {name}"


async def test_a_subnet_that_overlaps_is_refused(lab: Lab) -> None:
    """And the refusal is told apart."""
    (subnet,) = (await network_inspect(lab.connection, await lab.network())).subnets
    half = str(next(ip_network(subnet.subnet).subnets()))

    with pytest.raises(ApiError) as caught:
        await lab.network("overlapping", subnets=(Subnet(subnet=half),))

    assert refusal_of(caught.value.message) is Refusal.SUBNETS_OVERLAP
    assert await network_list(lab.connection, name=lab.name("overlapping")) == ()


async def test_ipv6_is_had_or_refused_in_a_way_that_is_told_apart(lab: Lab) -> None:
    """Both families are in the network then."""
    subnets = (await lab.free_subnet(), Subnet(subnet=ula_subnet(lab.run, 0)))

    if lab.profile == "rootless":
        with pytest.raises(ApiError) as caught:
            await lab.network(enable_ipv6=True, subnets=subnets)
        assert refusal_of(caught.value.message) is Refusal.NO_IPV6
    else:
        network = await network_inspect(lab.connection, await lab.network(enable_ipv6=True, subnets=subnets))
        assert network.enable_ipv6
        assert {ip_network(subnet.subnet).version for subnet in network.subnets} == {4, 6}


async def test_list_by_name_means_the_whole_name(lab: Lab) -> None:
    """The Engine takes a part of it, too; we do not."""
    await lab.network("n")
    await lab.network("n-longer")

    assert [network.name for network in await network_list(lab.connection, name=lab.name("n"))] == [lab.name("n")]
    assert await network_list(lab.connection, name=lab.run) == ()


async def test_list_by_labels(lab: Lab) -> None:
    """All of them, the oldest first; None takes any value."""
    first = await lab.network("b")
    second = await lab.network("a", labels={**lab.labels, "kind": "x"})

    async def listed(**labels: str | None) -> list[str]:
        return [network.name for network in await network_list(lab.connection, labels={**lab.labels, **labels})]

    assert await listed() == [first, second]
    assert await listed(kind="x") == [second]
    assert await listed(kind=None) == [second]
    assert await listed(kind="y") == []


async def test_inspect_of_none(lab: Lab) -> None:
    """NotFound."""
    with pytest.raises(NotFound) as caught:
        await network_inspect(lab.connection, lab.name("none"))

    assert caught.value.subject == f"network {lab.name('none')}"


async def test_remove_of_what_is_gone_is_no_error(lab: Lab) -> None:
    """It counts as removed."""
    network_id = (await network_inspect(lab.connection, await lab.network())).id

    await network_remove(lab.connection, network_id)
    await network_remove(lab.connection, network_id)

    assert await network_list(lab.connection, labels=lab.labels) == ()


async def test_a_network_in_use_cannot_be_removed(lab: Lab) -> None:
    """As long as containers run in it. Those that do not run do not keep it, and cannot be started without it."""
    network = await network_inspect(lab.connection, await lab.network())
    container = await lab.running(lab.spec(network=network.name))

    with pytest.raises(ApiError) as caught:
        await network_remove(lab.connection, network.id)
    assert caught.value.status == 403
    assert refusal_of(caught.value.message) is Refusal.NETWORK_IN_USE

    await container_stop(lab.connection, container.id, grace_s=0)
    await network_remove(lab.connection, network.id)
    with pytest.raises(NotFound, match="network"):
        await container_start(lab.connection, container.id)


async def test_a_network_of_the_same_name_is_another_one_to_a_container(lab: Lab) -> None:
    """One that has been started once keeps to the network it was in; one that has not takes what has the name."""
    network = await network_inspect(lab.connection, await lab.network())
    started = await lab.running(lab.spec(network=network.name), name="started")
    await container_stop(lab.connection, started.id, grace_s=0)
    created = await lab.created(lab.spec(network=network.name), name="created")
    await network_remove(lab.connection, network.id)
    await lab.network()

    await container_start(lab.connection, created)
    with pytest.raises(NotFound, match="network"):
        await container_start(lab.connection, started.id)


async def test_containers_of_a_network_are_those_that_run_in_it(lab: Lab) -> None:
    """Inspect tells only of them."""
    name = await lab.network()
    running = await lab.running(lab.spec(network=name), name="running")
    await lab.created(lab.spec(network=name), name="created")

    assert (await network_inspect(lab.connection, name)).containers == (running.id,)


async def test_a_list_by_network_has_containers_of_every_state_by_its_name(lab: Lab) -> None:
    """By its ID only those that have been started: until then the Engine has not looked it up."""
    network = await network_inspect(lab.connection, await lab.network())
    await lab.running(lab.spec(network=network.name), name="running")
    stopped = await lab.running(lab.spec(network=network.name), name="stopped")
    await container_stop(lab.connection, stopped.id, grace_s=0)
    await lab.created(lab.spec(network=network.name), name="created")
    await lab.created(name="elsewhere")

    async def listed(network: str) -> set[str]:
        return {container.name.removeprefix(f"{lab.run}-") for container in await container_list(lab.connection, network=network)}

    assert await listed(network.name) == {"running", "stopped", "created"}
    assert await listed(network.id) == {"running", "stopped"}


async def test_a_fixed_address_is_the_container_s_whenever_it_runs(lab: Lab) -> None:
    """It is told as asked for in every state, and as had while the container runs."""
    name = await lab.network()
    (subnet,) = (await network_inspect(lab.connection, name)).subnets
    address = str(ip_network(subnet.subnet)[10])
    container_id = await lab.created(lab.spec(network=name, ipv4_address=address))

    async def addresses() -> tuple[str, str]:
        attachment = (await container_inspect(lab.connection, container_id)).attachment(name)
        assert attachment
        return attachment.fixed_ipv4, attachment.ipv4_address

    assert await addresses() == (address, "")
    await container_start(lab.connection, container_id)
    assert await addresses() == (address, address)
    await container_stop(lab.connection, container_id, grace_s=0)
    assert await addresses() == (address, "")
    await container_start(lab.connection, container_id)
    assert await addresses() == (address, address)


async def test_a_fixed_address_that_another_one_has_shows_at_start(lab: Lab) -> None:
    """The refusal is told apart; a container that does not run holds no address."""
    name = await lab.network()
    (subnet,) = (await network_inspect(lab.connection, name)).subnets
    spec = lab.spec(network=name, ipv4_address=str(ip_network(subnet.subnet)[10]))
    first, second = await lab.created(spec, name="first"), await lab.created(spec, name="second")
    await container_start(lab.connection, first)

    with pytest.raises(ApiError) as caught:
        await container_start(lab.connection, second)

    assert refusal_of(caught.value.message) is Refusal.ADDRESS_TAKEN
    await container_stop(lab.connection, first, grace_s=0)
    await container_start(lab.connection, second)


async def test_addresses_that_nobody_asked_for_come_from_the_range(lab: Lab) -> None:
    """So that the rest of the subnet is free for those that are asked for."""
    name = await lab.network()
    (subnet,) = (await network_inspect(lab.connection, name)).subnets
    container = await lab.running(lab.spec(network=name))

    attachment = container.attachment(name)

    assert attachment
    assert ip_address(attachment.ipv4_address) in ip_network(subnet.ip_range)
    assert attachment.fixed_ipv4 == ""


async def test_a_fixed_address_needs_a_subnet_that_was_asked_for(lab: Lab) -> None:
    """Refused at create in a network whose subnet the Engine chose itself."""
    name = await lab.network(subnets=())
    (subnet,) = (await network_inspect(lab.connection, name)).subnets
    spec = lab.spec(network=name, ipv4_address=str(ip_network(subnet.subnet)[10]))

    with pytest.raises(ApiError, match="user configured subnets") as caught:
        await lab.created(spec)

    assert caught.value.status == 400


async def test_a_network_that_is_not_there_shows_at_start(lab: Lab) -> None:
    """ContainerCreate does not look."""
    container_id = await container_create(lab.connection, lab.name("a"), replace(lab.spec(), network_mode="", network=lab.name("none")))

    with pytest.raises(NotFound, match=f"network {lab.name('none')} not found"):
        await container_start(lab.connection, container_id)


async def test_a_place_is_taken_and_given_back(lab: Lab) -> None:
    """With the same address; while it is taken, the container runs on without."""
    subnet = await lab.free_subnet()
    address = str(ip_network(subnet.subnet)[7])
    name = await lab.network(subnets=(subnet,))
    container = await lab.running(lab.spec(network=name, ipv4_address=address))

    await network_disconnect(lab.connection, name, container.id)
    without = await container_inspect(lab.connection, container.id)
    with pytest.raises(ApiError):
        await network_disconnect(lab.connection, name, container.id)
    await network_connect(lab.connection, name, container.id, ipv4_address=address, aliases=("other",))
    again = await container_inspect(lab.connection, container.id)
    with pytest.raises(ApiError):
        await network_connect(lab.connection, name, container.id)

    assert (without.state, without.attachments) == ("running", ())
    (place,) = again.attachments
    assert (place.network, place.ipv4_address, place.fixed_ipv4) == (name, address, address)
    assert "other" in place.aliases
