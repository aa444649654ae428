"""Contract: containers, from their making to their removal."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from kindasync.docker import Connection, containers
from kindasync.docker._engine import Call
from kindasync.docker._hints import Refusal, refusal_of
from kindasync.docker.containers import (
    Bind,
    Mount,
    PortBinding,
    StrictBind,
    container_create,
    container_inspect,
    container_kill,
    container_list,
    container_pause,
    container_remove,
    container_restart,
    container_start,
    container_stop,
    container_unpause,
    container_wait,
)
from kindasync.docker.execs import container_exec
from kindasync.docker.volumes import volume_create, volume_list
from kindasync.errors import ApiError, Conflict, EngineTimeout, NotFound
from kindasync.testing import FakeEngine, ProgramResult
from tests.engine.lab import NODE_IMAGE, Lab

pytestmark = pytest.mark.anyio


async def test_create_gives_the_id_of_a_container_that_does_not_run_yet(lab: Lab) -> None:
    """ContainerCreate makes, and does not start."""
    container_id = await container_create(lab.connection, lab.name("a"), lab.spec(env={"A": "b"}, tty=True))

    container = await container_inspect(lab.connection, container_id)
    assert container.id == container_id
    assert (container.name, container.state, container.image) == (lab.name("a"), "created", NODE_IMAGE)
    assert (container.tty, container.pid, container.exit_code) == (True, 0, 0)


async def test_a_name_is_taken_from_create_on(lab: Lab) -> None:
    """The second one who asks for a name is told so, which makes ContainerCreate a lock."""
    await lab.created(name="a")

    with pytest.raises(Conflict) as caught:
        await container_create(lab.connection, lab.name("a"), lab.spec())

    assert (caught.value.operation, caught.value.status, caught.value.subject) == ("ContainerCreate", 409, f"container {lab.name('a')}")


async def test_create_without_a_name_takes_one_of_the_engine(lab: Lab) -> None:
    """An empty name is not sent."""
    container_id = await container_create(lab.connection, "", lab.spec())

    assert (await container_inspect(lab.connection, container_id)).name


async def test_create_of_an_image_that_is_not_there(lab: Lab) -> None:
    """NotFound, and nothing is made."""
    with pytest.raises(NotFound, match="No such image"):
        await container_create(lab.connection, lab.name("a"), lab.spec(image=f"{lab.name('none')}:1"))

    assert await container_list(lab.connection, labels=lab.labels) == ()


async def test_create_refuses_a_strict_bind_whose_source_is_missing(lab: Lab) -> None:
    """StrictBind: the source must be there; the refusal is told apart."""
    spec = lab.spec(strict_binds=(StrictBind(source=f"/{lab.run}/missing", target="/x"),))

    with pytest.raises(ApiError) as caught:
        await lab.created(spec)

    assert caught.value.status == 400
    assert refusal_of(caught.value.message) is Refusal.MOUNT_SOURCE_MISSING


async def test_create_refuses_a_name_that_is_none(lab: Lab) -> None:
    """400 for characters that names must not have."""
    with pytest.raises(ApiError) as caught:
        await container_create(lab.connection, f"{lab.run}!", lab.spec())

    assert caught.value.status == 400


async def test_start_runs_the_program(lab: Lab) -> None:
    """After ContainerStart the container runs."""
    container_id = await lab.created()

    await container_start(lab.connection, container_id)

    container = await container_inspect(lab.connection, container_id)
    assert (container.state, container.exit_code) == ("running", None)
    assert container.pid > 0


async def test_a_second_start_is_no_error(lab: Lab) -> None:
    """304 counts as done."""
    container = await lab.running()

    await container_start(lab.connection, container.id)

    assert (await container_inspect(lab.connection, container.id)).pid == container.pid


async def test_start_of_a_program_that_is_not_there_is_refused(lab: Lab) -> None:
    """The refusal has the runtime's words, and the container keeps them."""
    container_id = await lab.created(lab.spec("no-such-program"))

    with pytest.raises(ApiError, match="executable file not found") as caught:
        await container_start(lab.connection, container_id, subject="node demo")

    assert (caught.value.status, caught.value.subject) == (400, "node demo")
    container = await container_inspect(lab.connection, container_id)
    assert (container.state, container.exit_code) == ("created", 127)
    assert "executable file not found" in container.error


