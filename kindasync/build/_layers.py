"""Layers: what lies where in a node image and in the component images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from kindasync.build import _packages
from kindasync.build._oci import ImageRecord, Layer, LayerWriter, names_under
from kindasync.build._steps import Plan

ROOTFS = "kind/rootfs"  # the component images' layer, unpacked once in the node image: containerd's snapshot is a link to it
COMPONENT_PROGRAMS = (
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
    "etcd",
    "coredns",
    "podnetwork",
    "kubectl",
)
NODE_PROGRAMS = ("kubeadm", "kubelet", "kubectl", "crictl", "bootstrap-roles", "snapshot")
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# For helper pods, and for people who exec into a component.
_APPLETS = (
    "sh",
    "ash",
    "cat",
    "cp",
    "date",
    "df",
    "dirname",
    "du",
    "echo",
    "env",
    "false",
    "find",
    "grep",
    "head",
    "hostname",
    "httpd",
    "id",
    "ip",
    "ls",
    "mkdir",
    "mv",
    "nc",
    "netstat",
    "nslookup",
    "ping",
    "ps",
    "pwd",
    "rm",
    "rmdir",
    "sed",
    "seq",
    "sleep",
    "sort",
    "stat",
    "tail",
    "tee",
    "test",
    "touch",
    "tr",
    "true",
    "uname",
    "uniq",
    "vi",
    "wc",
    "wget",
    "which",
    "xargs",
)
_DROPPED = names_under(
    (
        "usr/share/doc",
        "usr/share/man",
        "usr/share/locale",
        "usr/share/info",
        "usr/share/lintian",
        "usr/share/bash-completion",
        "usr/share/perl5",
        "usr/share/bug",
        "usr/lib/systemd",
        "var",
        "dev",
        "usr/include",
        "etc/init.d",
        "usr/share/menu",
        "usr/share/zsh",
    )
)


def write_containerd_layer(out: Path, containerd: Path) -> None:
    """The base's second layer: containerd's programs and the licences of their modules."""
    with LayerWriter(out) as layer:
        for program in ("containerd", "containerd-shim-runc-v2", "ctr"):
            layer.add_file(f"usr/local/bin/{program}", containerd / program, mode=0o755)
        _add_licences(layer, containerd)


def write_component_layer(out: Path, plan: Plan, *, debian: Path, kube: Path, storage: Path) -> None:
    """The one layer of all component images."""
    packages = _packages.read(debian)
    files = packages.files_of(packages.with_dependencies(plan.pins.component_packages))
    with LayerWriter(out) as layer:
        layer.add_tar(debian, keep=lambda name: name in files and not _DROPPED(name))
        # What packages' installation scripts made, or base-files has.
        for directory in ("bin", "sbin", "lib", "lib64"):
            layer.add_symlink(directory, f"usr/{directory}")
        for family in ("iptables", "ip6tables"):
            for action in ("", "-save", "-restore"):
                layer.add_symlink(f"usr/sbin/{family}{action}", "xtables-nft-multi")
        layer.add_file("usr/local/bin/kube", kube / "kube", mode=0o755)
        for program in COMPONENT_PROGRAMS:
            layer.add_symlink(f"usr/local/bin/{program}", "kube")
        layer.add_file("usr/local/bin/local-path-provisioner", storage / "local-path-provisioner", mode=0o755)
        layer.add_file("pause", kube / "pause", mode=0o755)
        for applet in _APPLETS:
            layer.add_symlink(f"usr/local/libexec/busybox/{applet}", "/usr/bin/busybox")
        layer.add_symlink("usr/bin/sh", "busybox")  # no other shell is in it
        layer.add_bytes("etc/passwd", b"root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n")
        layer.add_bytes("etc/group", b"root:x:0:\nnogroup:x:65534:\n")
        for directory in ("tmp", "run", "proc", "sys", "dev", "var/tmp", "root"):
            layer.add_directory(directory)
        layer.add_symlink("var/run", "/run")


def component_images(plan: Plan, layer: Layer) -> Iterator[ImageRecord]:
    """The images that a node has from the start."""
    for name, reference in plan.image_names.items():
        program = {"pause": "/pause", "busybox": "/usr/bin/sh"}.get(name, f"/usr/local/bin/{name}")
        config: dict[str, object] = {"Env": [_PATH + ":/usr/local/libexec/busybox"], "Labels": {"kindasync.component": name}}
        config["Cmd" if name == "busybox" else "Entrypoint"] = [program]
        if name == "pause":
            config["User"] = "65535:65535"
        yield ImageRecord(reference=reference, architecture=plan.pins.architecture.name, layers=(layer,), config=config)


def write_node_layer(out: Path, plan: Plan, *, component_layer: Path, kube: Path, storage: Path, registry: Path, sbom: bytes) -> None:
    """The node's own layer: the component images' files, Kubernetes' programs as links into them, the registry, manifests, licences."""
    names = plan.image_names
    with LayerWriter(out) as layer:
        layer.add_tar(component_layer, under=ROOTFS)
        for program in NODE_PROGRAMS:
            layer.add_symlink(f"usr/bin/{program}", f"/{ROOTFS}/usr/local/bin/kube")
        layer.add_file("usr/local/bin/registry", registry / "registry", mode=0o755)
        layer.add_bytes("kind/version", plan.pins.kubernetes.encode() + b"\n")
        for manifest in ("default-cni.yaml", "default-storage.yaml"):
            text = (plan.sources / "manifests" / manifest).read_text()
            for variable, name in (
                ("PODNETWORK", "podnetwork"),
                ("BUSYBOX", "busybox"),
                ("LOCAL_PATH_PROVISIONER", "local-path-provisioner"),
            ):
                text = text.replace("{{" + variable + "_IMAGE}}", names[name])
            layer.add_bytes(f"kind/manifests/{manifest}", text.encode())
        pause = f"version = 3\n\n[plugins.'io.containerd.cri.v1.images'.pinned_images]\n  sandbox = \"{names['pause']}\"\n"
        layer.add_bytes("etc/containerd/conf.d/pause.toml", pause.encode())
        _add_licences(layer, kube, storage, registry)
        layer.add_bytes("usr/share/sbom/node-image.spdx.json", sbom)


