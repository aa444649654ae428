"""How a node imports an archive: what goes into containerd's store as a file, and what through its API."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from kindasync.node._containerd import IMPORT

LAYER, OTHER, SMALL = b"1" * 1_200_000, b"2" * 1_200_000, b"{}"
# Notes what it is told, and keeps what it imports; refuses to ingest what is not in the store, and the first of $FAILURES imports.
CTR = """#!/bin/sh
echo "$2 $3" >>calls
case "$2 $3" in
"content ingest") [ -e "$STORE/blobs/sha256/${4##*:}" ] ;;
"images import")
  number=$(grep -c "images import" calls)
  cat >"$IMPORTS/$number.tar"
  [ "$number" -gt "$FAILURES" ] ;;
esac
"""


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Node:
    """A node's file system: an unpacked archive, a store, and a containerd that only notes."""

    def __init__(self, path: Path) -> None:
        self.archive, self.store, self.imports = path / "archive", path / "store", path / "imports"
        for directory in (self.archive / "blobs/sha256", self.store / "blobs/sha256", self.imports, path / "bin"):
            directory.mkdir(parents=True)
        (path / "bin/ctr").write_text(CTR)
        (path / "bin/ctr").chmod(0o755)
        (self.archive / "index.json").write_text("{}")
        self._path = f"{path / 'bin'}:{os.environ['PATH']}"

    def holds(self, content: bytes, *, name: str = "") -> Path:
        """Give the archive a blob."""
        path = self.archive / "blobs/sha256" / (name or digest(content))
        path.write_bytes(content)
        return path

    def run(self, *, failures: int = 0) -> int:
        """Import; the exit code."""
        env = {"PATH": self._path, "STORE": str(self.store), "IMPORTS": str(self.imports), "FAILURES": str(failures)}
        argv = ["sh", "-c", IMPORT, "sh", str(self.store), "ctr", "--namespace=k8s.io", "images", "import", "-"]
        return subprocess.run(argv, cwd=self.archive, env=env, stderr=subprocess.DEVNULL, check=False).returncode

    @property
    def stored(self) -> set[str]:
        return {path.name for path in (self.store / "blobs/sha256").iterdir()}

    def imported(self, number: int = 1) -> set[str]:
        """The files that an import was given."""
        with tarfile.open(self.imports / f"{number}.tar") as tar:
            return {Path(member.name).name for member in tar if member.isfile()} - {"calls"}


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_big_layers_become_files_of_the_store(node: Node) -> None:
    """Under their digests, read-only; what is small is imported, and nothing twice."""
    layer = node.holds(LAYER)
    node.holds(SMALL)

    assert node.run() == 0

    assert node.stored == {digest(LAYER)}
    assert (node.store / "blobs/sha256" / digest(LAYER)).stat().st_ino == layer.stat().st_ino
    assert layer.stat().st_mode & 0o777 == 0o444
    assert node.imported() == {"index.json", digest(SMALL)}


def test_what_is_not_what_its_name_says_is_left_to_containerd(node: Node) -> None:
    """It says what is wrong, and its store has nothing under a wrong digest. Links are nobody's layers either."""
    node.holds(LAYER, name=digest(OTHER))
    (node.archive / "blobs/sha256" / digest(b"link")).symlink_to("/etc/passwd")

    assert node.run() == 0

    assert node.stored == set()
    assert node.imported() == {"index.json", digest(OTHER)}


def test_a_layer_that_is_there_is_not_stored_again(node: Node) -> None:
    """Another image has it."""
    (node.store / "blobs/sha256" / digest(LAYER)).write_bytes(LAYER)
    node.holds(LAYER)

    assert node.run() == 0

    assert node.imported() == {"index.json"}


def test_an_import_that_lacks_a_layer_is_repeated_with_all(node: Node) -> None:
    """containerd may have collected it in between. What fails then, fails."""
    node.holds(LAYER)

    assert node.run(failures=1) == 0

    assert node.imported(2) == {"index.json", digest(LAYER)}


def test_the_exit_code_is_the_import_s(node: Node) -> None:
    """Of docker's older layout, too, which has no blobs."""
    assert node.run(failures=1) == 1
