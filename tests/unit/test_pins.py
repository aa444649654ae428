"""Pins: what a node image is made of, said in several places that have to agree."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from kindasync.build import Options
from kindasync.build._build import plan_of
from kindasync.build._sources import directory
from kindasync.cluster._images import DEFAULT_MINOR, PINNED
from kindasync.versions import SUPPORTED, KubernetesVersion

SOURCES = directory()
PINS: dict[str, Any] = tomllib.loads((SOURCES / "pins.toml").read_text())
DOCS = Path(__file__).parent.parent.parent / "docs"
MINORS = [f"{major}.{minor}" for major, minor in SUPPORTED]


def modules(modfile: Path) -> dict[str, str]:
    """What a go.mod requires, by module; of those it replaces, what it replaces them with."""
    lines = (line.split() for line in modfile.read_text().splitlines())
    found: dict[str, str] = {}
    for line in lines:
        match line:
            case [path, "=>", other, version] if path == other:
                found[path] = version
            case ["require", path, version, *_] | [path, version, *_] if path != "(":
                found[path] = version
    return found


def summed(modfile: Path) -> set[tuple[str, str]]:
    """The modules whose content the go.sum beside a go.mod pins."""
    lines = (line.split() for line in modfile.with_suffix(".sum").read_text().splitlines())
    return {(path, version) for path, version, _ in lines if not version.endswith("/go.mod")}


def test_the_supported_minors_are_those_with_pins() -> None:
    """And the default is the newest of them."""
    assert sorted(PINS["kubernetes"]) == MINORS
    assert PINS["default"] == DEFAULT_MINOR == MINORS[-1]


def test_the_images_to_pull_are_those_of_the_supported_minors() -> None:
    """Each by a digest, and told in the documentation."""
    assert list(PINNED) == MINORS
    for minor, reference in PINNED.items():
        assert re.fullmatch(rf"kindest/node:v{re.escape(minor)}\.\d+@sha256:[0-9a-f]{{64}}", reference)
        assert reference in (DOCS / "node-image.md").read_text()


@pytest.mark.parametrize("minor", MINORS)
def test_a_minors_go_mod_has_the_pinned_versions(minor: str) -> None:
    """Kubernetes with all its staging modules of the same release, etcd and CoreDNS; each with its sum."""
    pins = PINS["kubernetes"][minor]
    modfile = SOURCES / "kube" / pins["modfile"]
    version = KubernetesVersion.parse(pins["version"])
    staging = f"v0.{version.minor}.{version.patch}"

    required = modules(modfile)
    replaced = re.findall(r"(?m)^\t(k8s\.io/\S+) => ", modfile.read_text())

    assert (version.major, version.minor) == tuple(int(part) for part in minor.split("."))
    assert {path: required[path] for path in ("k8s.io/kubernetes", "go.etcd.io/etcd/server/v3", "github.com/coredns/coredns")} == {
        "k8s.io/kubernetes": pins["version"],
        "go.etcd.io/etcd/server/v3": pins["etcd"],
        "github.com/coredns/coredns": pins["coredns"],
    }
    assert {required[path] for path in ("k8s.io/client-go", "k8s.io/kubelet", *replaced)} == {staging}
    assert {(path, required[path]) for path in ("k8s.io/kubernetes", "k8s.io/client-go", "github.com/coredns/coredns")} <= summed(modfile)


@pytest.mark.parametrize(
    ("directory", "module", "table"),
    [
        ("containerd", "github.com/containerd/containerd/v2", "containerd"),
        ("storage", "github.com/rancher/local-path-provisioner", "local_path_provisioner"),
        ("registry", "github.com/distribution/distribution/v3", "distribution"),
    ],
)
def test_the_other_programs_go_mod_has_the_pinned_version(directory: str, module: str, table: str) -> None:
    """As for Kubernetes."""
    assert modules(SOURCES / directory / "go.mod")[module] == PINS[table]["version"]


@pytest.mark.parametrize("minor", MINORS)
def test_component_images_are_named_as_kubeadm_names_them(minor: str) -> None:
    """Or it would look for them in a registry."""
    pins = PINS["kubernetes"][minor]
    plan = plan_of(Options(minor=minor), default_architecture="amd64")

    names = plan.image_names

    assert plan.reference == f"kindasync/node:{pins['version']}"
    assert names["kube-apiserver"] == f"registry.k8s.io/kube-apiserver:{pins['version']}"
    assert names["etcd"] == f"registry.k8s.io/etcd:{pins['etcd_tag']}"
    assert names["coredns"] == f"registry.k8s.io/coredns/coredns:{pins['coredns_tag']}"
    assert names["pause"] == f"registry.k8s.io/pause:{pins['pause_tag']}"


def test_another_minors_modules_do_not_make_a_program_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own do, and the source that all share."""
    copy = tmp_path / "node-image"
    for path in SOURCES.rglob("*"):
        if path.is_file():
            (copy / path.relative_to(SOURCES)).parent.mkdir(parents=True, exist_ok=True)
            (copy / path.relative_to(SOURCES)).write_bytes(path.read_bytes())
    monkeypatch.setattr("kindasync.build._sources.directory", lambda: copy)

    def keys() -> dict[str, str]:
        return {minor: plan_of(Options(minor=minor), default_architecture="amd64").keys["kube"] for minor in ("1.36", "1.37")}

    def append(name: str) -> None:
        with (copy / "kube" / name).open("a") as file:
            file.write("\n")

    first = keys()
    append("go.1.36.sum")
    second = keys()
    append("podnetwork/plan.go")
    third = keys()

    assert first["1.36"] != second["1.36"] != third["1.36"]
    assert first["1.37"] == second["1.37"] != third["1.37"]


def test_the_documentation_names_what_is_pinned() -> None:
    """One row a minor."""
    rows = re.findall(r"(?m)^\| (1\.\d+) \| (\S+) \| (\S+) \| (\S+) \|$", (DOCS / "node-image.md").read_text())

    assert rows == [(minor, *(PINS["kubernetes"][minor][part] for part in ("version", "etcd", "coredns"))) for minor in reversed(MINORS)]
