"""Steps: what has to be made for a node image, each with its key, and what of it was made before."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from kindasync.build._pins import Pins
from kindasync.build._sources import key_of

KEEP_UNUSED_S = 14 * 24 * 3600.0
IMAGES = "docker.io/kindasync"  # the name space of the images that are ours alone
UPSTREAM = "registry.k8s.io"  # where kubeadm expects the others


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that a node image is made from, before anything is made. `keys` by step; `node_key` names the whole."""

    pins: Pins
    sources: Path
    keys: Mapping[str, str]
    base_reference: str
    reference: str

    @property
    def node_key(self) -> str:
        return self.keys["node"]

    @property
    def program_env(self) -> dict[str, str]:
        """The environment of `node-image/build-program`."""
        pins = self.pins
        return {
            "ARCH": pins.architecture.name,
            "CC": pins.architecture.cc,
            "MODFILE": pins.modfile,
            "KUBERNETES": pins.kubernetes,
            "KUBERNETES_MINOR": pins.minor,
            "PAUSE_TAG": pins.pause_tag,
            "CONTAINERD": pins.containerd,
            "LOCAL_PATH_PROVISIONER": pins.local_path_provisioner,
            "DISTRIBUTION": pins.distribution,
            "GO_TAGS": " ".join(pins.containerd_go_tags),
        }

    @property
    def image_names(self) -> dict[str, str]:
        """References of the component images, by what they are."""
        pins = self.pins
        return {
            "kube-apiserver": f"{UPSTREAM}/kube-apiserver:{pins.kubernetes}",
            "kube-controller-manager": f"{UPSTREAM}/kube-controller-manager:{pins.kubernetes}",
            "kube-scheduler": f"{UPSTREAM}/kube-scheduler:{pins.kubernetes}",
            "kube-proxy": f"{UPSTREAM}/kube-proxy:{pins.kubernetes}",
            "etcd": f"{UPSTREAM}/etcd:{pins.etcd_tag}",
            "coredns": f"{UPSTREAM}/coredns/coredns:{pins.coredns_tag}",
            "pause": f"{UPSTREAM}/pause:{pins.pause_tag}",
            "podnetwork": f"{IMAGES}/podnetwork:{pins.kubernetes}",
            "local-path-provisioner": f"{IMAGES}/local-path-provisioner:{pins.local_path_provisioner}",
            "busybox": f"{IMAGES}/busybox:{pins.debian_suite}",
        }


def plan(pins: Pins, sources: Path, *, reference: str = "", base_image: str = "") -> Plan:
    """Decide what is made, from the pins and the contents of `node-image/` and of this package (the builder is an input, too)."""
    arch = pins.architecture.name
    script = sources / "build-program"
    builder = Path(__file__).parent
    debian = key_of(pins.debian_suite, *pins.debian_packages, *pins.cni_plugins, arch, base_image, files=[sources / "base"])
    containerd = key_of(pins.containerd, *pins.containerd_go_tags, arch, files=[sources / "containerd", script])
    storage = key_of(pins.local_path_provisioner, arch, files=[sources / "storage", script])
    registry = key_of(pins.distribution, arch, files=[sources / "registry", script])
    kube = key_of(pins.kubernetes, pins.modfile, pins.pause_tag, arch, files=[*_kube_sources(pins, sources / "kube"), script])
    base = key_of(debian, containerd, files=[builder])
    node = key_of(
        base,
        storage,
        registry,
        kube,
        pins.etcd_tag,
        pins.coredns_tag,
        *pins.component_packages,
        files=[sources / "manifests", sources / "store", builder],
    )
    return Plan(
        pins=pins,
        sources=sources,
        keys={
            "debian": debian,
            "containerd": containerd,
            "storage": storage,
            "registry": registry,
            "kube": kube,
            "base": base,
            "node": node,
        },
        base_reference=f"kindasync/base:{pins.debian_suite}-{base}",
        reference=reference or f"kindasync/node:{pins.kubernetes}",
    )


def _kube_sources(pins: Pins, directory: Path) -> list[Path]:
    """The Kubernetes program's sources; of the files that say what modules it is made of, this minor's."""
    modules = {pins.modfile, pins.modfile.removesuffix("mod") + "sum"}
    return [path for path in sorted(directory.iterdir()) if path.suffix not in (".mod", ".sum") or path.name in modules]


class Cache:
    """What steps made, by name and key, in a directory of its own. An entry is there whole or not at all."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def entry(self, name: str, key: str) -> Path:
        return self.root / f"{name}-{key}"

    @contextmanager
    def scratch(self, name: str) -> Iterator[Path]:
        """A path at which nothing is; `store` makes an entry of what was written there. Else it is gone afterwards, as is all beside it."""
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        with TemporaryDirectory(dir=self.root, prefix=f".{name}.") as directory:
            yield Path(directory) / name

    def has(self, name: str, key: str) -> bool:
        """Whether it was made before; then it counts as used now."""
        entry = self.entry(name, key)
        if entry.exists():
            os.utime(entry)
            return True
        return False

    def store(self, scratch: Path, name: str, key: str) -> Path:
        """Make an entry of what lies at `scratch`. If another process was first, its entry stands."""
        entry = self.entry(name, key)
        try:
            os.replace(scratch, entry)
        except OSError:  # a directory that another process has just made
            if not entry.exists():
                raise
        os.utime(entry)
        return entry

    def forget_unused(self, *, now: float | None = None) -> None:
        """Remove what no build has used for KEEP_UNUSED_S."""
        now = time.time() if now is None else now
        for path in self.root.iterdir() if self.root.exists() else ():
            with suppress(FileNotFoundError):  # another build's, which has ended since
                if now - path.stat().st_mtime > KEEP_UNUSED_S:
                    _discard(path)


def _discard(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
