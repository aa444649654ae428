"""The shell scripts of a node: what they decide by the host that they find, with its files in a directory of the test."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOTFS = Path(__file__).parent.parent.parent / "node-image" / "base" / "rootfs"
WHOLE_HOST = "         0          0 4294967295\n"
V1 = ["SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1", "systemd.unified_cgroup_hierarchy=0"]


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """An empty root directory, but for what takes over from the entrypoint: it says how it was called."""
    for directory in ("sys/fs/cgroup", "proc/self", "kind", "sbin"):
        (tmp_path / directory).mkdir(parents=True)
    init = tmp_path / "sbin" / "init"
    init.write_text('#!/bin/sh\necho "init $*"\n')
    unshare = tmp_path / "sbin" / "unshare"
    unshare.write_text('#!/bin/sh\nprintf "unshare $1 "\nshift\nexec "$@"\n')
    for program in (init, unshare):
        program.chmod(0o755)
    return tmp_path


def on(host: Path, script: str) -> str:
    """The script, for that host."""
    for path in ("/sys/fs/cgroup", "/proc/self", "/kind/booted", "/sbin/init"):
        script = script.replace(path, f"{host}{path}")
    return script


def bash(host: Path, script: str) -> str:
    """What it prints."""
    path = f"{host}/sbin:/usr/bin:/bin"
    return subprocess.run(["bash", "-c", on(host, script)], env={"PATH": path}, check=True, capture_output=True, text=True).stdout


def entrypoint(host: Path, act: str) -> str:
    """One of the entrypoint's functions alone."""
    functions, call, _ = (ROOTFS / "usr/local/bin/entrypoint").read_text().partition("\nfix_mounts\n")
    assert call
    return bash(host, f"{functions}\n{act}")


@pytest.mark.parametrize(
    ("controllers", "cgroup", "called"),
    [
        ("cpu memory\n", "0::/\n", ["init"]),
        ("cpu memory\n", "0::/docker/a1\n", ["init"]),
        (None, "4:memory:/\n1:name=systemd:/\n0::/\n", ["init", *V1]),
        (None, "4:memory:/docker/a1\n1:name=systemd:/\n", ["unshare", "--cgroup", "init", *V1]),
    ],
    ids=["v2", "v2, no cgroup namespace", "v1", "v1, no cgroup namespace"],
)
def test_how_systemd_is_called(host: Path, controllers: str | None, cgroup: str, called: list[str]) -> None:
    """It refuses cgroup v1 unless told; where the Engine gives no cgroup namespace of v1, it is given one. And the node has booted, then."""
    if controllers is not None:
        (host / "sys/fs/cgroup/cgroup.controllers").write_text(controllers)
    (host / "proc/self/cgroup").write_text(cgroup)

    assert entrypoint(host, "boot").split() == called
    assert (host / "kind/booted").exists()


@pytest.mark.parametrize(
    ("uid_map", "answer"),
    [
        (WHOLE_HOST, "no"),
        ("         0     100000      65536\n", "yes"),
        ("         0       1000          1\n         1     100000      65536\n", "yes"),
    ],
    ids=["host", "userns-remap", "rootless"],
)
def test_whether_it_is_in_a_user_namespace(host: Path, uid_map: str, answer: str) -> None:
    """There /sys may not be remounted, which is no failure, then."""
    (host / "proc/self/uid_map").write_text(uid_map)

    assert entrypoint(host, "if in_user_namespace; then echo yes; else echo no; fi").strip() == answer


def prepare_cgroups(host: Path) -> dict[str, str]:
    """The files that it leaves, without the host's own."""
    root = host / "sys/fs/cgroup"
    before = {path: path.read_text() for path in root.rglob("*") if path.is_file()}
    bash(host, (ROOTFS / "usr/local/libexec/kindasync/prepare-cgroups").read_text())
    files = [path for path in root.rglob("*") if path.is_file() and before.get(path) != path.read_text()]
    return {str(path.relative_to(root)): path.read_text().strip() for path in files}


def test_the_kubelets_cgroups_of_v2(host: Path) -> None:
    """Each controller is on in all their parents, as far as the one above lets it have them."""
    root = host / "sys/fs/cgroup"
    for directory, controllers in (("", "cpuset cpu memory pids"), ("kubelet", "cpu memory"), ("kubelet.slice", "")):
        (root / directory).mkdir(exist_ok=True)
        (root / directory / "cgroup.controllers").write_text(f"{controllers}\n")

    assert prepare_cgroups(host) == {
        "cgroup.subtree_control": "+cpuset +cpu +memory +pids",
        "kubelet/cgroup.subtree_control": "+cpu +memory",
        "kubelet.slice/cgroup.subtree_control": "",
    }


def test_the_kubelets_cgroups_of_v1(host: Path) -> None:
    """In each hierarchy, and no other directory; a new cpuset gets what the node has."""
    root = host / "sys/fs/cgroup"
    for hierarchy in ("cpuset", "memory", "unified"):
        (root / hierarchy).mkdir()
        (root / hierarchy / "cgroup.procs").touch()
    (root / "no-hierarchy").mkdir()
    (root / "cpuset/cpuset.cpus").write_text("0-1\n")
    (root / "cpuset/cpuset.mems").write_text("0\n")

    assert prepare_cgroups(host) == {
        f"cpuset/{cgroup}/cpuset.{setting}": value
        for cgroup in ("kubelet", "kubelet.slice")
        for setting, value in (("cpus", "0-1"), ("mems", "0"))
    }
    made = {str(path.relative_to(root)) for path in root.glob("*/kubelet*")}
    assert made == {f"{hierarchy}/{cgroup}" for hierarchy in ("cpuset", "memory", "unified") for cgroup in ("kubelet", "kubelet.slice")}
