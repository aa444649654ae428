"""Leases: clusters of a run of tests, all of whose processes share them. They end with one process, and whoever comes later can remove what it left.

A lease is a file of this user, made before the cluster is. Who makes, joins or ends one holds its lock, which the kernel takes back from the dead.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from enum import Enum, auto
from pathlib import Path
from urllib.parse import quote

import anyio

from kindasync.cluster import _state
from kindasync.cluster._cluster import Cluster, delete
from kindasync.cluster._lookup import members
from kindasync.cluster._names import OWNER_LABEL
from kindasync.cluster._owner import has_ended, owner
from kindasync.docker import Engine
from kindasync.errors import AlreadyExists, ConfigInvalid, EngineMissing, EngineUnreachable, KindasyncError, one_error

LOCK_POLL_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who holds leases: a run, and the process (`owner()`) with which it ends."""

    run: str
    process: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """One cluster of a run. Shape: `engine` is a URL; `maker` the process that makes the nodes; `ready` once it has; `keep`: then it outlives the run. One that was claimed
    from a pool has another name than was asked for, which nobody else can have, and any maker (empty).
    """

    cluster: str
    engine: str
    holder: Holder
    maker: str
    ready: bool = False
    keep: bool = False

    @property
    def outlives(self) -> bool:
        """Whether the cluster is to be there when the run has ended."""
        return self.ready and self.keep


class Verdict(Enum):
    """What there is to do for somebody who wants a cluster of this name, with the lease's lock in hand."""

    MAKE = auto()
    JOIN = auto()
    REPLACE = auto()
    REFUSE = auto()


def verdict(lease: Lease | None, holder: Holder, *, ended: bool) -> Verdict:
    """Decide by the lease that is there; `ended`: whether its holder has. A maker that lives would have the lock."""
    if lease is None:
        return Verdict.MAKE
    if lease.holder == holder:
        return Verdict.JOIN if lease.ready else Verdict.REPLACE
    if lease.outlives and ended:
        return Verdict.MAKE  # where it will be found to be there
    return Verdict.REPLACE if ended else Verdict.REFUSE


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a run ended: the clusters that were kept, and those that could not be deleted."""

    kept: list[str] = field(default_factory=list)
    failures: list[KindasyncError] = field(default_factory=list)


async def lease(cluster: str, holder: Holder, create: Callable[[], Awaitable[Cluster]], *, keep: bool = False) -> Cluster:
    """The run's cluster of that name: created, or claimed from a pool, by whoever asks first, while the others wait. `keep` it when the run ends.

    What runs left that ended without deleting it is removed first; what of it cannot be, waits for the next. Raises: AlreadyExists if
    another run, or somebody else, has the name; what `create` raises. Cancellation: that of `create`, and of waiting.
    """
    engine = Engine.of(None)
    await sweep(engine.url)
    path = _path(engine.url, cluster)
    async with _locked(path):
        found = _read(path)
        match verdict(found, holder, ended=found is not None and has_ended(found.holder.process)):
            case Verdict.JOIN if found:
                return await Cluster.get(found.cluster, engine=engine)
            case Verdict.REFUSE:
                raise AlreadyExists(
                    f'cluster "{cluster}" belongs to another run of tests',
                    why="it has not ended",
                    hint="wait for it, or choose another name; to use one cluster in several runs: pytest --kind-reuse",
                )
            case Verdict.REPLACE if found:
                await _delete(found)
        made = Lease(cluster=cluster, engine=engine.url, holder=holder, maker=owner(), keep=keep)
        _write(path, made)
        try:
            created = await create()
        except (AlreadyExists, ConfigInvalid, EngineMissing, EngineUnreachable):
            _forget(path)  # nothing was made
            raise
        maker = made.maker if created.name == cluster else ""
        _write(path, replace(made, cluster=created.name, maker=maker, ready=True))
        return created


async def end(holder: Holder, *, keep: Callable[[str], bool] | None = None) -> Ended:
    """Delete the run's clusters, on whichever Engine, but for those to keep; `keep` tells of more. Cancellation: what is left is found by the next run."""
    return await _end(((path, each) for path, each in _leases() if each.holder == holder), keep=keep)


