"""Logs: what a cluster's nodes have to say, in a directory laid out as kind's `export logs` does."""

from __future__ import annotations

import gzip
import json
import os
import posixpath
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import anyio
import anyio.to_thread

from kindasync import __version__
from kindasync.cluster._lookup import existing_members, is_node
from kindasync.docker import Connection
from kindasync.docker._engine import Call
from kindasync.docker.archives import get_archive
from kindasync.docker.containers import Container, container_logs
from kindasync.docker.execs import ANY_CODE, container_run
from kindasync.errors import Conflict, KindasyncError, NodeError, StepFailed, redacted
from kindasync.events import Bus, LogsExported, Warned

VAR_LOG = "/var/log"
PROGRAM_S = 600.0
PROGRAMS = {
    "kubernetes-version.txt": ["cat", "/kind/version"],
    "journal.log": ["journalctl", "--no-pager"],
    "kubelet.log": ["journalctl", "--no-pager", "-u", "kubelet.service"],
    "containerd.log": ["journalctl", "--no-pager", "-u", "containerd.service"],
    "images.log": ["crictl", "images"],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """One export, as its steps know it. `failures`: what the Engine refused; the rest is exported all the same."""

    connection: Connection
    bus: Bus
    cluster: str
    failures: list[KindasyncError]

    async def attempt(self, step: Callable[[], Awaitable[None]]) -> None:
        """Do a step, and note its failure: one file that cannot be had is no reason to have none."""
        try:
            await step()
        except KindasyncError as error:
            self.failures.append(error)


async def export_logs(connection: Connection, bus: Bus, cluster: str, directory: Path) -> None:
    """Write the logs of all nodes, running or not, into a directory, which is made if it is not there.

    Shape: docker-info.txt, kind-version.txt, and for each node a directory of its name. What looks like a secret is withheld,
    also from the logs of pods. A program that fails in a node is a Warned; its output is in the file.
    Raises: ClusterNotFound; OSError for a directory that cannot be written; StepFailed with what the Engine refused, after the rest.
    """
    containers = await existing_members(connection, cluster)
    export = Export(connection=connection, bus=bus, cluster=cluster, failures=[])
    await anyio.Path(directory).mkdir(parents=True, exist_ok=True)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(export.attempt, lambda: _engine(export, directory))
        for container in containers:
            if is_node(container):
                tasks.start_soon(_node, export, container, directory / container.name)
    if export.failures:
        raise StepFailed("export logs", cluster, export.failures) from export.failures[0]


async def _engine(export: Export, directory: Path) -> None:
    await _write(directory / "kind-version.txt", f"kindasync {__version__}\n")
    info = await export.connection.request_json(Call("SystemInfo", "GET", "/info"))
    await _write(directory / "docker-info.txt", json.dumps(info, indent=4) + "\n")


async def _node(export: Export, node: Container, directory: Path) -> None:
    began = export.bus.elapsed_s()
    await anyio.Path(directory).mkdir(exist_ok=True)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(export.attempt, lambda: _inspect(export, node, directory / "inspect.json"))
        tasks.start_soon(export.attempt, lambda: _serial(export, node, directory / "serial.log"))
        tasks.start_soon(export.attempt, lambda: _var_log(export, node, directory))
        if node.state == "running":
            tasks.start_soon(_programs, export, node, directory)
    export.bus.emit(LogsExported(cluster=export.cluster, node=node.name, duration_s=export.bus.elapsed_s() - began))


async def _inspect(export: Export, node: Container, path: Path) -> None:
    call = Call("ContainerInspect", "GET", f"/containers/{node.id}/json", node.subject)
    await _write(path, json.dumps([await export.connection.request_json(call)], indent=4) + "\n")


async def _serial(export: Export, node: Container, path: Path) -> None:
    async with container_logs(export.connection, node) as chunks:
        await _write(path, b"".join([chunk async for chunk in chunks]).decode(errors="replace"))


async def _programs(export: Export, node: Container, directory: Path) -> None:
    """One after the other: all nodes do so at once."""
    for name, argv in PROGRAMS.items():

        async def output(name: str = name, argv: list[str] = argv) -> None:
            try:
                result = await container_run(export.connection, node.name, argv, passing=ANY_CODE, timeout_s=PROGRAM_S)
            except Conflict:  # stopped since it was listed
                return
            text = result.text
            if result.exit_code:
                text += result.stderr.decode(errors="replace")
                message = f'"{" ".join(argv)}" ended with exit code {result.exit_code}: {name} may lack something'
                export.bus.emit(Warned(cluster=export.cluster, node=node.name, message=message))
            await _write(directory / name, text)

        await export.attempt(output)


async def _write(path: Path, text: str) -> None:
    await anyio.Path(path).write_text(await anyio.to_thread.run_sync(redacted, text), errors="replace")


# -- /var/log


async def _var_log(export: Export, node: Container, directory: Path) -> None:
    with tempfile.TemporaryFile(dir=directory) as file:  # a file of no name, gone with this process
        async with get_archive(export.connection, node.name, VAR_LOG) as chunks:
            await _save(chunks, file)
        try:
            await anyio.to_thread.run_sync(unpack, file, directory)
        except (tarfile.TarError, EOFError) as error:
            raise NodeError(f"not all of {VAR_LOG} of node {node.name} could be exported", why=str(error)) from error


async def _save(chunks: AsyncIterator[bytes], file: IO[bytes]) -> None:
    async for chunk in chunks:
        await anyio.to_thread.run_sync(file.write, chunk)


def unpack(file: IO[bytes], directory: Path) -> None:
    """Unpack the archive of /var/log: files and directories only, none outside of `directory`.

    A symbolic link, such as those of containers/, becomes a further name of the file of /var/log that it leads to; others are left out.
    Raises: TarError for an archive that is broken; what came before is unpacked.
    """
    links: dict[str, str] = {}
    try:
        file.seek(0)
        with tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                name = posixpath.normpath(member.name).partition("/")[2]
                if not name:
                    continue
                if member.issym():
                    links[name] = posixpath.normpath(posixpath.join(VAR_LOG, posixpath.dirname(name), member.linkname))
                elif member.isreg() or member.isdir():
                    with suppress(tarfile.FilterError):
                        path = directory / tarfile.data_filter(member.replace(name=name, deep=False), str(directory)).name
                        content = tar.extractfile(member)
                        (path.parent if content else path).mkdir(parents=True, exist_ok=True)
                        if content:
                            path.write_bytes(_discreet(name, content.read()))
    finally:
        for name, target in links.items():
            _name(directory, name, target)


def _discreet(name: str, content: bytes) -> bytes:
    """A file without what looks like a secret; kubelets compress those that are full."""
    if name.endswith(".gz"):
        with suppress(OSError, EOFError, zlib.error):
            return gzip.compress(_discreet(name.removesuffix(".gz"), gzip.decompress(content)))
    return redacted(content.decode(errors="surrogateescape")).encode(errors="surrogateescape")


def _name(directory: Path, name: str, target: str) -> None:
    """Give the file that a link of /var/log leads to a further name."""
    root = directory.resolve()
    source = (root / target.removeprefix(f"{VAR_LOG}/")).resolve()
    path = root / name
    inside = path.parent.resolve().is_relative_to(root) and source.is_relative_to(root)
    if not (target.startswith(f"{VAR_LOG}/") and inside and source.is_file()):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    try:
        os.link(source, path)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, path)