async def test_inspect_finds_by_name_and_by_id(lab: Lab) -> None:
    """Both name the same container."""
    container_id = await lab.created(name="a")

    assert await container_inspect(lab.connection, lab.name("a")) == await container_inspect(lab.connection, container_id)


async def test_inspect_of_none(lab: Lab) -> None:
    """NotFound, with what was looked for."""
    with pytest.raises(NotFound) as caught:
        await container_inspect(lab.connection, lab.name("none"))

    assert caught.value.subject == f"container {lab.name('none')}"
    assert lab.name("none") in caught.value.message


async def test_labels_of_the_image_are_labels_of_the_container(lab: Lab) -> None:
    """And its own come on top."""
    container = await container_inspect(lab.connection, await lab.created())

    assert container.labels["kindasync.contract"] == "1"
    assert container.labels.items() >= lab.labels.items()


async def test_list_has_containers_of_every_state(lab: Lab) -> None:
    """Created, running and exited ones."""
    await lab.created(name="created")
    await lab.running(name="running")
    exited = await lab.running(lab.spec("true"), name="exited")
    await container_wait(lab.connection, exited.id)
    await container_inspect(lab.connection, exited.id)  # the list may lag a moment behind; not behind this

    listed = await container_list(lab.connection, labels=lab.labels)

    assert {container.name.removeprefix(f"{lab.run}-"): container.state for container in listed} == {
        "created": "created",
        "running": "running",
        "exited": "exited",
    }


async def test_list_by_labels_wants_all_of_them(lab: Lab) -> None:
    """A value must be equal, None takes any."""
    await lab.created(lab.spec(labels={**lab.labels, "role": "worker"}), name="worker")
    await lab.created(lab.spec(labels={**lab.labels, "role": "control-plane"}), name="control-plane")
    await lab.created(name="neither")

    async def listed(**labels: str | None) -> set[str]:
        found = await container_list(lab.connection, labels={**lab.labels, **labels})
        return {container.name.removeprefix(f"{lab.run}-") for container in found}

    assert await listed(role="worker") == {"worker"}
    assert await listed(role=None) == {"worker", "control-plane"}
    assert await listed(role="none") == set()
    assert await listed() == {"worker", "control-plane", "neither"}


async def test_list_and_inspect_agree(lab: Lab) -> None:
    """On what both of them tell."""
    inspected = await lab.running()

    (listed,) = await container_list(lab.connection, labels=lab.labels)

    for name in ("id", "name", "image", "labels", "state", "ports", "attachments", "mounts"):
        assert getattr(listed, name) == getattr(inspected, name), name


async def test_a_signal_reaches_the_first_process(lab: Lab) -> None:
    """ContainerKill with another signal than KILL: the program decides what comes of it."""
    argv = lab.bash(
        "trap 'echo got it; exit 3' USR1; echo ready; sleep infinity & wait",
        stdout=b"ready\n",
        hangs=True,
        on_signal={"SIGUSR1": ProgramResult(exit_code=3, stdout=b"got it\n")},
    )
    container = await lab.running(lab.spec(*argv))
    await lab.printed(container, b"ready\n")

    await container_kill(lab.connection, container.id, "SIGUSR1")

    assert await container_wait(lab.connection, container.id) == 3
    assert await lab.output(container) == b"ready\ngot it\n"


async def test_a_signal_that_the_first_process_has_no_handler_for_is_lost(lab: Lab) -> None:
    """As the kernel has it for PID 1: the container runs on."""
    container = await lab.running()

    await container_kill(lab.connection, container.id, "SIGUSR1")

    assert (await container_inspect(lab.connection, container.id)).state == "running"


async def test_sigkill_ends_every_container(lab: Lab) -> None:
    """Its exit code is 128 + 9."""
    container = await lab.running()

    await container_kill(lab.connection, container.id, "SIGKILL")

    assert await container_wait(lab.connection, container.id) == 137
    ended = await container_inspect(lab.connection, container.id)
    assert (ended.state, ended.exit_code, ended.pid, ended.oom_killed) == ("exited", 137, 0, False)


async def test_kill_of_a_container_that_does_not_run_is_a_conflict(lab: Lab) -> None:
    """409."""
    container_id = await lab.created()

    with pytest.raises(Conflict, match="is not running"):
        await container_kill(lab.connection, container_id, "SIGKILL")


