"""Contract: programs run in a running container, without input and with it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

import anyio
import pytest
from anyio.lowlevel import checkpoint

from kindasync.docker.containers import container_inspect, container_kill
from kindasync.docker.execs import container_exec, container_output, exec_start_detached
from kindasync.errors import ApiError, Conflict, ExecFailed, NotFound
from kindasync.testing import FakeContainer, ProgramResult
from tests.engine.lab import REAL_ENGINE, Lab, pieces

pytestmark = pytest.mark.anyio

BIG = 4_000_000


def count(container: FakeContainer, argv: Sequence[str], stdin: bytes) -> ProgramResult:
    """`wc -c`."""
    return ProgramResult(stdout=f"{len(stdin)}\n".encode())


async def test_an_exit_code_is_a_result(lab: Lab) -> None:
    """Also one that is not 0; stdout and stderr are apart."""
    container = await lab.running()

    result = await container_exec(
        lab.connection, container.id, lab.bash("echo out; echo err >&2; exit 7", exit_code=7, stdout=b"out\n", stderr=b"err\n")
    )

    assert (result.exit_code, result.stdout, result.stderr) == (7, b"out\n", b"err\n")
    assert (result.text, result.tail()) == ("out\n", "err")


async def test_a_program_without_output(lab: Lab) -> None:
    """Its exit code is known nevertheless."""
    container = await lab.running()

    assert (await container_exec(lab.connection, container.id, ["true"])).exit_code == 0
    assert (await container_exec(lab.connection, container.id, ["false"])).exit_code == 1


async def test_output_is_framed_in_a_container_with_a_terminal_too(lab: Lab) -> None:
    """The terminal is the container's, not the exec's."""
    container = await lab.running(lab.spec(tty=True))

    result = await container_exec(lab.connection, container.id, lab.bash("echo out; echo err >&2", stdout=b"out\n", stderr=b"err\n"))

    assert (result.stdout, result.stderr) == (b"out\n", b"err\n")


async def test_a_program_with_a_terminal(lab: Lab) -> None:
    """Of the size that it is given; its input ends when the user says so."""
    container = await lab.running()
    sized = anyio.Event()
    seen: list[bytes] = []

    async def sizes() -> AsyncIterator[tuple[int, int]]:
        yield 33, 101
        sized.set()

    async def typed() -> AsyncIterator[bytes]:
        await sized.wait()
        yield b"it\n\x04"

    script = lab.bash('read line; echo "got $line"; stty size; exit 3', exit_code=3, stdout=b"got it\r\n33 101\r\n")
    result = await container_exec(lab.connection, container.id, script, stdin=typed(), sizes=sizes(), on_output=seen.append)

    assert result.exit_code == 3
    assert result.stdout.endswith(b"got it\r\n33 101\r\n")
    assert b"".join(seen) == result.stdout


async def test_output_that_is_handed_on(lab: Lab) -> None:
    """Each stream to its own listener; nothing is kept."""
    container = await lab.running()
    out: list[bytes] = []
    err: list[bytes] = []

    script = lab.bash("echo out; echo err >&2", stdout=b"out\n", stderr=b"err\n")
    result = await container_exec(lab.connection, container.id, script, on_output=out.append, on_error=err.append)

    assert (b"".join(out), b"".join(err)) == (b"out\n", b"err\n")
    assert (result.stdout, result.stderr) == (b"", b"")


async def test_output_that_is_read_piece_by_piece(lab: Lab) -> None:
    """Whole, however long; its end says how the program ended. A reader may leave before."""
    container = await lab.running()
    long = lab.bash("yes | head -c 4000000; echo err >&2; exit 7", exit_code=7, stdout=b"y\n" * (BIG // 2), stderr=b"err\n")
    size = 0

    async def read() -> None:
        nonlocal size
        async with container_output(lab.connection, container.id, long) as output:
            async for piece in output:
                size += len(piece)

    with pytest.raises(ExecFailed, match="seen: err") as raised:
        await read()
    assert (size, raised.value.exit_code) == (BIG, 7)

    async with container_output(lab.connection, container.id, long) as output:
        assert await anext(aiter(output))


async def test_arguments_go_to_no_shell(lab: Lab) -> None:
    """They arrive as they are."""
    container = await lab.running()

    result = await container_exec(lab.connection, container.id, ["echo", "$HOME", "a  b", "*", "ü"])

    assert result.text == "$HOME a  b * ü\n"


async def test_env_and_working_directory(lab: Lab) -> None:
    """Of this program alone."""
    container = await lab.running(lab.spec(env={"A": "container", "B": "container"}))

    env = await container_exec(lab.connection, container.id, ["env"], env={"A": "exec"})
    pwd = await container_exec(lab.connection, container.id, ["pwd"], working_dir="/kind")

    assert {"A=exec", "B=container"} <= set(env.text.splitlines())
    assert pwd.text == "/kind\n"


async def test_big_output_is_whole(lab: Lab) -> None:
    """On both streams at once."""
    container = await lab.running()
    argv = lab.bash(
        f"head -c {BIG} /dev/zero | tr '\\0' e >&2 & head -c {BIG} /dev/zero | tr '\\0' o; wait", stdout=b"o" * BIG, stderr=b"e" * BIG
    )

    result = await container_exec(lab.connection, container.id, argv)

    assert (len(result.stdout), set(result.stdout)) == (BIG, {ord("o")})
    assert (len(result.stderr), set(result.stderr)) == (BIG, {ord("e")})


async def test_output_is_given_as_it_comes(lab: Lab) -> None:
    """While the program still runs. Cancellation ends the waiting, and nothing else: the container runs on."""
    container = await lab.running()
    argv = lab.bash("echo begun; sleep infinity", stdout=b"begun\n", hangs=True)
    seen = []

    with anyio.fail_after(10), anyio.CancelScope() as scope:

        def on_output(data: bytes) -> None:
            seen.append(data)
            scope.cancel()

        await container_exec(lab.connection, container.id, argv, on_output=on_output)

    assert scope.cancelled_caught
    assert seen == [b"begun\n"]
    assert (await container_exec(lab.connection, container.id, ["true"])).exit_code == 0


async def test_a_program_that_is_not_there_is_an_exit_code(lab: Lab) -> None:
    """126 or 127, and the Engine says in the output why."""
    container = await lab.running()

    result = await container_exec(lab.connection, container.id, ["no-such-program"])

    assert result.exit_code in (126, 127)
    assert '"no-such-program": executable file not found' in result.tail()


async def test_exec_in_a_container_that_does_not_run_is_a_conflict(lab: Lab) -> None:
    """409."""
    container_id = await lab.created()

    with pytest.raises(Conflict, match="is not running") as caught:
        await container_exec(lab.connection, container_id, ["true"])

    assert (caught.value.operation, caught.value.status) == ("ContainerExec", 409)


async def test_exec_in_a_container_that_is_not_there(lab: Lab) -> None:
    """NotFound."""
    with pytest.raises(NotFound):
        await container_exec(lab.connection, lab.name("none"), ["true"])


async def test_the_end_of_the_container_is_the_end_of_the_exec(lab: Lab) -> None:
    """Its exit code is that of a killed program."""
    container = await lab.running()
    argv = lab.bash("echo begun; sleep infinity", stdout=b"begun\n", hangs=True)
    begun = anyio.Event()
    codes = []

    async def run() -> None:
        result = await container_exec(lab.connection, container.id, argv, on_output=lambda _: begun.set())
        codes.append(result.exit_code)

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await begun.wait()
            await container_kill(lab.connection, container.id, "SIGKILL")

    assert codes == [137]


async def test_many_execs_at_once(lab: Lab) -> None:
    """Each gets its own output."""
    container = await lab.running()
    outputs = {}

    async def run(number: int) -> None:
        outputs[number] = (await container_exec(lab.connection, container.id, ["echo", str(number)])).text

    async with anyio.create_task_group() as tasks:
        for number in range(8):
            tasks.start_soon(run, number)

    assert outputs == {number: f"{number}\n" for number in range(8)}


# -- left to itself


async def test_a_program_that_is_left_to_itself(lab: Lab) -> None:
    """It runs; its start is not its end."""
    container = await lab.running()

    def bash(container: FakeContainer, argv: Sequence[str], stdin: bytes) -> ProgramResult:
        container.say("begun\n")
        return ProgramResult(hangs=True)

    lab.program("bash", bash)
    with anyio.fail_after(10):
        await exec_start_detached(lab.connection, container.id, ["bash", "-c", "echo begun > /proc/1/fd/1; sleep infinity"])
    await lab.printed(container, b"begun")


async def test_what_is_left_to_itself_and_is_not_there(lab: Lab) -> None:
    """Some Engines say so."""
    container = await lab.running()

    with suppress(ApiError):
        await exec_start_detached(lab.connection, container.id, ["no-such-program"])

    assert (await container_inspect(lab.connection, container.id)).state == "running"


async def test_nothing_can_be_left_to_itself_in_a_container_that_does_not_run(lab: Lab) -> None:
    """409; 404 for one that is not there."""
    with pytest.raises(Conflict):
        await exec_start_detached(lab.connection, await lab.created(), ["true"])
    with pytest.raises(NotFound):
        await exec_start_detached(lab.connection, lab.name("none"), ["true"])


# -- with input


async def test_input_ends_where_it_ends(lab: Lab) -> None:
    """The half-close: a program that reads to the end of its input ends, and its output still comes."""
    container = await lab.running()

    with anyio.fail_after(10):
        result = await container_exec(lab.connection, container.id, ["cat"], stdin=b"in\0\xff")

    assert (result.exit_code, result.stdout, result.stderr) == (0, b"in\0\xff", b"")


async def test_empty_input_is_an_input(lab: Lab) -> None:
    """It ends at once."""
    container = await lab.running()

    with anyio.fail_after(10):
        assert (await container_exec(lab.connection, container.id, ["cat"], stdin=b"")).stdout == b""


async def test_big_input_arrives_whole(lab: Lab) -> None:
    """From a stream of pieces."""
    container = await lab.running()
    lab.program("wc", count)

    result = await container_exec(lab.connection, container.id, ["wc", "-c"], stdin=pieces(b"x" * BIG))

    assert result.text == f"{BIG}\n"


async def test_big_input_and_big_output_pass_at_once(lab: Lab) -> None:
    """Neither direction waits for the other: no buffer between holds all of it."""
    container = await lab.running()
    data = bytes(range(256)) * (BIG // 256)

    with anyio.fail_after(20):
        result = await container_exec(lab.connection, container.id, ["cat"], stdin=data)

    assert result.stdout == data


@pytest.mark.parametrize("argv", [["true"], ["head", "-c", "3"]], ids=["none", "some"])
async def test_a_program_may_end_without_having_read_its_input(lab: Lab, argv: list[str]) -> None:
    """That is no error: its exit code and its output are the result."""
    container = await lab.running()
    lab.program("head", lambda _, __, stdin: ProgramResult(stdout=stdin[:3]))

    with anyio.fail_after(20):
        result = await container_exec(lab.connection, container.id, argv, stdin=b"x" * BIG)

    assert result.exit_code == 0
    assert result.stdout in (b"", b"xxx")


@pytest.mark.parametrize("lab", [REAL_ENGINE], indirect=True)  # the fake reads all input first
async def test_input_that_is_still_to_come_does_not_hold_up_a_program_that_has_ended(lab: Lab) -> None:
    """The end of the output is the end."""
    container = await lab.running()

    async def endless() -> AsyncIterator[bytes]:
        yield b"x"
        await anyio.sleep_forever()

    with anyio.fail_after(10):
        result = await container_exec(lab.connection, container.id, ["head", "-c", "1"], stdin=endless())

    assert (result.exit_code, result.stdout) == (0, b"x")


async def test_what_the_source_of_the_input_raises_is_raised(lab: Lab) -> None:
    """As it is, in no group, and the connection is given up."""
    container = await lab.running()

    async def broken() -> AsyncIterator[bytes]:
        yield b"x"
        raise RuntimeError("the source is broken")

    with anyio.fail_after(10), pytest.raises(RuntimeError, match="the source is broken"):
        await container_exec(lab.connection, container.id, ["cat"], stdin=broken())

    assert (await container_inspect(lab.connection, container.id)).state == "running"


async def test_a_source_of_input_that_is_not_needed_any_more_is_closed(lab: Lab) -> None:
    """Here because the call is cancelled while it sends; what the source holds open is not left to chance."""
    container = await lab.running()
    ended: list[str] = []

    async def source() -> AsyncIterator[bytes]:
        try:
            yield b"x"
            scope.cancel()
            while True:
                yield bytes(1024 * 1024)
        finally:
            await checkpoint()
            ended.append("closed")

    with anyio.fail_after(10), anyio.CancelScope() as scope:
        await container_exec(lab.connection, container.id, ["sleep", "infinity"], stdin=source())

    assert ended == ["closed"]


async def test_a_program_that_is_not_there_and_has_input(lab: Lab) -> None:
    """As without input."""
    container = await lab.running()

    with anyio.fail_after(10):
        result = await container_exec(lab.connection, container.id, ["no-such-program"], stdin=b"x")

    assert result.exit_code in (126, 127)
    assert '"no-such-program": executable file not found' in result.tail()


async def test_exec_with_input_in_a_container_that_does_not_run_is_a_conflict(lab: Lab) -> None:
    """409, before anything is upgraded."""
    with pytest.raises(Conflict):
        await container_exec(lab.connection, await lab.created(), ["cat"], stdin=b"x")
