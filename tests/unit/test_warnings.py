"""Warnings: what was asked for, or cannot be helped, and may surprise, is told before it matters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from kindasync import Cluster
from kindasync import events as told
from kindasync.events import Event
from kindasync.testing import FakeEngine
from tests.unit.leftovers import nothing_left
from tests.unit.recording import Recording

pytestmark = pytest.mark.anyio

NODE = "demo-control-plane"
NODE_IMAGE = "kindasync/node:v1.37.2"


@pytest.fixture
def version(fake: FakeEngine) -> Callable[[str, str], None]:
    """Gives an image, or a copy of it, another version of Kubernetes."""

    def change(reference: str, version: str) -> None:
        there = fake.images[NODE_IMAGE]
        fake.images[reference] = replace(there, reference=reference, files={**there.files, "/kind/version": f"{version}\n".encode()})

    return change


async def warned(fake: FakeEngine, home: Path, **networking: Any) -> list[told.Warned]:
    """What a create warns of until its node is paused, where it is cancelled: what it publishes may not be reached from here."""
    seen = Recording()
    config = {"kind": "Cluster", "apiVersion": "kind.x-k8s.io/v1alpha4", "networking": networking}

    async def listen(event: Event) -> None:
        await seen.keep(event)
        if isinstance(event, told.NodePaused):
            scope.cancel()

    with nothing_left(fake, home), anyio.CancelScope() as scope:
        await Cluster.create("demo", config=config, engine=fake.url, on_event=listen)
    assert scope.cancelled_caught
    return seen.of(told.Warned)


def config(*, workers: int, image: str = "") -> dict[str, Any]:
    """One control plane, and workers of an image."""
    worker = {"role": "worker", **({"image": image} if image else {})}
    return {"kind": "Cluster", "apiVersion": "kind.x-k8s.io/v1alpha4", "nodes": [{"role": "control-plane"}, *[worker] * workers]}


@pytest.mark.parametrize("override", ["", "127.0.0.1", "127.0.0.2", "localhost", "::1"])
async def test_an_api_server_on_loopback_is_no_news(fake: FakeEngine, home: Path, monkeypatch: pytest.MonkeyPatch, override: str) -> None:
    """Nobody else reaches it."""
    monkeypatch.setenv("KINDASYNC_HOST_OVERRIDE", override)

    assert await warned(fake, home) == []


@pytest.mark.parametrize(
    ("override", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("engine.example", "0.0.0.0"),  # known by its name only: all addresses
        ("2001:db8::1", "[2001:db8::1]"),
    ],
)
async def test_an_api_server_that_others_reach_is_warned_of(
    fake: FakeEngine, home: Path, monkeypatch: pytest.MonkeyPatch, override: str, address: str
) -> None:
    """KINDASYNC_HOST_OVERRIDE says how this machine reaches it, and decides where it is published."""
    monkeypatch.setenv("KINDASYNC_HOST_OVERRIDE", override)

    (warning,) = await warned(fake, home)

    assert (warning.cluster, warning.node) == ("demo", NODE)
    (asked,) = fake.requests_of("ContainerCreate")[-1].json["HostConfig"]["PortBindings"]["6443/tcp"]
    assert warning.message == f"the API server is published on {address}:{asked['HostPort']}: whoever reaches that can talk to it"


@pytest.mark.parametrize(("address", "warns"), [("0.0.0.0", True), ("::", True), ("192.0.2.1", True), ("127.0.0.1", False), ("::1", False)])
async def test_the_address_of_the_configuration_counts_as_well(fake: FakeEngine, home: Path, address: str, warns: bool) -> None:
    """It was asked for, and may still surprise."""
    assert bool(await warned(fake, home, apiServerAddress=address)) is warns


async def test_a_port_that_the_engine_picks_is_not_known_yet(fake: FakeEngine, home: Path) -> None:
    """The address is what matters."""
    (warning,) = await warned(fake, home, apiServerAddress="0.0.0.0", apiServerPort=-1)

    assert warning.message.startswith("the API server is published on 0.0.0.0: whoever")


@pytest.mark.parametrize(
    ("variable", "value", "warns"),
    [
        ("KIND_EXPERIMENTAL_PROVIDER", "podman", True),
        ("KIND_EXPERIMENTAL_PROVIDER", "docker", False),  # so it is
        ("KIND_EXPERIMENTAL_CONTAINERD_SNAPSHOTTER", "native", True),
    ],
)
async def test_what_only_the_kind_program_heeds(
    fake: FakeEngine, home: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, warns: bool
) -> None:
    """A script of its users may set it."""
    monkeypatch.setenv(variable, value)

    assert [each.message.partition(":")[0] for each in await warned(fake, home)] == [f"{variable}={value} has no effect"] * warns


@pytest.mark.parametrize("there", [True, False])
async def test_a_mount_of_what_is_not_there(fake: FakeEngine, home: Path, tmp_path: Path, there: bool) -> None:
    """A mistyped path would be an empty directory, the Engine's, in the node and on the host."""
    path = tmp_path / "data"
    if there:
        path.mkdir()
    mounts = [{"hostPath": str(path), "containerPath": "/data"}] * 2
    seen = Recording()

    await Cluster.create("demo", config=config(workers=0) | {"nodes": [{"extraMounts": mounts}]}, engine=fake.url, on_event=seen.keep)

    expected = f"{path}, which extraMounts name, is not there: the Engine makes an empty directory, if it has none"
    assert [each.message for each in seen.of(told.Warned)] == ([] if there else [expected])


async def test_each_surprise_is_a_warning_of_its_own(fake: FakeEngine, home: Path) -> None:
    """In a fixed order."""
    first, second = await warned(fake, home, disableDefaultCNI=True, apiServerAddress="0.0.0.0")

    assert "another pod network" in first.message
    assert "published on" in second.message


async def test_pods_that_may_get_the_addresses_of_services(fake: FakeEngine, home: Path) -> None:
    """kind takes such subnets, too."""
    (warning,) = await warned(fake, home, podSubnet="10.96.0.0/12", serviceSubnet="10.96.0.0/16")

    assert warning.message == "podSubnet 10.96.0.0/12 and serviceSubnet 10.96.0.0/16 overlap: a pod may get a Service's address"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("v1.38.0", "Kubernetes v1.38.0 is newer than kindasync knows (1.35 to 1.37); trying"),
        ("v1.30.4", "Kubernetes v1.30.4 is older than kindasync supports (1.35 to 1.37); trying"),
    ],
)
async def test_a_minor_that_is_not_supported_is_tried(
    fake: FakeEngine, home: Path, version: Callable[[str, str], None], text: str, message: str
) -> None:
    """One warning, however many nodes there are of it."""
    version(NODE_IMAGE, text)
    seen = Recording()

    await Cluster.create("demo", config=config(workers=2), engine=fake.url, on_event=seen.keep)

    assert [(warning.node, warning.message) for warning in seen.of(told.Warned)] == [(NODE, message)]
    assert "ClusterReady" in seen.names


async def test_a_node_of_another_image_is_warned_of_by_itself(fake: FakeEngine, home: Path, version: Callable[[str, str], None]) -> None:
    """As a kubelet that is older than its control plane."""
    version("kindest/node:v1.34.0", "v1.34.0")
    seen = Recording()

    await Cluster.create("demo", config=config(workers=1, image="kindest/node:v1.34.0"), engine=fake.url, on_event=seen.keep)

    (warning,) = seen.of(told.Warned)
    assert (warning.node, "older" in warning.message) == ("demo-worker", True)
