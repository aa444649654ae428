"""Packages: what dpkg knows of those in a root file system's tar: versions, dependencies, files."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

_STATUS = "var/lib/dpkg/status"
_INFO = "usr/lib/dpkg-info/"  # see node-image/base/customize
# Directories that Debian has below /usr, whatever path a package's list gives.
_MERGED = ("bin/", "sbin/", "lib/", "lib64/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Packages:
    """The packages of a root, by name: dpkg's fields, and the files of each as names in the tar."""

    fields: Mapping[str, Mapping[str, str]]
    files: Mapping[str, frozenset[str]]

    def with_dependencies(self, names: Iterable[str]) -> set[str]:
        """The packages, and what they need to run. Of alternatives and virtual packages, those that are there."""
        todo, found = list(names), set[str]()
        while todo:
            name = todo.pop()
            if name not in found and name in self.fields:
                found.add(name)
                text = ",".join(self.fields[name].get(field, "") for field in ("Depends", "Pre-Depends"))
                todo += re.findall(r"(?:^|[,|])\s*([a-z0-9][a-z0-9.+-]*)", text)
        return found

    def files_of(self, names: Iterable[str]) -> set[str]:
        """The files and directories of packages."""
        return {file for name in names for file in self.files[name]}


def read(root: Path) -> Packages:
    """What dpkg's database in a root's tar says."""
    fields: dict[str, Mapping[str, str]] = {}
    files: dict[str, frozenset[str]] = {}
    with tarfile.open(root) as tar:
        for member in tar:
            name = member.name.removeprefix("./")
            content = tar.extractfile(member) if name == _STATUS or (name.startswith(_INFO) and name.endswith(".list")) else None
            if content is None:
                continue
            text = content.read().decode()
            if name == _STATUS:
                for paragraph in text.strip().split("\n\n"):
                    package = dict(line.split(": ", 1) for line in paragraph.splitlines() if ": " in line and line[0] != " ")
                    fields[package["Package"]] = package
            else:
                package_name = name.removeprefix(_INFO).removesuffix(".list").partition(":")[0]
                files[package_name] = frozenset(_in_tar(line) for line in text.splitlines())
    return Packages(fields=fields, files=files)


def _in_tar(path: str) -> str:
    name = path.lstrip("/")
    return f"usr/{name}" if name.startswith(_MERGED) else name
