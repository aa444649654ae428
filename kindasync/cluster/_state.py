"""State on the host: a cluster's private directory with its kubeconfig. A cache: losing it loses nothing.

It lies in the user's state directory, which survives a logout and a reboot, keyed by Engine and cluster.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote, unquote

from kindasync import go_yaml
from kindasync.errors import ClusterError

KUBECONFIG = "kubeconfig"
_PROBE = ".kindasync-probe-"


def engine_dir(engine_id: str) -> Path:
    """The directory of an Engine's clusters."""
    from platformdirs import user_state_path

    safe = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in engine_id)
    return user_state_path("kindasync") / safe


def cluster_dirs(engine_id: str) -> list[Path]:
    """The directories of an Engine's clusters, and of such as there were."""
    directory = engine_dir(engine_id)
    return [path for path in directory.iterdir() if path.is_dir() and not path.name.startswith(".")] if directory.is_dir() else []


def probe_prefix(owner: str) -> str:
    """How the name of a directory begins by which `owner` finds out something; `probes` finds it if nobody has removed it."""
    return f"{_PROBE}{quote(owner, safe='')}-"


def probes(engine_id: str) -> list[tuple[Path, str]]:
    """Such directories, and their owners."""
    directory = engine_dir(engine_id)
    places = [path for path in (*cluster_dirs(engine_id), directory, *directory.parents) if path.is_dir()]
    found = (path for place in places for path in place.glob(f"{_PROBE}*"))
    return [(path, unquote(path.name.removeprefix(_PROBE).rpartition("-")[0])) for path in found]


def remove_probe(path: Path) -> None:
    """Remove such a directory: nothing was ever in it. Raises: OSError."""
    with suppress(FileNotFoundError):
        path.rmdir()


@contextmanager
def kept(directory: Path, what: str = "a kubeconfig") -> Iterator[None]:
    """For what is done in a directory of ours: a ClusterError where that is not possible."""
    try:
        yield
    except OSError as error:
        raise ClusterError(
            f"cannot keep {what} in {directory}",
            why=str(error),
            hint="see that this user can write there, or name another place: XDG_STATE_HOME",
        ) from error


def make_private(directory: Path) -> None:
    """Make a directory, and what is missing above it, for this user alone.

    An Engine makes it anew, as root's and for all to read, when a node starts whose mount has lost its source.
    """
    with suppress(FileNotFoundError):  # another process has just removed what was empty
        _make_missing(directory)
    _make_missing(directory)
    status = directory.stat()
    if hasattr(os, "geteuid") and status.st_uid != os.geteuid():
        directory.rmdir()
        directory.mkdir(mode=0o700)
    elif stat.S_IMODE(status.st_mode) != 0o700:
        directory.chmod(0o700)


def _make_missing(directory: Path) -> None:
    for path in reversed([directory, *directory.parents]):
        if not path.exists():
            path.mkdir(mode=0o700, exist_ok=True)


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only this user can read, whole or not at all."""
    make_private(path.parent)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # 0600
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_kubeconfig(directory: Path, kubeconfig: dict[str, object]) -> Path:
    """Write a cluster's kubeconfig to its directory; its path. Raises: ClusterError."""
    path = directory / KUBECONFIG
    with kept(directory):
        write_private(path, go_yaml.dump(kubeconfig).encode())
    return path


def forget(directory: Path) -> None:
    """Remove a cluster's kubeconfig, its directory, and those above it, below the home, that are empty then: they were made for it."""
    for path in (directory / KUBECONFIG, *directory.glob(f".{KUBECONFIG}.*")) if directory.is_dir() else ():
        path.unlink(missing_ok=True)
    remove_empty(directory)


def remove_empty(directory: Path) -> None:
    """Remove a directory if it is empty, and those above it that are empty then: ours, and others only below the home."""
    ours = (directory, *directory.parents[:2])  # kindasync/<Engine>/<cluster>
    for path in (directory, *directory.parents):
        if path not in ours and Path.home() not in path.parents:
            return
        try:
            path.rmdir()
        except FileNotFoundError:
            continue
        except OSError:
            return
