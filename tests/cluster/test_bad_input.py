"""What goes wrong, on a real Engine: a clear error soon, and everything as it was before."""

from __future__ import annotations

import io
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import pytest

from kindasync import AlreadyExists, Cluster, ConfigInvalid, Engine, KindasyncError, events
from kindasync.docker.containers import container_kill
from kindasync.docker.images import image_import, image_remove
from kindasync.errors import BootFailed, ImageUnusable, StepFailed
from tests.cluster.conftest import Left, look
from tests.unit.recording import Recording

pytestmark = pytest.mark.anyio
SAID_S = 2.0  # from the cause to the failing event
WRONG_FLAG = "kind: ClusterConfiguration\ncontrollerManager: {extraArgs: {not-one: '1'}}\n"
WRONG_REGISTRY = "kind: ClusterConfiguration\nimageRepository: registry.example.invalid/google_containers\n"
END_S = 12.0  # from the cause to the command's end


@pytest.fixture
async def before(own_home: Path) -> AsyncIterator[Left]:
    """What there was; the same has to be there afterwards."""
    left = await look(own_home)
    yield left
    assert await look(own_home) == left


async def refused(kind: type[KindasyncError], **options: Any) -> KindasyncError:
    """The error of a create that has to fail soon, and to say so at once."""
    seen = Recording()
    with anyio.fail_after(END_S), pytest.raises(kind) as caught:
        await Cluster.create(**options, on_event=seen.keep)
    assert caught.value.hint
    assert seen.of(events.StepFailed)[0].monotonic_s < SAID_S
    return caught.value


async def test_an_unknown_image(before: Left, name: str) -> None:
    """Not in the Engine, and no registry has it."""
    error = await refused(ImageUnusable, name=name, image="localhost:9/nothing:1")

    assert "localhost:9/nothing:1" in error.what
    assert "kindasync build node-image" in error.hint


@pytest.mark.parametrize(("changes", "why"), [((), "nothing in it to start"), (("CMD sh",), "/kind/version")])
async def test_an_image_that_is_no_node_image(before: Left, name: str, changes: tuple[str, ...], why: str) -> None:
    """Refused before anything of it is started."""
    reference = "kindasync-tests/not-a-node:1"
    async with Engine.of(None).connect() as connection:
        await image_import(connection, empty_root(), reference, changes=changes)
        try:
            error = await refused(ImageUnusable, name=name, image=reference)
        finally:
            await image_remove(connection, reference)

    assert why in error.why


async def empty_root() -> AsyncIterator[bytes]:
    """A root file system with next to nothing in it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("empty"))
    yield buffer.getvalue()


async def test_a_name_that_is_taken(cluster: Cluster, before: Left) -> None:
    """The cluster that has it is not harmed."""
    error = await refused(AlreadyExists, name=cluster.name)

    assert cluster.name in error.what
    assert (await Cluster.get(cluster.name)).kubeconfig == cluster.kubeconfig


async def test_a_name_that_is_none(before: Left) -> None:
    """Nothing is asked of the Engine."""
    error = await refused(ConfigInvalid, name="Not_A_Name")

    assert "Not_A_Name" in str(error)


async def test_an_asked_port_that_is_taken(cluster: Cluster, before: Left, name: str) -> None:
    """It is the user's to free."""
    port = urlsplit(cluster.kubeconfig["clusters"][0]["cluster"]["server"]).port
    config = {"kind": "Cluster", "apiVersion": "kind.x-k8s.io/v1alpha4", "networking": {"apiServerPort": port}}

    error = await refused(StepFailed, name=name, config=config)

    assert str(port) in str(error)
    assert "port" in error.hint


async def test_no_engine(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said as such, with what to do."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{own_home}/nothing.sock")

    error = await refused(KindasyncError)

    assert "nothing.sock" in error.what
    assert "DOCKER_HOST" in error.hint


@pytest.mark.parametrize(
    "moment",
    [events.NodePaused, events.BootSignalled, events.RuntimeReady, events.ApiServerUp],
    ids=lambda moment: moment.__name__,
)
async def test_a_node_that_dies(before: Left, name: str, moment: type[events.Event]) -> None:
    """While paused, during boot, while the control plane starts, and later: the error says that it died, and comes at once."""
    killed, failed = [0.0], [0.0]

    async def kill(event: events.Event) -> None:
        if isinstance(event, moment):
            async with Engine.of(None).connect() as connection:
                killed[0] = anyio.current_time()
                await container_kill(connection, f"{name}-control-plane", "SIGKILL")
        if isinstance(event, events.StepFailed):
            failed[0] = failed[0] or anyio.current_time()

    with anyio.fail_after(60), pytest.raises(StepFailed) as caught:
        await Cluster.create(name, on_event=kill)

    assert isinstance(caught.value.failures[0], BootFailed), caught.value
    assert "died" in str(caught.value)
    assert failed[0] - killed[0] < SAID_S
    assert anyio.current_time() - killed[0] < END_S


@pytest.mark.parametrize(
    ("mistake", "fails"),
    [
        ({"featureGates": {"NotOne": True}}, "the kubelet of node"),
        # Kubelets give these time.
        pytest.param({"runtimeConfig": {"not/v1": "true"}}, "kube-apiserver on node", marks=pytest.mark.stress),
        pytest.param({"kubeadmConfigPatches": [WRONG_FLAG]}, "kube-controller-manager on node", marks=pytest.mark.stress),
    ],
)
async def test_a_mistake_that_only_kubernetes_knows(before: Left, name: str, mistake: dict[str, Any], fails: str) -> None:
    """Told in the words of what cannot start with it, long before the API server is given up."""
    config = {"kind": "Cluster", "apiVersion": "kind.x-k8s.io/v1alpha4", **mistake}

    with anyio.fail_after(60), pytest.raises(StepFailed, match=f"{fails}.* fails again and again") as caught:
        await Cluster.create(name, config=config)

    assert any(each in caught.value.why for each in ("NotOne", "not/v1", "--not-one")), caught.value.why


@pytest.mark.stress
async def test_an_image_of_the_control_plane_that_cannot_be_pulled(before: Left, name: str) -> None:
    """Told when kubelets have tried three times."""
    config = {"kind": "Cluster", "apiVersion": "kind.x-k8s.io/v1alpha4", "kubeadmConfigPatches": [WRONG_REGISTRY]}

    with anyio.fail_after(90), pytest.raises(StepFailed, match="cannot be pulled on node") as caught:
        await Cluster.create(name, config=config)

    assert "registry.example.invalid" in caught.value.why
