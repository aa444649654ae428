"""Pod exec: a program's input, output and end, over one WebSocket; and what is said of those that cannot be run."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from aiohttp import web

from kindasync.cluster._api import ClusterApi
from kindasync.cluster._discovery import Reference
from kindasync.cluster._pod_exec import exit_code_of, pod_exec
from kindasync.docker.execs import ExecResult
from kindasync.errors import ApiRefused, ClusterError, ExecFailed
from tests.unit.kubernetes import Kubernetes

pytestmark = pytest.mark.anyio

POD = "/api/v1/namespaces/default/pods/web"
SUCCESS = {"status": "Success"}
NO_SUCH_PROGRAM = {"status": "Failure", "reason": "InternalError", "message": "executable file not found in $PATH"}


def failure(exit_code: int) -> dict[str, Any]:
    return {"status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": [{"reason": "ExitCode", "message": str(exit_code)}]}}


def pod(*containers: str, **annotations: str) -> dict[str, Any]:
    metadata = {"name": "web", "annotations": annotations}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [{"name": name} for name in containers]}}


class Program:
    """What runs in the pod: prints, then reads its input to the end if there is any, and gives it back; ends with a Status."""

    def __init__(self, status: dict[str, Any] | None = SUCCESS, *, out: bytes = b"", err: bytes = b"", reads: bool = True) -> None:
        self.status = status
        self.out, self.err, self.reads = out, err, reads
        self.params: list[tuple[str, str]] = []

    async def __call__(self, far: web.WebSocketResponse, request: web.Request) -> None:
        self.params = [*request.query.items()]
        for channel, data in ((b"\1", self.out), (b"\2", self.err)):
            for start in range(0, len(data), 1000):
                await far.send_bytes(channel + data[start : start + 1000])
        while self.reads and "stdin" in request.query:
            message = await far.receive_bytes()
            if message == b"\xff\0":
                break
            await far.send_bytes(b"\1" + message[1:])
        if self.status:
            await far.send_bytes(b"\3" + json.dumps(self.status).encode())


@pytest.fixture
async def kubernetes() -> Kubernetes:
    kubernetes = Kubernetes()
    kubernetes.put(pod("main", "sidecar"), "default")
    return kubernetes


async def run(kubernetes: Kubernetes, api: ClusterApi, program: Program, *argv: str, **options: Any) -> ExecResult:
    kubernetes.sockets[f"{POD}/exec"] = program
    reference = Reference.parse("pod/web", namespace="default")
    with anyio.fail_after(10):
        return await pod_exec(api, reference, argv or ("true",), **{"container": "", "stdin": None, "check": True, **options})


async def test_output_is_whole_and_apart(kubernetes: Kubernetes, api: ClusterApi) -> None:
    """Stdout and stderr, however they were cut."""
    result = await run(kubernetes, api, Program(out=b"out\n" * 10_000, err=b"problem\n"))

    assert result == ExecResult(exit_code=0, stdout=b"out\n" * 10_000, stderr=b"problem\n")


async def test_arguments_arrive_as_they_are(kubernetes: Kubernetes, api: ClusterApi) -> None:
    """No shell, and nothing of a URL, takes them for something else."""
    argv = ("echo", "", "a b+c", "100%", "x&y=z", "é", "#?/")
    program = Program()

    await run(kubernetes, api, program, *argv)

    assert program.params == [*(("command", each) for each in argv), ("container", "main"), ("stdout", "true"), ("stderr", "true")]


@pytest.mark.parametrize("stdin", ["bytes", "pieces", "empty"])
async def test_input_is_read_to_its_end(kubernetes: Kubernetes, api: ClusterApi, stdin: str) -> None:
    """Of any size; it may come in pieces."""
    sent = {"bytes": b"x" * 1_000_000, "pieces": b"one two", "empty": b""}[stdin]

    async def pieces() -> AsyncIterator[bytes]:
        yield b"one "
        yield b"two"

    result = await run(kubernetes, api, Program(), stdin=pieces() if stdin == "pieces" else sent)

    assert result.stdout == sent


async def test_a_program_need_not_read_its_input(kubernetes: Kubernetes, api: ClusterApi) -> None:
    """It ends when it ends."""

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 1000
            await anyio.sleep(0)

    result = await run(kubernetes, api, Program(out=b"enough", reads=False), stdin=endless())

    assert result.stdout == b"enough"


async def test_another_exit_code_than_0(kubernetes: Kubernetes, api: ClusterApi) -> None:
    """Is an error, with the last lines; or a result, for who checks."""
    program = Program(failure(3), err=b"no such thing\n")

    with pytest.raises(ExecFailed) as raised:
        await run(kubernetes, api, program, "cat", "/x")
    result = await run(kubernetes, api, program, check=False)

    assert str(raised.value) == '"cat /x" failed in pod default/web\n  why: it ended with exit code 3\n  seen: no such thing'
    assert (result.exit_code, result.stderr) == (3, b"no such thing\n")


@pytest.mark.parametrize(
    ("program", "why"),
    [
        (Program(NO_SUCH_PROGRAM), "executable file not found in $PATH"),
        (Program(None), "the connection ended before the program did"),
    ],
)
async def test_a_program_that_did_not_run_to_its_end(kubernetes: Kubernetes, api: ClusterApi, program: Program, why: str) -> None:
    """Whatever `check` says."""
    with pytest.raises(ClusterError, match='"true" could not be run in pod default/web') as raised:
        await run(kubernetes, api, program, check=False)

    assert raised.value.why == why


@pytest.mark.parametrize(
    ("annotations", "named", "container"),
    [({}, "", "main"), ({"kubectl.kubernetes.io/default-container": "sidecar"}, "", "sidecar"), ({}, "sidecar", "sidecar")],
)
async def test_the_container(kubernetes: Kubernetes, api: ClusterApi, annotations: dict[str, str], named: str, container: str) -> None:
    """The one named, else the annotated one, else the first."""
    kubernetes.put(pod("main", "sidecar", **annotations), "default")
    program = Program()

    await run(kubernetes, api, program, container=named)

    assert ("container", container) in program.params


async def test_a_refusal_is_in_the_api_server_s_words(kubernetes: Kubernetes, api: ClusterApi) -> None:
    """Which a WebSocket's client does not read."""
    kubernetes.refuses[f"GET {POD}/exec"] = [(400, "container other is not valid for pod web")] * 2

    with pytest.raises(ApiRefused, match="container other is not valid for pod web"):
        await run(kubernetes, api, Program(), container="other")


async def test_input_needs_an_end(kubernetes: Kubernetes, api: ClusterApi) -> None:
    """Which older API servers cannot be told."""
    kubernetes.protocols = ("v4.channel.k8s.io",)

    assert (await run(kubernetes, api, Program(out=b"out"))).stdout == b"out"
    with pytest.raises(ClusterError, match=r"before Kubernetes 1\.30"):
        await run(kubernetes, api, Program(), stdin=b"x")


@pytest.mark.parametrize(
    ("status", "exit_code"),
    [(SUCCESS, 0), (failure(137), 137), (NO_SUCH_PROGRAM, None), ({}, None), ({"status": "Failure", "details": {"causes": None}}, None)],
)
def test_exit_codes(status: dict[str, Any], exit_code: int | None) -> None:
    """As a Status tells them."""
    assert exit_code_of(status) == exit_code
