"""Kubeconfig files: changed under client-go's lock, as a whole or not at all; nothing else in them is lost."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml
from filelock import SoftFileLock, Timeout

from kindasync.errors import KindasyncError
from kindasync.kubeconfig import merge, merged_paths, remove, target_path

LOCK_S = 20.0
_FIRST_MODE = 0o600


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


def change(path: Path, edit: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
    """Read, edit and replace a file while holding `<file>.lock`, which client-go and kind take, too. An edit without effect writes nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with SoftFileLock(f"{path}.lock", timeout=LOCK_S):
            existing = _read(path)
            edited = edit(existing)
            if edited != existing:
                _replace(path, yaml.safe_dump(dict(edited), sort_keys=False).encode())
    except Timeout as error:
        raise KindasyncError(
            f"cannot change {path}",
            why=f"{path}.lock is there, and has been for {LOCK_S:g} s: another program is changing the file, or died while it did",
            hint=f"if no kubectl, kind or kindasync is running, remove {path}.lock",
        ) from error


def _read(path: Path) -> Mapping[str, Any]:
    try:
        document = yaml.safe_load(path.read_text())
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
    """Put new content in the place of a file: of the file itself, where `path` is a link to it. Its mode stays."""
    real = path.resolve()
    mode = real.stat().st_mode & 0o777 if real.exists() else _FIRST_MODE
    temporary = real.with_name(f".{real.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, real)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