async def test_kill_with_what_is_no_signal(lab: Lab) -> None:
    """400."""
    container = await lab.running()

    with pytest.raises(ApiError, match="invalid signal") as caught:
        await container_kill(lab.connection, container.id, "SIGNONE")

    assert caught.value.status == 400


async def test_stop_sends_the_stop_signal_of_the_image(lab: Lab) -> None:
    """A node image's is SIGRTMIN+3; a program that takes it may end in its own way."""
    argv = lab.bash(
        "trap 'exit 5' RTMIN+3; echo ready; sleep infinity & wait",
        stdout=b"ready\n",
        hangs=True,
        on_signal={"SIGRTMIN+3": ProgramResult(exit_code=5)},
    )
    container = await lab.running(lab.spec(*argv))
    await lab.printed(container, b"ready\n")

    await container_stop(lab.connection, container.id)

    assert (await container_inspect(lab.connection, container.id)).exit_code == 5


async def test_stop_kills_what_does_not_end_in_time(lab: Lab) -> None:
    """After `grace_s`."""
    container = await lab.running()

    await container_stop(lab.connection, container.id, grace_s=0)

    ended = await container_inspect(lab.connection, container.id)
    assert (ended.state, ended.exit_code) == ("exited", 137)


async def test_stop_of_a_container_that_does_not_run_is_no_error(lab: Lab) -> None:
    """304 counts as done."""
    container_id = await lab.created()

    await container_stop(lab.connection, container_id)

    assert (await container_inspect(lab.connection, container_id)).state == "created"


@pytest.mark.parametrize("runs", [True, False], ids=["running", "stopped"])
async def test_restart_starts_the_program_anew(lab: Lab, runs: bool) -> None:
    """Whether the container runs or not; what it had printed stays in its log."""
    argv = lab.bash("echo begun; sleep infinity", stdout=b"begun\n", hangs=True)
    container = await lab.running(lab.spec(*argv))
    await lab.printed(container, b"begun\n")
    if not runs:
        await container_stop(lab.connection, container.id, grace_s=0)

    await container_restart(lab.connection, container.id, grace_s=0)

    await lab.printed(container, b"begun\nbegun\n")
    assert (await container_inspect(lab.connection, container.id)).state == "running"


async def test_remove_takes_a_container_of_any_state(lab: Lab) -> None:
    """A running one, too."""
    created = await lab.created(name="created")
    running = await lab.running(name="running")

    await container_remove(lab.connection, created)
    await container_remove(lab.connection, running.id)

    assert await container_list(lab.connection, labels=lab.labels) == ()


async def test_remove_takes_anonymous_volumes_and_leaves_named_ones(lab: Lab) -> None:
    """What the Engine made for the container goes with it; what has a name is somebody's."""
    await volume_create(lab.connection, lab.name("v"), lab.labels)
    spec = lab.spec(volumes=("/var",), binds=(Bind(source=lab.name("v"), target="/data"),))
    container = await container_inspect(lab.connection, await lab.created(spec))
    volumes = {mount.target: mount.name for mount in container.mounts if mount.kind == "volume"}

    await container_remove(lab.connection, container.id)

    left = {volume.name for volume in await volume_list(lab.connection)}
    assert volumes["/data"] == lab.name("v")
    assert volumes["/data"] in left
    assert volumes["/var"] not in left


async def test_remove_of_what_is_gone_is_no_error(lab: Lab) -> None:
    """It counts as removed."""
    container_id = await lab.created()

    await container_remove(lab.connection, container_id)
    await container_remove(lab.connection, container_id)


async def test_removals_at_once_all_end_with_the_container_gone(lab: Lab) -> None:
    """Whoever is told that another one is at it waits for that: the name is free for each of them."""
    container = await lab.running(lab.spec(volumes=("/var",)))
    seen: list[set[str]] = []

    async def remove() -> None:
        await container_remove(lab.connection, container.id)
        seen.append({each.id for each in await container_list(lab.connection, labels=lab.labels)})

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(remove)

    assert seen == [set()] * 3


IN_PROGRESS = "removal of container 0123456789ab is already in progress"


