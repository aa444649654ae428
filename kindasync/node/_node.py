"""Node: a handle to one node's container, and what can be done in it."""

from __future__ import annotations

import os
import posixpath
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from secrets import token_hex
from typing import Any, Literal, Protocol, overload

from kindasync.config import Role
from kindasync.docker import Connection, Engine
from kindasync.errors import EngineError, ExecFailed, KindasyncError, NodeError, NotFound
from kindasync.events import Bus, PreloadProgress
from kindasync.node._files import File, only_file, tar_of, tar_stream

# tmpfs, and the kernel's: the Engine would write beneath them, where nobody sees it, and say that all is well.
_MOUNTS = ("/tmp/", "/run/", "/var/run/", "/var/lock/", "/dev/", "/proc/", "/sys/")
READY_S = 120.0
TYPE_CHECKING = False
if TYPE_CHECKING:
    from kindasync.docker.execs import ExecResult, OnOutput, Sizes
    from kindasync.node._faults import Settle


def normal(path: str) -> str:
    """An absolute path without "..", "." and double slashes."""
    return "/" + posixpath.normpath(path).lstrip("/")


class Readiness(Protocol):
    """What only the layers above a node know: whether its cluster takes it for Ready."""

    async def is_ready(self, node: Node) -> bool:
        """Whether it does now; False also where that cannot be told."""
        ...

    async def wait_ready(self, node: Node, *, since: datetime, timeout_s: float) -> None:
        """Wait until it does, having heard of the node since then, and since its last start. Raises: NotReady; EngineError."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One node of a cluster. A value: it holds no socket, and can be used from any event loop.

    Shape: `engine` where it runs; `cluster` the name of its cluster; `name` is the container's name now (after `docker rename`, the
    new one); `id` never changes; `role` what it is in its cluster. `connection` and `readiness` are for kindasync's own use.
    """

    engine: Engine
    cluster: str
    name: str
    id: str
    role: Role
    connection: Connection | None = field(default=None, repr=False, compare=False)
    readiness: Readiness | None = field(default=None, repr=False, compare=False)

    async def exec(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        stdin: bytes | AsyncIterator[bytes] | None = None,
        check: bool = True,
        on_output: OnOutput | None = None,
        on_error: OnOutput | None = None,
        sizes: Sizes | None = None,
    ) -> ExecResult:
        """Run a program (no shell) in the node to its end.

        Shape: `on_output` gets each piece of output as it comes, of stderr too, unless `on_error` gets those: then nothing is kept for
        the result. With `sizes`, the rows and columns of a terminal as they change, the program has one.
        Raises: ExecFailed for another exit code than 0, unless `check` is False; TypeError for an `argv` that is a text; EngineError.
        Cancellation: ends the waiting; the program runs on.
        """
        from kindasync.docker.execs import container_exec

        async with self._connected() as connection:
            result = await container_exec(
                connection, self.id, argv, env=env, stdin=stdin, on_output=on_output, on_error=on_error, sizes=sizes
            )
        if check and result.exit_code:
            raise ExecFailed(self.name, argv, result.exit_code, result.tail())
        return result

    async def put(self, files: Mapping[str, bytes | str | File]) -> None:
        """Write files, by absolute path; directories above them are made. Not below /tmp, /run and the like, which are mounts: there nothing would arrive.

        Raises: KindasyncError for a path that cannot be written to; EngineError.
        """
        from kindasync.docker.archives import put_archive

        for path in files:
            if not path.startswith("/") or f"{normal(path)}/".startswith(_MOUNTS):
                raise KindasyncError(
                    f'cannot put "{path}" into node {self.name}', why=f"paths are absolute, and not below {', '.join(_MOUNTS)}"
                )
        async with self._connected() as connection:
            await put_archive(connection, self.id, "/", tar_of({normal(path): file for path, file in files.items()}))

    async def get(self, path: str) -> bytes:
        """The content of one file, or of what a symbolic link leads to. Raises: NotFound; NodeError for what is no file; EngineError."""
        from kindasync.docker.archives import path_stat, read_archive

        async with self._connected() as connection:
            try:
                stat = await path_stat(connection, self.id, path)
                if stat.link_target:
                    path = stat.link_target  # the Engine gives the end of the whole chain
                    stat = await path_stat(connection, self.id, path)
            except NotFound as error:
                hint = "name a file that is there, of a node that is"
                if f"{normal(path)}/".startswith(_MOUNTS):
                    hint = f'the Engine does not look into mounts: node.exec(["cat", "{path}"]) does'
                raise NotFound(
                    error.operation, f"{path} in node {self.name}", error.status, "no such file, or no such node", hint=hint
                ) from error
            if not stat.is_file:
                raise NodeError(f"{path} in node {self.name} is not a file", hint="name a file")
            return only_file(await read_archive(connection, self.id, path))

    async def published(self, port: int, protocol: str = "tcp") -> str:
        """Where a port of the node is reached from this machine: "host:port". Raises: NodeError if it is not published; EngineError."""
        from kindasync.docker.containers import container_inspect
        from kindasync.docker.system import system_info

        async with self._connected() as connection:
            facts = await system_info(connection)
            for binding in (await container_inspect(connection, self.id)).ports:
                if (binding.container_port, binding.protocol) == (port, protocol) and binding.host_port:
                    return facts.reached_at(binding.host_ip, binding.host_port)
        raise NodeError(
            f"port {port}/{protocol} of node {self.name} is not published",
            hint="extraPortMappings publish ports, when a cluster is created",
        )

    @overload
    def logs(self, *, tail: str = "all", follow: Literal[False] = False) -> Coroutine[Any, Any, str]: ...

    @overload
    def logs(self, *, tail: str = "all", follow: Literal[True]) -> AsyncGenerator[str, None]: ...

    def logs(self, *, tail: str = "all", follow: bool = False) -> Coroutine[Any, Any, str] | AsyncGenerator[str, None]:
        """What the node has printed to its console: `await node.logs()`. With `follow`: `async for line in node.logs(follow=True)`, until the node ends;
        who breaks off closes it by `contextlib.aclosing(node.logs(follow=True))`.

        Shape: `tail` the number of its last lines, "all" for all. Raises: NotFound; EngineError.
        """
        return self._log_lines(tail) if follow else self._log(tail)

    async def _log(self, tail: str) -> str:
        from kindasync.docker.containers import container_inspect, container_logs

        async with (
            self._connected() as connection,
            container_logs(connection, await container_inspect(connection, self.id), tail=tail) as chunks,
        ):
            return b"".join([chunk async for chunk in chunks]).decode(errors="replace")

    async def _log_lines(self, tail: str) -> AsyncGenerator[str, None]:
        from kindasync.docker.containers import container_inspect, container_logs, lines

        async with (
            self._connected() as connection,
            container_logs(connection, await container_inspect(connection, self.id), follow=True, tail=tail) as chunks,
            aclosing(lines(chunks)) as each,
        ):
            async for line in each:
                yield line

    @asynccontextmanager
    async def paused(self, *, wait_s: float = READY_S) -> AsyncIterator[None]:
        """The node frozen while the context is open: nothing in it runs, and its connections stay open.

        A node that was Ready is Ready again, and its cluster has heard of it since, when the context ends: a kubelet speaks up every 10 s.
        `wait_s` is for how long that is waited for; 0: not at all.
        Raises: NodeError if it does not run; NotReady; EngineError. If the body fails, and then the healing, the latter is a note of the error.
        Cancellation: the node goes on first, and is not waited for.
        """
        from kindasync.node import _faults

        async with _faults.paused(self.id, self._connected, await self._readiness_again(wait_s)):
            yield

    @asynccontextmanager
    async def killed(self, *, wait_s: float = READY_S) -> AsyncIterator[None]:
        """The node's processes ended at once (SIGKILL), as by a power cut, while the context is open; then it is started again.

        A node that was Ready is Ready again when the context ends; `wait_s` is for how long that is waited for; 0: not at all.
        Raises: NodeError if it does not run; NotReady; EngineError. If the body fails, and then the healing, the latter is a note of the error.
        Cancellation: the node is started first, and not waited for.
        """
        from kindasync.node import _faults

        async with _faults.killed(self.id, self._connected, await self._readiness_again(wait_s)):
            yield

    @asynccontextmanager
    async def disconnected(self, *, wait_s: float = READY_S) -> AsyncIterator[None]:
        """The node without its network while the context is open: its interface and published ports are gone. Then it has its place again, with its address.

        A node that was Ready is Ready again, and its cluster has heard of it since, when the context ends, as after `paused`.
        Raises: NodeError if it does not run, or if its address could not be given back (networks not of our making); NotReady; EngineError.
        If the body fails, and then the healing, the latter is a note of the error.
        Cancellation: the node is connected first, and not waited for.
        """
        from kindasync.node import _faults

        async with _faults.disconnected(self.id, self._connected, await self._readiness_again(wait_s)):
            yield

    async def _readiness_again(self, wait_s: float) -> Settle | None:
        """What waits for a node to be as it is now; None if it is not Ready, or is not to be waited for."""
        readiness = self.readiness
        if not (readiness and wait_s > 0 and await readiness.is_ready(self)):
            return None

        async def settle(since: datetime) -> None:
            await readiness.wait_ready(self, since=since, timeout_s=wait_s)

        return settle

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Connection]:
        try:
            if self.connection:
                yield self.connection
            else:
                async with self.engine.connect() as connection:
                    yield connection
        except EngineError as error:
            error.what = error.what.replace(f"container {self.id}", f"node {self.name}")
            raise


