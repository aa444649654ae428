"""Nodes of the fake: how a container of a node image behaves: its boot lines, its signals, and the programs run in it."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from kindasync.testing._state import FakeContainer, FakeImage

CONTRACT = {"kindasync.contract": "1", "kindasync.kubernetes": "v1.37.2", "kindasync.image": "node"}
KIND_VERSION = {"/kind/version": b"v1.37.2\n"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramResult:
    """What a program in a container leaves. `hangs`: it never ends by itself; `dies`: the container ends with it."""

    exit_code: int = 0
    stdout: bytes = b""
    stderr: bytes = b""
    hangs: bool = False


Program = Callable[[FakeContainer, Sequence[str], bytes], ProgramResult]


@dataclass(slots=True, kw_only=True)
class Behaviour:
    """How far nodes get; each switch is a way to fail. Programs are found by their first word."""

    pauses: bool = True
    takes_signal_after: int = 1
    boots: bool = True
    reaches_runtime: bool = True
    becomes_ready: bool = True
    programs: dict[str, Program] = field(default_factory=dict)


def node_image(reference: str = "kindasync/node:v1.37.2") -> FakeImage:
    """An image of kindasync's contract."""
    manifests = {"/kind/manifests/default-cni.yaml": b"", "/kind/manifests/default-storage.yaml": b""}
    return FakeImage(reference=reference, labels=dict(CONTRACT), files={**KIND_VERSION, **manifests, "/kind/images/.keep": b""})


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


def signalled(container: FakeContainer, signal: str, behaviour: Behaviour) -> None:
    """A signal comes to the first process."""
    container.signals.append(signal)
    if signal == "SIGUSR1" and container.signals.count(signal) == behaviour.takes_signal_after:
        _boot(container, behaviour)


def _boot(container: FakeContainer, behaviour: Behaviour) -> None:
    if behaviour.boots:
        container.say("kindasync: booting\r\n")
        if behaviour.reaches_runtime:
            container.say("kindasync: runtime ready\r\n")
            container.booted = True


def run_program(container: FakeContainer, argv: Sequence[str], stdin: bytes, behaviour: Behaviour) -> ProgramResult:
    """Run a program in a container: one that a test gave, or one that nodes have."""
    program = behaviour.programs.get(argv[0]) or _PROGRAMS.get(argv[0])
    if not program:
        return ProgramResult(exit_code=127, stderr=f"exec: {argv[0]}: executable file not found in $PATH\n".encode())
    return program(container, argv, stdin)


def _cat(container: FakeContainer, argv: Sequence[str], stdin: bytes) -> ProgramResult:
    if len(argv) == 1:
        return ProgramResult(stdout=stdin)
    if argv[1] in container.files:
        return ProgramResult(stdout=container.files[argv[1]])
    return ProgramResult(exit_code=1, stderr=f"cat: {argv[1]}: No such file or directory\n".encode())


def _kubeadm(container: FakeContainer, argv: Sequence[str], stdin: bytes) -> ProgramResult:
    """Writes what kubeadm writes that kindasync reads."""
    for name in ("admin.conf", "super-admin.conf"):
        container.files[f"/etc/kubernetes/{name}"] = _kubeconfig()
    return ProgramResult(stdout=b"[init] Using Kubernetes version: v1.37.2\n")


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


def _echo(container: FakeContainer, argv: Sequence[str], stdin: bytes) -> ProgramResult:
    return ProgramResult(stdout=(" ".join(argv[1:]) + "\n").encode())


_PROGRAMS: dict[str, Program] = {
    "cat": _cat,
    "kubeadm": _kubeadm,
    "echo": _echo,
    "true": lambda *_: ProgramResult(),
    "false": lambda *_: ProgramResult(exit_code=1, stderr=b"it is false\n"),
}