async def sweep(engine_url: str) -> Ended:
    """Delete what runs that have ended left on an Engine. Cancellation: ends it; the same again goes on."""
    return await _end(_left(engine_url))


def left(engine_url: str) -> set[tuple[str, str]]:
    """The clusters of an Engine whose runs have ended, each with its maker (empty: any): finished or not, they were to be deleted. Others may have their names by now."""
    return {(lease.cluster, lease.maker) for _, lease in _left(engine_url) if not lease.outlives}


def _left(engine_url: str) -> Iterator[tuple[Path, Lease]]:
    return ((path, each) for path, each in _leases() if each.engine == engine_url and has_ended(each.holder.process))


async def _end(leases: Iterable[tuple[Path, Lease]], *, keep: Callable[[str], bool] | None = None) -> Ended:
    ended = Ended()

    async def end(path: Path, holder: Holder) -> None:
        try:
            async with _locked(path):
                found = _read(path)
                if not found or found.holder != holder:
                    return  # somebody has ended it meanwhile, and perhaps begun another
                if found.outlives or (found.ready and keep and keep(found.cluster)):
                    ended.kept.append(found.cluster)
                else:
                    with one_error():
                        await _delete(found)
                _forget(path)
        except KindasyncError as error:
            ended.failures.append(error)

    async with anyio.create_task_group() as tasks:
        for path, each in [*leases]:
            tasks.start_soon(end, path, each.holder)
    return ended


async def _delete(lease: Lease) -> None:
    """Delete a cluster, if it is the one that was leased: whoever else has the name by now keeps it."""
    current = Engine.of(None)
    engine = current if current.url == lease.engine else Engine.of(lease.engine)
    async with engine.connect() as connection:
        makers = {container.labels.get(OWNER_LABEL) for container in await members(connection, lease.cluster)}
    if not makers or lease.maker in ("", *makers):
        await delete(lease.cluster, engine=engine)


# -- files


def _directory() -> Path:
    from platformdirs import user_state_path

    return user_state_path("kindasync") / "leases"


def _path(engine_url: str, cluster: str) -> Path:
    return _directory() / quote(engine_url, safe="") / f"{quote(cluster, safe='')}.json"


def _leases() -> Iterator[tuple[Path, Lease]]:
    for path in sorted(_directory().glob("*/*.json")):
        found = _read(path)
        if found:
            yield path, found


def _read(path: Path) -> Lease | None:
    try:
        document = json.loads(path.read_text())
        return Lease(**{**document, "holder": Holder(**document["holder"])})
    except (OSError, ValueError, TypeError, KeyError):  # gone, or written by another version
        return None


def _write(path: Path, lease: Lease) -> None:
    with _state.kept(path.parent, "a lease"):
        _state.write_private(path, json.dumps(asdict(lease)).encode())


def _forget(path: Path) -> None:
    path.unlink(missing_ok=True)


def alone(engine_url: str, cluster: str) -> AbstractAsyncContextManager[None]:
    """For what only one process of this user at a time may do with a cluster of that name. Raises: ClusterError where no lock can be kept."""
    return _locked(_path(engine_url, cluster))


@asynccontextmanager
async def _locked(path: Path) -> AsyncIterator[None]:
    """Hold the lock of a lease. Its file is there for as long as somebody holds it: who has waited for one that was removed begins anew."""
    from filelock import lock_descriptor

    lock = path.with_suffix(".lock")
    while True:
        with _state.kept(path.parent, "a lease"):
            descriptor = _opened(lock)
        try:
            if lock_descriptor(descriptor, blocking=False) and os.fstat(descriptor).st_nlink:
                try:
                    yield
                finally:
                    lock.unlink(missing_ok=True)
                    _state.remove_empty(lock.parent)
                return
        finally:
            os.close(descriptor)
        await anyio.sleep(LOCK_POLL_S)


def _opened(lock: Path) -> int:
    while True:
        _state.make_private(lock.parent)
        with suppress(FileNotFoundError):  # whoever had the lock has just removed the directory
            return os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