def write_store_layer(out: Path, store: Path) -> None:
    """containerd's store, from the tar of /var/lib/containerd that the store step left."""
    with LayerWriter(out) as layer:
        layer.add_tar(store, under="var/lib")


def base_config(plan: Plan) -> dict[str, object]:
    """The configuration of the base image, on which the store step runs."""
    return {"Env": [_PATH, "container=docker"], "Labels": {"kindasync.key": plan.keys["base"], "kindasync.image": "base"}}


def node_config(plan: Plan) -> dict[str, object]:
    """The configuration of the node image: what the contract of docs/node-image.md promises."""
    return {
        "Entrypoint": ["/usr/local/bin/entrypoint"],
        "Env": [_PATH, "container=docker"],
        "StopSignal": "SIGRTMIN+3",
        "Labels": {
            "kindasync.contract": "1",
            "kindasync.image": "node",
            "kindasync.key": plan.node_key,
            "kindasync.kubernetes": plan.pins.kubernetes,
            "org.opencontainers.image.title": "kindasync node",
            "org.opencontainers.image.version": plan.pins.kubernetes,
            "org.opencontainers.image.licenses": "Apache-2.0",
            "org.opencontainers.image.description": "A Kubernetes node as a container, for kindasync and kind. Licences: /usr/share/doc; SBOM: /usr/share/sbom.",
        },
    }


def _add_licences(layer: LayerWriter, *programs: Path) -> None:
    roots = [program / "licences" for program in programs]  # programs share modules
    files = {path.relative_to(root): path for root in roots for path in root.rglob("*") if path.is_file()}
    for name, path in sorted(files.items()):
        layer.add_file(f"usr/share/doc/go-modules/{name}", path)
