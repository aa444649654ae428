"""Leftovers: all that kindasync could leave behind on a fake Engine and in a home directory, to be compared."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kindasync.testing import FakeEngine


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What is there: names with IDs of containers and networks, volumes, and files with their mode and content."""

    containers: dict[str, str]
    networks: dict[str, str]
    volumes: frozenset[str]
    files: dict[str, tuple[str, bytes]]


def look(fake: FakeEngine, home: Path) -> Seen:
    """What is there now."""
    return Seen(
        containers={name: container.id for name, container in fake.containers.items()},
        networks={name: network.id for name, network in fake.networks.items()},
        volumes=frozenset(fake.volumes),
        files={str(path.relative_to(home)): _file(path) for path in sorted(home.rglob("*"))},
    )


def _file(path: Path) -> tuple[str, bytes]:
    return stat.filemode(path.lstat().st_mode), path.read_bytes() if path.is_file() else b""


@contextmanager
def nothing_left(fake: FakeEngine, home: Path) -> Iterator[None]:
    """After the body, everything is as it was before."""
    before = look(fake, home)
    yield
    assert look(fake, home) == before
