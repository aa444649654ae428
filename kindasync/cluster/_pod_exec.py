"""Pod exec: a program run in a pod's container, to its end, through the API server.

Source: Kubernetes, k8s.io/streaming, remotecommand: channels for stdin, stdout, stderr, and a Status that says how the program ended.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any
from urllib.parse import urlencode

import anyio

from kindasync.cluster._api import ClusterApi
from kindasync.cluster._channels import V4, V5, Channels, open_channels
from kindasync.cluster._discovery import Reference
from kindasync.cluster._pods import pod_of
from kindasync.docker.execs import ExecResult, check_argv, pieces
from kindasync.errors import ApiUnreachable, ClusterError, ExecFailed, one_error
from kindasync.transport._source import end

_STDIN, _STDOUT, _STDERR, _STATUS = 0, 1, 2, 3


async def pod_exec(
    api: ClusterApi, reference: Reference, argv: Sequence[str], *, container: str, stdin: AsyncIterator[bytes] | bytes | None, check: bool
) -> ExecResult:
    """Run a program. See `Cluster.exec`."""
    check_argv(argv)
    target = await pod_of(api, reference)
    options = {"container": container or target.container, "stdin": "true" if stdin is not None else "", "stdout": "true", "stderr": "true"}
    query = urlencode([*(("command", each) for each in argv), *((name, value) for name, value in options.items() if value)])
    output: dict[int, list[bytes]] = {_STDOUT: [], _STDERR: [], _STATUS: []}
    async with open_channels(api, f"{target.path}/exec?{query}", V5, V4) as channels:
        if stdin is not None and not channels.can_end:
            raise ClusterError("cannot give a program in a pod its input", why="before Kubernetes 1.30, nothing can say where it ends")
        with one_error():
            async with anyio.create_task_group() as tasks:
                if stdin is not None:
                    tasks.start_soon(_feed, channels, stdin)
                async with aclosing(channels.messages()) as messages:
                    async for channel, data in messages:
                        output.get(channel, []).append(data)
                tasks.cancel_scope.cancel()  # the program has ended, whatever of its input is still to come
    status = json.loads(b"".join(output[_STATUS]) or b"{}")
    exit_code = exit_code_of(status)
    if exit_code is None:
        raise ClusterError(
            f'"{" ".join(argv)}" could not be run in {target}',
            why=str(status.get("message") or "the connection ended before the program did"),
        )
    result = ExecResult(exit_code=exit_code, stdout=b"".join(output[_STDOUT]), stderr=b"".join(output[_STDERR]))
    if check and exit_code:
        raise ExecFailed(str(target).removeprefix("pod "), argv, exit_code, result.tail(), kind="pod")
    return result


def exit_code_of(status: Mapping[str, Any]) -> int | None:
    """The exit code that a Status tells; None if the program did not run."""
    if status.get("status") == "Success":
        return 0
    causes = (status.get("details") or {}).get("causes") or ()
    return next((int(each["message"]) for each in causes if each.get("reason") == "ExitCode"), None)


async def _feed(channels: Channels, stdin: AsyncIterator[bytes] | bytes) -> None:
    """Send all of `stdin`, unless the program ends before: whether it has, or the connection is lost, is told by what is received."""
    try:
        with suppress(ApiUnreachable):
            async for data in pieces(stdin):
                await channels.send(_STDIN, data)
            await channels.end(_STDIN)
    finally:
        if not isinstance(stdin, bytes):
            await end(stdin)
