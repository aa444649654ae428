"""Lab: an Engine under test, fake or real, and what one test makes in it. All of that bears the test's own label, and goes with the test."""

from __future__ import annotations

import io
import tarfile
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from secrets import token_hex
from typing import Any

import anyio
import pytest

from kindasync.build._oci import ImageRecord, Layer, LayerWriter, write_archive
from kindasync.docker import Connection, Engine
from kindasync.docker.containers import (
    Container,
    ContainerSpec,
    container_create,
    container_inspect,
    container_list,
    container_logs,
    container_remove,
    container_start,
)
from kindasync.docker.images import image_list, image_remove
from kindasync.docker.networks import NetworkSpec, Subnet, network_create, network_list, network_remove
from kindasync.docker.volumes import volume_list, volume_remove
from kindasync.errors import ApiError
from kindasync.testing import FakeContainer, FakeEngine, ProgramResult
from kindasync.testing._programs import Program

NODE_IMAGE = "kindasync/node:v1.37.2"
RUN_LABEL = "contract-run"
REAL = "real"
REAL_ENGINE = pytest.param(REAL, marks=pytest.mark.engine)


@dataclass(frozen=True, slots=True)
class Lab:
    """The Engine, and the beginning that the names of all that this test makes have in common.

    Containers are of the node image, but run another program. What real programs do, a fake is told: see `bash`.
    """

    connection: Connection
    fake: FakeEngine | None
    profile: str
    run: str = field(default_factory=lambda: f"contract-{token_hex(4)}")
    _scripts: dict[str, ProgramResult] = field(default_factory=dict)

    @property
    def engine(self) -> Engine:
        return self.connection.engine

    @property
    def labels(self) -> dict[str, str]:
        return {RUN_LABEL: self.run}

    def name(self, suffix: str) -> str:
        return f"{self.run}-{suffix}"

    # -- containers

    def spec(self, *argv: str, **fields: Any) -> ContainerSpec:
        """A container that runs `argv`, by default nothing for ever, without a network."""
        spec = ContainerSpec(image=NODE_IMAGE, entrypoint=argv or ("sleep", "infinity"), labels=self.labels, network_mode="none")
        if "network" in fields:
            spec = replace(spec, network_mode="")
        return replace(spec, **fields)

    async def created(self, spec: ContainerSpec | None = None, *, name: str = "a") -> str:
        """The ID of a new container."""
        return await container_create(self.connection, self.name(name), spec or self.spec())

    async def running(self, spec: ContainerSpec | None = None, *, name: str = "a") -> Container:
        """A container that has just been started."""
        container = await self.created(spec, name=name)
        await container_start(self.connection, container)
        return await container_inspect(self.connection, container)

    async def output(self, container: Container, **options: Any) -> bytes:
        async with container_logs(self.connection, container, **options) as chunks:
            return b"".join([chunk async for chunk in chunks])

    async def printed(self, container: Container, awaited: bytes) -> None:
        """Wait until the container has printed so much."""
        seen = b""
        with anyio.fail_after(10):
            async with container_logs(self.connection, container, follow=True) as chunks:
                async for chunk in chunks:
                    seen += chunk
                    if awaited in seen:
                        return
        raise AssertionError(f"it ended, and has printed {seen!r}, not {awaited!r}")

    def bash(self, script: str, **result: Any) -> tuple[str, ...]:
        """The argv of a script. `result` is what it comes to: ProgramResult's fields, for fakes, which have no bash."""
        if self.fake:
            self._scripts[script] = ProgramResult(**result)
            self.fake.node.programs["bash"] = self._bash
        return ("bash", "-c", script)

    def _bash(self, container: FakeContainer, argv: Sequence[str], stdin: bytes) -> ProgramResult:
        return self._scripts[argv[2]]

    def program(self, name: str, program: Program) -> None:
        """Tell a fake what a program does that it does not know."""
        if self.fake:
            self.fake.node.programs[name] = program

    # -- networks

    async def network(self, name: str = "n", **fields: Any) -> str:
        """A network with a free subnet; its name."""
        spec = NetworkSpec(name=self.name(name), subnets=(await self.free_subnet(),), labels=self.labels)
        await network_create(self.connection, replace(spec, **fields))
        return spec.name

    async def free_subnet(self) -> Subnet:
        """A subnet that no network of the Engine has; the upper half is the one that the Engine gives addresses from."""
        taken = {subnet.subnet for network in await network_list(self.connection) for subnet in network.subnets}
        start = int(self.run[-2:], 16)  # other runs of these tests begin elsewhere
        third = next(number % 256 for number in range(start, start + 256) if f"10.253.{number % 256}.0/24" not in taken)
        return Subnet(subnet=f"10.253.{third}.0/24", ip_range=f"10.253.{third}.128/25")

    # -- images

    def archive(
        self, directory: Path, *names: str, files: Mapping[str, bytes] | None = None, labels: Mapping[str, str] | None = None
    ) -> Archive:
        """An archive with one small image per name."""
        with LayerWriter(directory / "layer.tar") as layer:
            for path, content in (files or {"data/file": b"content"}).items():
                layer.add_bytes(path, content)
        layers = (Layer.of(directory / "layer.tar"),)
        references = tuple(f"{self.name(name)}:1" for name in names)
        images = [
            ImageRecord(
                reference=f"docker.io/library/{reference}",
                architecture="amd64",
                layers=layers,
                config={"Labels": {**self.labels, "name": name, **(labels or {})}, "Env": ["A=b"], "Cmd": ["/none"]},
            )
            for name, reference in zip(names, references, strict=True)
        ]
        write_archive(directory / "archive.tar", images)
        return Archive(references=references, content=(directory / "archive.tar").read_bytes())

    # -- the end

    async def clean(self) -> None:
        """Remove all that bears the label."""
        for container in await container_list(self.connection, labels=self.labels):
            await container_remove(self.connection, container.id)
        for network in await network_list(self.connection, labels=self.labels):
            await network_remove(self.connection, network.id)
        for volume in await volume_list(self.connection, labels=self.labels):
            await volume_remove(self.connection, volume.name)
        for image in await image_list(self.connection, labels=self.labels):
            await image_remove(self.connection, image.id, force=True)


@dataclass(frozen=True, slots=True)
class Archive:
    """An image archive. `references`: of its images, as the Engine names them."""

    references: tuple[str, ...]
    content: bytes

    def __aiter__(self) -> AsyncIterator[bytes]:
        return pieces(self.content)


async def pieces(data: bytes, size_bytes: int = 64 * 1024) -> AsyncIterator[bytes]:
    """`data` as a stream."""
    for start in range(0, len(data), size_bytes):
        await anyio.lowlevel.checkpoint()
        yield data[start : start + size_bytes]


def tar(files: Mapping[str, bytes], *, links: Mapping[str, str] | None = None, directories: Sequence[str] = (), mode: int = 0o644) -> bytes:
    """A tar stream."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in directories:
            info = tarfile.TarInfo(name)
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(info)
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), mode
            archive.addfile(info, io.BytesIO(content))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    return buffer.getvalue()


def untar(data: bytes) -> dict[str, bytes]:
    """The regular files of a tar stream."""
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {member.name: file.read() for member in archive if member.isreg() and (file := archive.extractfile(member))}


def refusal(error: BaseException) -> tuple[str, int]:
    """Operation and status of an ApiError."""
    assert isinstance(error, ApiError)
    return error.operation, error.status
