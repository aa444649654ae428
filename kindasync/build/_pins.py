"""Pins: every version a node image is made of, from `node-image/pins.toml`."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kindasync.errors import KindasyncError


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """How one architecture is built for. `name` is Go's and Debian's name for it."""

    name: str
    cc: str
    cc_packages: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pins:
    """What one node image is made of."""

    minor: str
    kubernetes: str
    modfile: str
    etcd: str
    coredns: str
    etcd_tag: str
    coredns_tag: str
    pause_tag: str
    containerd: str
    containerd_go_tags: tuple[str, ...]
    local_path_provisioner: str
    distribution: str
    debian_suite: str
    debian_packages: tuple[str, ...]
    component_packages: tuple[str, ...]
    cni_plugins: tuple[str, ...]
    go_packages: tuple[str, ...]
    architecture: Architecture


def read(sources: Path, *, minor: str | None, architecture: str) -> Pins:
    """The pins of a Kubernetes minor ("1.37", or its pinned version, "v1.37.2"; None: the default) for an architecture ("amd64").

    Raises: KindasyncError for one that the table does not have.
    """
    table: dict[str, Any] = tomllib.loads((sources / "pins.toml").read_text())
    by_version = {each["version"]: each for each in table["kubernetes"].values()}
    kubernetes = _entry(table["kubernetes"] | by_version, minor or str(table["default"]), "Kubernetes")
    arch = _entry(table["architectures"], architecture, "architecture")
    return Pins(
        minor=next(name for name, each in table["kubernetes"].items() if each is kubernetes),
        kubernetes=kubernetes["version"],
        modfile=kubernetes["modfile"],
        etcd=kubernetes["etcd"],
        coredns=kubernetes["coredns"],
        etcd_tag=kubernetes["etcd_tag"],
        coredns_tag=kubernetes["coredns_tag"],
        pause_tag=kubernetes["pause_tag"],
        containerd=table["containerd"]["version"],
        containerd_go_tags=tuple(table["containerd"]["go_tags"]),
        local_path_provisioner=table["local_path_provisioner"]["version"],
        distribution=table["distribution"]["version"],
        debian_suite=table["debian"]["suite"],
        debian_packages=tuple(table["debian"]["packages"]),
        component_packages=tuple(table["debian"]["component_packages"]),
        cni_plugins=tuple(table["debian"]["cni_plugins"]),
        go_packages=tuple(table["debian"]["go_packages"]),
        architecture=Architecture(name=architecture, cc=arch["cc"], cc_packages=tuple(arch["cc_packages"])),
    )


def _entry(table: dict[str, Any], key: str, noun: str) -> dict[str, Any]:
    if key not in table:
        raise KindasyncError(f'no node image can be built for {noun} "{key}"', hint=f"there are pins for: {', '.join(table)}")
    entry: dict[str, Any] = table[key]
    return entry
