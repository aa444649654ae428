"""Sources: where `node-image/` is, and the content keys that say whether something was built from the same inputs before."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from importlib import resources
from pathlib import Path

from kindasync.errors import KindasyncError


def directory() -> Path:
    """`node-image/`: inside an installed package, or beside the package in a checkout. Raises: KindasyncError if neither is there."""
    package = Path(str(resources.files("kindasync")))
    for candidate in (package / "_node_image", package.parent / "node-image"):
        if (candidate / "pins.toml").is_file():
            return candidate
    raise KindasyncError(
        "the sources of the node image are missing", why=f"neither in {package} nor beside it", hint="install kindasync again"
    )


def key_of(*parts: str, files: Iterable[Path] = ()) -> str:
    """A key of 16 hexadecimal digits for texts, and for files and directories by their names and contents; neither what Python compiles of them nor tests in Go count."""
    digest = sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part.encode())
    for path in files:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and file.parent.name != "__pycache__" and not file.name.endswith("_test.go"):
                name = str(file.relative_to(path.parent)).encode()
                content = file.read_bytes()
                digest.update(len(name).to_bytes(8, "big") + name + len(content).to_bytes(8, "big") + content)
    return digest.hexdigest()[:16]