async def test_a_removal_by_others_is_awaited(fake: FakeEngine, connection: Connection) -> None:
    """It counts as removed when it is gone, not when somebody says that it goes."""
    container = await Lab(connection, fake, "docker-26").running()
    fake.fail("ContainerDelete", status=409, message=IN_PROGRESS)
    ended = anyio.Event()

    async def remove() -> None:
        await container_remove(connection, container.id)
        ended.set()

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(remove)
            await anyio.to_thread.run_sync(fake.wait_request, "ContainerWait")
            assert not ended.is_set()
            await container_remove(connection, container.id)  # what the others are at

    assert [request.param("condition") for request in fake.requests_of("ContainerWait")] == ["removed"]
    assert len(fake.requests_of("ContainerDelete")) == 2


async def test_a_removal_by_others_that_has_just_ended_counts(fake: FakeEngine, connection: Connection) -> None:
    """There is nothing left to wait for."""
    container = await Lab(connection, fake, "docker-26").running()
    fake.fail("ContainerDelete", status=409, message=IN_PROGRESS)
    fake.fail("ContainerWait", status=404, message=f"No such container: {container.id}")

    await container_remove(connection, container.id)


async def test_a_removal_by_others_that_does_not_end_is_an_error(
    fake: FakeEngine, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After REMOVED_BY_OTHERS_S, with what to do."""
    monkeypatch.setattr(containers, "REMOVED_BY_OTHERS_S", 0.1)
    container = await Lab(connection, fake, "docker-26").running()
    fake.fail("ContainerDelete", status=409, message=IN_PROGRESS)

    with anyio.fail_after(10), pytest.raises(EngineTimeout, match="is still being removed") as caught:
        await container_remove(connection, container.id)

    assert (caught.value.why, caught.value.hint) == ("it is still there after 0.1 s", "try again")


async def test_a_name_is_free_again_after_the_removal(lab: Lab) -> None:
    """At once."""
    await container_remove(lab.connection, await lab.created(name="a"))

    assert await lab.created(name="a")


async def test_wait_gives_the_exit_code(lab: Lab) -> None:
    """Of a program that ends by itself, whether it is asked before or after that."""
    container = await lab.running(lab.spec(*lab.bash("exit 7", exit_code=7)))

    assert await container_wait(lab.connection, container.id) == 7
    assert await container_wait(lab.connection, container.id) == 7


async def test_wait_for_the_next_exit_does_not_take_the_last_one(lab: Lab) -> None:
    """A container that has ended, and is started again, has to end again."""
    container_id = await lab.created(lab.spec())
    codes = []

    async def wait() -> None:
        codes.append(await container_wait(lab.connection, container_id, condition="next-exit"))

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await container_start(lab.connection, container_id)
            assert codes == []
            await container_kill(lab.connection, container_id, "SIGKILL")

    assert codes == [137]


async def test_wait_until_a_container_is_removed(lab: Lab) -> None:
    """It gives the exit code that the container had last."""
    container = await lab.running()
    codes = []

    async def wait() -> None:
        codes.append(await container_wait(lab.connection, container.id, condition="removed"))

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await container_inspect(lab.connection, container.id)  # later than the request to wait
            await container_kill(lab.connection, container.id, "SIGKILL")
            await container_wait(lab.connection, container.id)
            assert codes == []
            await container_remove(lab.connection, container.id)

    assert codes == [137]


async def test_wait_for_what_is_no_condition(lab: Lab) -> None:
    """400."""
    with pytest.raises(ApiError) as caught:
        await container_wait(lab.connection, await lab.created(), condition="none")

    assert caught.value.status == 400


@pytest.mark.parametrize("operation", ["start", "stop", "restart", "kill", "wait"])
async def test_nothing_can_be_done_with_a_container_that_is_not_there(lab: Lab, operation: str) -> None:
    """NotFound for each operation."""
    none = lab.name("none")
    acts = {
        "start": container_start(lab.connection, none),
        "stop": container_stop(lab.connection, none),
        "restart": container_restart(lab.connection, none),
        "kill": container_kill(lab.connection, none, "SIGKILL"),
        "wait": container_wait(lab.connection, none),
    }
    act = acts.pop(operation)
    for other in acts.values():
        other.close()

    with pytest.raises(NotFound) as caught:
        await act

    assert caught.value.operation == f"Container{operation.title()}"


async def test_a_published_port_is_in_force_while_the_container_runs(lab: Lab) -> None:
    """Port 0: the Engine picks one at start. Inspect tells what was asked for until then."""
    spec = lab.spec(network_mode="", ports=(PortBinding(container_port=80, host_ip="127.0.0.1"),))
    container_id = await lab.created(spec)
    before = await container_inspect(lab.connection, container_id)

    await container_start(lab.connection, container_id)

    (port,) = (await container_inspect(lab.connection, container_id)).ports
    (listed,) = await container_list(lab.connection, labels=lab.labels)
    assert before.ports == (PortBinding(container_port=80, protocol="tcp", host_ip="127.0.0.1", host_port=0),)
    assert port.host_port > 0
    assert (port.container_port, port.host_ip) == (80, "127.0.0.1")
    assert listed.ports == (port,)


async def test_a_range_of_ports_is_told_by_its_first(lab: Lab) -> None:
    """Other programs ask for ranges (`docker create -p 28000-28010:80`); which one it gets shows at start."""
    body = lab.spec(network_mode="", ports=(PortBinding(container_port=80, host_ip="127.0.0.1"),)).to_wire()
    body["HostConfig"]["PortBindings"]["80/tcp"][0]["HostPort"] = "28000-28010"
    call = Call("ContainerCreate", "POST", "/containers/create", params={"name": lab.name("a")}, json=body)
    container_id = (await lab.connection.request_json(call))["Id"]

    (port,) = (await container_inspect(lab.connection, container_id)).ports

    assert (port.container_port, port.host_ip, port.host_port) == (80, "127.0.0.1", 28000)


async def test_a_port_that_is_taken_shows_at_start(lab: Lab) -> None:
    """The refusal is told apart, and the container is still there, not started."""
    spec = lab.spec(network_mode="", ports=(PortBinding(container_port=80, host_ip="127.0.0.1"),))
    (port,) = (await lab.running(spec, name="first")).ports
    second = await lab.created(lab.spec(network_mode="", ports=(port,)), name="second")

    with pytest.raises(ApiError) as caught:
        await container_start(lab.connection, second)

    assert caught.value.status == 500
    assert refusal_of(caught.value.message) is Refusal.PORT_TAKEN
    assert caught.value.hint
    container = await container_inspect(lab.connection, second)
    assert (container.state, container.exit_code, container.ports) == ("created", 128, (port,))
    assert "port is already allocated" in container.error


async def test_mounts_are_told_by_kind(lab: Lab, tmp_path: Path) -> None:
    """Binds with their source, named volumes with their name, tmpfs not at all."""
    await volume_create(lab.connection, lab.name("v"), lab.labels)
    spec = lab.spec(
        binds=(Bind(source=str(tmp_path), target="/bind", options=("ro",)), Bind(source=lab.name("v"), target="/volume")),
        strict_binds=(StrictBind(source="/", target="/strict", read_only=True),),
        tmpfs={"/run": ""},
    )

    container = await container_inspect(lab.connection, await lab.created(spec))

    mounts = {mount.target: mount for mount in container.mounts}
    assert set(mounts) == {"/bind", "/volume", "/strict"}
    assert mounts["/bind"] == Mount(kind="bind", source=str(tmp_path), target="/bind")
    assert mounts["/strict"] == Mount(kind="bind", source="/", target="/strict")
    assert (mounts["/volume"].kind, mounts["/volume"].name) == ("volume", lab.name("v"))


async def test_a_bind_whose_source_is_missing_does_not_stop_a_start(lab: Lab, tmp_path: Path) -> None:
    """Bind: its source is made, as a directory."""
    container = await lab.running(lab.spec(binds=(Bind(source=str(tmp_path / "missing"), target="/bind"),)))

    result = await container_exec(lab.connection, container.id, lab.bash("test -d /bind"))
    assert result.exit_code == 0


async def test_env_is_that_of_the_image_and_its_own(lab: Lab) -> None:
    """For every program in the container."""
    container = await lab.running(lab.spec(env={"A": "b c", "EMPTY": ""}))

    lines = (await container_exec(lab.connection, container.id, ["env"])).text.splitlines()

    assert "A=b c" in lines
    assert "EMPTY=" in lines


async def test_a_container_is_paused(lab: Lab) -> None:
    """And goes on; what is so already, or does not run, is refused."""
    container = await lab.running()

    with pytest.raises(ApiError):
        await container_unpause(lab.connection, container.id)
    await container_pause(lab.connection, container.id)
    paused = await container_inspect(lab.connection, container.id)
    with pytest.raises(ApiError):
        await container_pause(lab.connection, container.id)
    await container_unpause(lab.connection, container.id)

    assert (paused.state, (await container_inspect(lab.connection, container.id)).state) == ("paused", "running")
