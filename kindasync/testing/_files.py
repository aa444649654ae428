"""Files of the fake: the file system of a container, as archives and programs see it.

Archives pass by tmpfs mounts: what is put there lies under the mount, and no program sees it.
"""

from __future__ import annotations

import io
import posixpath
import tarfile
from collections.abc import Iterator
from typing import TYPE_CHECKING

from kindasync.testing._refused import Refused

if TYPE_CHECKING:
    from kindasync.testing._state import FakeContainer

_GO_DIRECTORY, _GO_SYMLINK = 1 << 31, 1 << 27  # Go's os.FileMode
_ALWAYS = ("/dev", "/etc", "/proc", "/sys")


def seen_by_programs(container: FakeContainer, path: str) -> bytes | None:
    """A file's content, for programs in the container."""
    return container.files.get(_resolved(container, path))


def unpack(container: FakeContainer, directory: str, content: bytes) -> None:
    """Unpack a tar stream into a directory."""
    directory = _resolved(container, directory)
    if directory in _visible(container):
        raise Refused(500, "extraction point is not a directory")
    if directory not in _directories(container):
        raise Refused(404, f"Could not find the file {directory} in container {container.id}")
    try:
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            for member in tar:
                _unpack(container, posixpath.normpath(posixpath.join(directory, member.name.strip("/"))), tar, member)
    except tarfile.TarError as error:
        raise Refused(500, "archive/tar: invalid tar header") from error


def _unpack(container: FakeContainer, path: str, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
    is_directory = path in _directories(container)
    if member.isdir():
        if path in _visible(container):
            raise Refused(500, f'cannot overwrite non-directory "{path}" with directory "{posixpath.dirname(path)}"')
        container.directories.add(path)
    elif is_directory:
        raise Refused(500, f'cannot overwrite directory "{path}" with non-directory "{posixpath.dirname(path)}"')
    elif member.issym():
        container.files.pop(path, None)
        container.links[path] = member.linkname
    else:
        file = tar.extractfile(member)
        container.links.pop(path, None)
        _place(container, path)[path] = file.read() if file else b""
    container.modes[path] = member.mode


def _place(container: FakeContainer, path: str) -> dict[str, bytes]:
    return container.covered if _under_tmpfs(container, path) else container.files


def pack(container: FakeContainer, path: str) -> bytes:
    """A file or directory as a tar stream, named by its last component."""
    path = _resolved_parent(container, path)
    files, directories = _visible(container), _directories(container)
    if path not in files and path not in directories and path not in container.links:
        raise Refused(404, f"Could not find the file {path} in container {container.id}")
    parent = posixpath.dirname(path)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in sorted({*files, *directories, *container.links}):
            if name != "/" and (name == path or name.startswith(path.rstrip("/") + "/")):
                info = tarfile.TarInfo(posixpath.relpath(name, parent))
                info.mode = container.modes.get(name, 0o755 if name in directories else 0o644)
                if name in container.links:
                    info.type, info.linkname = tarfile.SYMTYPE, container.links[name]
                elif name in directories:
                    info.type = tarfile.DIRTYPE
                info.size = len(files[name]) if info.isreg() else 0
                tar.addfile(info, io.BytesIO(files.get(name, b"")))
    return buffer.getvalue()


def stat(container: FakeContainer, path: str) -> dict[str, object]:
    """What ContainerArchiveInfo says of a path."""
    path = _resolved_parent(container, path)
    files, directories = _visible(container), _directories(container)
    target = ""
    if path in container.links:
        link = container.links[path]
        target = _resolved(container, path)  # the end of the chain, be it there or not
        size, mode = len(link), _GO_SYMLINK | 0o777
    elif path in files:
        size, mode = len(files[path]), container.modes.get(path, 0o644)
    elif path in directories:
        size, mode = 4096, _GO_DIRECTORY | container.modes.get(path, 0o755)
    else:
        raise Refused(404, f"Could not find the file {path} in container {container.id}")
    return {"name": posixpath.basename(path) or "/", "size": size, "mode": mode, "mtime": "2026-01-01T00:00:00Z", "linkTarget": target}


def _visible(container: FakeContainer) -> dict[str, bytes]:
    """The files, for archives."""
    return {path: content for path, content in container.files.items() if not _under_tmpfs(container, path)} | container.covered


def _directories(container: FakeContainer) -> set[str]:
    mounts = [*_ALWAYS, *_tmpfs(container), *(container.body.get("Volumes") or {})]
    paths = [*_visible(container), *container.links, *container.directories, *mounts]
    return {"/", *container.directories, *mounts, *(parent for path in paths for parent in _parents(path))}


def _parents(path: str) -> Iterator[str]:
    while path != "/":
        path = posixpath.dirname(path)
        yield path


def _tmpfs(container: FakeContainer) -> list[str]:
    return list(container.host_config.get("Tmpfs") or {})


def _under_tmpfs(container: FakeContainer, path: str) -> bool:
    return any(path.startswith(mount + "/") for mount in _tmpfs(container))


def _resolved(container: FakeContainer, path: str) -> str:
    """The path without symbolic links."""
    path = _resolved_parent(container, path)
    if path in container.links:
        return _resolved(container, posixpath.join(posixpath.dirname(path), container.links[path]))
    return path


def _resolved_parent(container: FakeContainer, path: str) -> str:
    """The path without symbolic links but, maybe, in its last component."""
    path = posixpath.normpath("/" + path.lstrip("/"))
    if path == "/":
        return path
    return posixpath.join(_resolved(container, posixpath.dirname(path)), posixpath.basename(path))
