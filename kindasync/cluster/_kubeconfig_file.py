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

from kindasync import go_yaml
from kindasync.errors import KindasyncError
from kindasync.kubeconfig import merge, merged_paths, remove, shape_problem, target_path

LOCK_S = 20.0
_PAUSE_S = 0.05
_FIRST_MODE = 0o600
_HINT = "mend it, or name another file: --kubeconfig"
# Plain words of YAML 1.1 that are more than text here: only what is the same to all readers, of YAML 1.2, too.
_ONLY = {
    "tag:yaml.org,2002:bool": re.compile(r"(?:true|True|TRUE|false|False|FALSE)$"),
    "tag:yaml.org,2002:int": re.compile(r"[-+]?(?:0|[1-9][0-9]*)$"),
    "tag:yaml.org,2002:float": re.compile(r"[-+]?[0-9]*\.[0-9]+(?:[eE][-+]?[0-9]+)?$"),
}
_TRUE_OR_FALSE = (
    "insecure-skip-tls-verify",
    "disable-compression",
    "provideClusterInfo",
)  # source: k8s.io/client-go, tools/clientcmd/api/v1
_TRUTHS = {"y": True, "yes": True, "on": True, "n": False, "no": False, "off": False}
_NEVER = ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:value")
# What PyYAML's problems quote: a character or a token in group 2, as in "found character '\t' that cannot start any token", or a text.
_QUOTED = re.compile(r"""(['"])(?:(\\?.|<[^'"]*)|(?:\\.|(?!\1).)*)\1""")
Check = Callable[[], None]


def check(explicit: Path | None, *, env: Mapping[str, str] = os.environ, home: Path | None = None) -> None:
    """See whether `add` could do its work, as things are now. Raises: as `add`."""
    path = target_path(explicit, env, home or Path.home())
    with _usable(path):
        if _is_special(path):
            return
        _read(path)
        directory = next(each for each in path.absolute().parents if each.exists())
        if not _writable(directory):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(directory))


def add(
    kubeconfig: Mapping[str, Any],
    explicit: Path | None,
    *,
    env: Mapping[str, str] = os.environ,
    home: Path | None = None,
    while_waiting: Check = lambda: None,
) -> Path:
    """Merge a cluster's kubeconfig into the user's, and make its context the current one; the file that was changed.

    Raises: KindasyncError for a file that is no kubeconfig, cannot be changed, or stays locked; and see `change`.
    """
    path = target_path(explicit, env, home or Path.home())
    change(path, lambda existing: merge(existing, kubeconfig), while_waiting=while_waiting)
    return path


def take_out(cluster: str, explicit: Path | None, *, env: Mapping[str, str] = os.environ, home: Path | None = None) -> None:
    """Remove a cluster's entries from all files that clients read. Raises: as `add`."""
    for path in (explicit,) if explicit else merged_paths(env, home or Path.home()):
        with _usable(path):
            if path.exists():
                change(path, lambda existing: remove(existing, cluster))


def change(
    path: Path,
    edit: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    *,
    lock_s: float = LOCK_S,
    while_waiting: Check = lambda: None,
) -> None:
    """Read, edit and replace a file while holding `<file>.lock`, which client-go and kind take, too. An edit without effect writes nothing.

    Raises: KindasyncError if the lock is not to be had within `lock_s` seconds, or the file is no kubeconfig or cannot be
    changed; what `while_waiting` raises, which is called again and again until the lock is had: then nothing was changed.
    A device or pipe (/dev/null) is written to, not read, locked or replaced.
    """
    with _usable(path):
        if _is_special(path):
            _write(path, edit({}))
            return
    with _usable(path), _locked(path, lock_s, while_waiting):
        existing = _read(path)
        edited = edit(existing)
        if edited != existing:
            _replace(path, go_yaml.dump(dict(edited)).encode())


@contextmanager
def _usable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise KindasyncError(
            f"cannot change {path}",
            why=f"{error.strerror or error}: {error.filename or path}",
            hint="see that this user can write there, or name another file: --kubeconfig",
        ) from error


def _is_special(path: Path) -> bool:
    return path.exists() and not path.is_file() and not path.is_dir()


def _write(path: Path, document: Mapping[str, Any]) -> None:
    """Into what is no file; a pipe that nobody reads is an error, not waited for."""
    if document:
        descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        os.set_blocking(descriptor, True)
        with os.fdopen(descriptor, "wb") as file:
            file.write(go_yaml.dump(dict(document)).encode())


def _writable(directory: Path) -> bool:
    return os.access(directory, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


@contextmanager
def _locked(path: Path, lock_s: float, while_waiting: Check) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = SoftFileLock(f"{path}.lock")
    deadline = time.monotonic() + lock_s
    while True:
        try:
            lock.acquire(timeout=0)
            break
        except (Timeout, PermissionError) as error:
            # client-go's lock has mode 0: to filelock that is a file it may never have, not one to wait for.
            if isinstance(error, PermissionError) and not _writable(path.parent):
                raise
            if time.monotonic() > deadline:
                raise KindasyncError(
                    f"cannot change {path}",
                    why=f"{path}.lock is there, and has been for {lock_s:g} s: another program is changing the file, or died while it did",
                    hint=f"if no kubectl, kind or kindasync is running, remove {path}.lock",
                ) from error
        while_waiting()
        time.sleep(_PAUSE_S)
    try:
        yield
    finally:
        lock.release()


class _Loader(yaml.SafeLoader):
    """YAML of which nothing is lost: what only looks like a time, a truth (`on`) or a number to the base of 60 is a text."""


_Loader.yaml_implicit_resolvers = {
    letter: [(tag, _ONLY.get(tag, pattern)) for tag, pattern in resolvers if tag not in _NEVER]
    for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _read(path: Path) -> Mapping[str, Any]:
    try:
        document = yaml.load(path.read_bytes(), Loader=_Loader)  # noqa: S506 (a safe one)
    except FileNotFoundError:
        return {}
    except (yaml.YAMLError, ValueError, KeyError, AttributeError, RecursionError) as error:
        # Some are of PyYAML's constructors. None may show the line, which could hold a token, also as what looks like a tag or an alias.
        raise KindasyncError(f"{path} is not a kubeconfig", why=f"not YAML: {_problem(error)}", hint=_HINT) from None
    problem = shape_problem(document)
    if problem:
        raise KindasyncError(f"{path} is not a kubeconfig", why=problem, hint=_HINT)
    whole: Mapping[str, Any] = _with_truths(document or {})
    return whole


def _with_truths(value: Any, key: object = "") -> Any:
    """`yes` and the like as the truths that they are to programs in Go, where those want one."""
    if isinstance(value, dict):
        return {name: _with_truths(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_with_truths(item) for item in value]
    return _TRUTHS.get(str(value).lower(), value) if key in _TRUE_OR_FALSE else value


def _problem(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = _QUOTED.sub(lambda quoted: quoted[0] if quoted[2] else "(withheld)", getattr(error, "problem", None) or "it cannot be read")
    return f"{problem}, in line {mark.line + 1}, column {mark.column + 1}" if mark else problem


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
