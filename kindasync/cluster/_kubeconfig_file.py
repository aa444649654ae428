"""Kubeconfig files: changed under client-go's lock, as a whole or not at all; nothing else in them is lost."""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml
from filelock import SoftFileLock, Timeout

from kindasync.errors import KindasyncError
from kindasync.kubeconfig import merge, merged_paths, remove, target_path

LOCK_S = 20.0
_PAUSE_S = 0.05
_FIRST_MODE = 0o600
_WITHOUT_COLONS = {
    "tag:yaml.org,2002:int": re.compile(r"[-+]?(?:0|[1-9][0-9]*)$"),
    "tag:yaml.org,2002:float": re.compile(r"[-+]?[0-9]*\.[0-9]+(?:[eE][-+]?[0-9]+)?$"),
}


def add(kubeconfig: Mapping[str, Any], explicit: Path | None, *, env: Mapping[str, str] = os.environ, home: Path | None = None) -> Path:
    """Merge a cluster's kubeconfig into the user's, and make its context the current one; the file that was changed.

    Raises: KindasyncError for a file that is no kubeconfig or stays locked; OSError.
    """
    path = target_path(explicit, env, home or Path.home())
    change(path, lambda existing: merge(existing, kubeconfig))
    return path


def take_out(cluster: str, explicit: Path | None, *, env: Mapping[str, str] = os.environ, home: Path | None = None) -> None:
    """Remove a cluster's entries from all files that clients read. Raises: as `add`."""
    for path in (explicit,) if explicit else merged_paths(env, home or Path.home()):
        if path.exists():
            change(path, lambda existing: remove(existing, cluster))


def change(path: Path, edit: Callable[[Mapping[str, Any]], Mapping[str, Any]], *, lock_s: float = LOCK_S) -> None:
    """Read, edit and replace a file while holding `<file>.lock`, which client-go and kind take, too. An edit without effect writes nothing.

    Raises: KindasyncError if the lock is not to be had within `lock_s` seconds, or the file is no kubeconfig; OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path, lock_s):
        existing = _read(path)
        edited = edit(existing)
        if edited != existing:
            _replace(path, yaml.safe_dump(dict(edited), sort_keys=False).encode())


@contextmanager
def _locked(path: Path, lock_s: float) -> Iterator[None]:
    lock = SoftFileLock(f"{path}.lock")
    deadline = time.monotonic() + lock_s
    while True:
        try:
            lock.acquire(timeout=max(0.0, deadline - time.monotonic()))
            break
        except (Timeout, PermissionError) as error:
            # client-go's lock has mode 0: to filelock that is a file it may never have, not one to wait for.
            if isinstance(error, PermissionError) and not os.access(
                path.parent, os.W_OK, effective_ids=os.access in os.supports_effective_ids
            ):
                raise
            if isinstance(error, Timeout) or time.monotonic() > deadline:
                raise KindasyncError(
                    f"cannot change {path}",
                    why=f"{path}.lock is there, and has been for {lock_s:g} s: another program is changing the file, or died while it did",
                    hint=f"if no kubectl, kind or kindasync is running, remove {path}.lock",
                ) from error
            time.sleep(_PAUSE_S)
    try:
        yield
    finally:
        lock.release()


class _Loader(yaml.SafeLoader):
    """YAML as client-go reads it: a text that looks like a time, or like a number to the base of 60, is a text."""


_Loader.yaml_implicit_resolvers = {
    letter: [(tag, _WITHOUT_COLONS.get(tag, pattern)) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _read(path: Path) -> Mapping[str, Any]:
    try:
        document = yaml.load(path.read_bytes(), Loader=_Loader)  # noqa: S506 (a safe one)
    except FileNotFoundError:
        return {}
    except yaml.YAMLError as error:
        raise KindasyncError(f"{path} is not a kubeconfig", why=str(error), hint="mend it, or name another file: --kubeconfig") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise KindasyncError(
            f"{path} is not a kubeconfig", why="it is YAML, but no mapping", hint="mend it, or name another file: --kubeconfig"
        )
    return document


def _replace(path: Path, content: bytes) -> None:
    """Put new content in the place of a file: of the file itself, where `path` is a link to it. Its mode and owner stay."""
    real = path.resolve()
    before = real.stat() if real.exists() else None
    temporary = real.with_name(f".{real.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)  # of one that died; who holds the lock is alone here
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _FIRST_MODE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if before:
            if hasattr(os, "chown"):
                with suppress(PermissionError):
                    os.chown(temporary, before.st_uid, before.st_gid)  # under sudo, the file stays the user's
            temporary.chmod(before.st_mode & 0o777)
        try:
            os.replace(temporary, real)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            real.write_bytes(content)  # a mount of its own, as in a development container: nothing can take its place
            temporary.unlink()
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