@dataclass(frozen=True, slots=True, kw_only=True)
class PausedNode(Node):
    """A node that waits before its boot, as `before_boot` hooks get it: nothing runs yet, everything can be changed. `bus` takes its events."""

    bus: Bus = field(repr=False, compare=False)

    async def preload(self, archive: Path | str) -> None:
        """Put an image archive (docker or OCI layout) into the node; containerd imports it before the node counts as booted.

        Emits PreloadProgress with bytes. Raises: OSError for a file that cannot be read; EngineError.
        """
        from kindasync.docker.archives import path_stat, put_archive
        from kindasync.node._contract import PRELOAD_DIRECTORY

        source = Path(archive)
        total = os.stat(source).st_size  # noqa: PTH116 (a local file's size: at once)

        def report(current: int) -> None:
            self.bus.emit(PreloadProgress(cluster=self.cluster, node=self.name, subject=source.name, current=current, total=total))

        report(0)
        async with self._connected() as connection:
            name = source.name.lstrip(".")  # the node imports what `*` names
            with suppress(NotFound):
                await path_stat(connection, self.id, f"{PRELOAD_DIRECTORY}/{name}")
                name = f"{token_hex(4)}-{name}"  # another archive has that name
            await put_archive(connection, self.id, PRELOAD_DIRECTORY, tar_stream(source, name, report=report))
