"""Nodes of the fake: how a container of a node image behaves: its boot lines, its signals, and the programs run in it."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from kindasync.testing._images import FakeImage
from kindasync.testing._programs import PROGRAMS, Program, ProgramResult
from kindasync.testing._state import FakeContainer

CONTRACT = {"kindasync.contract": "1", "kindasync.kubernetes": "v1.37.2", "kindasync.image": "node"}
JOINED = "/etc/kubernetes/kubelet.conf"
KIND_VERSION = {"/kind/version": b"v1.37.2\n"}


@dataclass(slots=True, kw_only=True)
class Behaviour:
    """How far nodes get; each switch is a way to fail.

    `pauses`: before the boot, as said by the image's contract. `takes_signal_after`: so many boot signals. `boots`, `reaches_runtime`: say the
    lines that are waited for. `registers_first`: the kubelet makes its Node before anybody else. `becomes_ready`: the Node object. `has_network`: else Nodes are registered, not Ready, and no pod is scheduled. `api_refuses`: by method, the statuses that
    the Kubernetes API gives to the next requests instead of doing them; 0 is a connection that is closed without an answer.
    `pods`: Pod objects that the API has beside those that a create waits for; evicted ones go, but for those whose name is in `kept_pods`.
    `persistent_volumes`: such objects. `programs`: what execs run, by their first word; tests may replace some.
    """

    pauses: bool = True
    takes_signal_after: int = 1
    boots: bool = True
    reaches_runtime: bool = True
    registers_first: bool = False
    becomes_ready: bool = True
    has_network: bool = True
    api_refuses: dict[str, Iterator[int]] = field(default_factory=dict)
    pods: list[dict[str, Any]] = field(default_factory=list)
    kept_pods: set[str] = field(default_factory=set)
    persistent_volumes: list[dict[str, Any]] = field(default_factory=list)
    programs: dict[str, Program] = field(default_factory=lambda: dict(_PROGRAMS))


def node_image(reference: str = "kindasync/node:v1.37.2") -> FakeImage:
    """An image of kindasync's contract."""
    manifests = {"/kind/manifests/default-cni.yaml": b"", "/kind/manifests/default-storage.yaml": b""}
    files = {
        **KIND_VERSION,
        **manifests,
        "/kind/images/.keep": b"",
        "/etc/containerd/config.toml": b"version = 3\n",
        "/usr/local/bin/registry": b"",
    }
    return FakeImage(reference=reference, labels=dict(CONTRACT), files=files, stop_signal="SIGRTMIN+3")


def started(container: FakeContainer, behaviour: Behaviour) -> None:
    """A node's entrypoint begins."""
    if "kindasync.contract" in container.image.labels:
        if container.env.get("KINDASYNC_BOOT") == "paused" and container.starts == 1:
            if behaviour.pauses:
                container.say("kindasync: paused\r\n")
        else:
            _boot(container, behaviour)
    elif "/kind/version" in container.image.files:
        container.say("Reached target multi-user.target - Multi-User System.\r\n")
        container.booted = True


def signalled(container: FakeContainer, signal: str, behaviour: Behaviour) -> None:
    """A signal comes to the first process, and is one of its `signals` now."""
    if signal == "SIGUSR1" and container.signals.count(signal) == behaviour.takes_signal_after:
        _boot(container, behaviour)


def _boot(container: FakeContainer, behaviour: Behaviour) -> None:
    if behaviour.boots:
        container.say("kindasync: booting\r\n")
        if behaviour.reaches_runtime:
            container.say("kindasync: runtime ready\r\n")
            container.booted = True


def program_of(argv: Sequence[str], behaviour: Behaviour) -> Program | None:
    """A program that a test gave, or one that nodes have."""
    return behaviour.programs.get(argv[0])


def _kubeadm(container: FakeContainer, argv: Sequence[str], stdin: bytes) -> ProgramResult:
    """Writes what kubeadm writes that kindasync reads; a node that has joined is one that its cluster's API knows."""
    if argv[1:2] == ["join"]:
        container.files[JOINED] = _kubeconfig()
        return ProgramResult(stdout=b"This node has joined the cluster\n")
    if argv[1:4] == ["init", "phase", "addon"]:
        return ProgramResult(stdout=_ADDON.format(name=argv[4]).encode())
    for name in ("admin.conf", "super-admin.conf", "kubelet.conf"):
        container.files[f"/etc/kubernetes/{name}"] = _kubeconfig()
    return ProgramResult(stdout=b"[init] Using Kubernetes version: v1.37.2\n")


_ADDON = """apiVersion: v1
kind: ServiceAccount
metadata: {{name: {name}, namespace: kube-system}}
"""


def _kubeconfig() -> bytes:
    from kindasync.testing._api_server import CERTIFICATE, KEY

    certificate, key = (base64.b64encode(text.encode()).decode() for text in (CERTIFICATE, KEY))
    return f"""apiVersion: v1
kind: Config
clusters:
- name: cluster
  cluster: {{certificate-authority-data: {certificate}, server: "https://node:6443"}}
users:
- name: admin
  user: {{client-certificate-data: {certificate}, client-key-data: {key}}}
contexts:
- name: admin@cluster
  context: {{cluster: cluster, user: admin}}
current-context: admin@cluster
""".encode()


def _haproxy(container: FakeContainer, argv: Sequence[str], stdin: bytes) -> ProgramResult:
    """Has an API behind it at once."""
    container.booted = True
    return ProgramResult(hangs=True, on_signal={"SIGTERM": ProgramResult()})


def _registry(container: FakeContainer, argv: Sequence[str], stdin: bytes) -> ProgramResult:
    """Serves at once."""
    return ProgramResult(stdout=b"kindasync: registry ready\n", hangs=True, on_signal={"SIGTERM": ProgramResult(exit_code=2)})


_PROGRAMS: dict[str, Program] = {
    **PROGRAMS,
    "ctr": lambda *_: ProgramResult(),
    "haproxy": _haproxy,
    "kubeadm": _kubeadm,
    "pkill": PROGRAMS["true"],
    "registry": _registry,
    "systemctl": lambda *_: ProgramResult(),
}
