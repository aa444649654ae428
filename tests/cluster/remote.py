"""A second Docker Engine, as far away as one machine allows: in a network namespace of its own, over tcp and TLS.

No route leads to its nodes' addresses, and it shares no socket. Run as a program it starts one and runs a command with
DOCKER_HOST set to it: `python -m tests.cluster.remote pytest -m cluster`.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

import anyio

from kindasync import Engine
from kindasync.cluster._images import default_reference
from kindasync.docker.images import image_get, image_load
from kindasync.docker.system import system_info

NAMESPACE = "kindasync-remote"
HERE, THERE = "10.231.7.1", "10.231.7.2"
PORT = 2376
DISK = "6g"
UP_S, DOWN_S = 60.0, 60.0
LOCAL = "KINDASYNC_TESTS_LOCAL"  # the variable with the local Engine's URL, for tests that use both


@contextmanager
def remote_engine() -> Iterator[dict[str, str]]:
    """Such an Engine, with the node image of the local one; the environment by which it is reached. Needs root."""
    directory = Path(mkdtemp(prefix="kindasync-remote-", dir="/var/tmp"))
    try:
        with _namespace(), _dockerd(directory):
            env = {"DOCKER_HOST": f"tcp://{THERE}:{PORT}", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(directory)}
            anyio.run(_copy_image, env)
            yield {**env, LOCAL: Engine.of(None).url}
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def _namespace() -> Iterator[None]:
    """A network namespace, joined to this one by a pair of veths."""
    _run("ip", "netns", "add", NAMESPACE)
    try:
        _run("ip", "link", "add", "kdasync0", "type", "veth", "peer", "name", "kdasync1", "netns", NAMESPACE)
        _run("ip", "address", "add", f"{HERE}/30", "dev", "kdasync0")
        _run("ip", "link", "set", "kdasync0", "up")
        inside = ("ip", "-n", NAMESPACE)
        _run(*inside, "address", "add", f"{THERE}/30", "dev", "kdasync1")
        _run(*inside, "link", "set", "kdasync1", "up")
        _run(*inside, "link", "set", "lo", "up")
        _run(*inside, "route", "add", "default", "via", HERE)
        yield
    finally:
        # The namespace itself stays as long as a process is in it.
        subprocess.run(("ip", "link", "delete", "kdasync0"), check=False, capture_output=True)
        _run("ip", "netns", "delete", NAMESPACE)


@contextmanager
def _dockerd(directory: Path) -> Iterator[None]:
    """dockerd in the namespace, on a small disk."""
    _make_certificates(directory)
    (directory / "data").mkdir()
    _run("mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", f"{directory}/data")
    try:
        _start(directory)
        yield
    finally:
        try:
            _end(directory, signal.SIGTERM)
        except TimeoutError:
            _end(directory, signal.SIGKILL)
        subprocess.run(["umount", "-R", f"{directory}/data"], check=False, stderr=subprocess.DEVNULL)


def restart_engine(number: signal.Signals) -> None:
    """End the Engine that the environment names by a signal, and start it again on the same disk."""
    directory = Path(os.environ["DOCKER_CERT_PATH"])
    _end(directory, number)
    _start(directory)


def _start(directory: Path) -> None:
    """Start dockerd, and wait until it listens. (`ip netns exec` would hide the cgroup mounts from it.)"""
    running = _running_dockerd()
    command = [
        "setsid", "--fork", "nsenter", f"--net=/run/netns/{NAMESPACE}", running,
        f"--data-root={directory}/data", f"--exec-root={directory}/exec", f"--pidfile={directory}/pid", f"--host=tcp://{THERE}:{PORT}",
        "--tlsverify", f"--tlscacert={directory}/ca.pem", f"--tlscert={directory}/server-cert.pem", f"--tlskey={directory}/server-key.pem",
    ]  # fmt: skip
    env = {**os.environ, "PATH": f"{Path(running).parent.parent / 'bin'}:{Path(running).parent}:{os.environ['PATH']}"}
    for name in ("DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"):
        env.pop(name, None)  # dockerd takes some of its client's
    (directory / "pid").unlink(missing_ok=True)  # of one that was killed
    with (directory / "log").open("wb") as log:
        subprocess.run(command, stdout=log, stderr=log, env=env, check=True)
    deadline = time.monotonic() + UP_S
    while b"API listen on" not in (directory / "log").read_bytes():
        if time.monotonic() > deadline:
            raise RuntimeError(f"dockerd did not come up:\n{(directory / 'log').read_text()}")
        time.sleep(0.1)


def _end(directory: Path, number: signal.Signals) -> None:
    """Send dockerd a signal, and wait for its end. Raises: TimeoutError."""
    try:
        ended = os.pidfd_open(int((directory / "pid").read_text()))
    except (FileNotFoundError, ProcessLookupError):
        return
    try:
        signal.pidfd_send_signal(ended, number)
        if not select.select([ended], [], [], DOWN_S)[0]:
            raise TimeoutError(f"dockerd has not ended {DOWN_S:g} s after {number.name}")
    finally:
        os.close(ended)


def _running_dockerd() -> str:
    """The program of the local Engine: the one that is known to work here."""
    for pid in os.listdir("/proc"):
        if pid.isdigit():
            try:
                program = os.readlink(f"/proc/{pid}/exe")
            except OSError:
                continue
            if program.endswith("/dockerd"):
                return program
    found = shutil.which("dockerd")
    if not found:
        raise RuntimeError("there is no dockerd")
    return found


def _make_certificates(directory: Path) -> None:
    """An authority, and certificates of it for the server and for us."""
    openssl = ("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
    _run(
        *openssl,
        "-subj",
        "/CN=test-ca",
        "-keyout",
        f"{directory}/ca-key.pem",
        "-out",
        f"{directory}/ca.pem",
        "-addext",
        "keyUsage=critical,keyCertSign",
    )
    signed = ("-CA", f"{directory}/ca.pem", "-CAkey", f"{directory}/ca-key.pem", "-addext", "basicConstraints=critical,CA:FALSE")
    server = ("-subj", "/CN=server", "-addext", f"subjectAltName=IP:{THERE}", "-addext", "extendedKeyUsage=serverAuth")
    _run(*openssl, *signed, *server, "-keyout", f"{directory}/server-key.pem", "-out", f"{directory}/server-cert.pem")
    client = ("-subj", "/CN=client", "-addext", "extendedKeyUsage=clientAuth")
    _run(*openssl, *signed, *client, "-keyout", f"{directory}/key.pem", "-out", f"{directory}/cert.pem")


async def _copy_image(env: dict[str, str]) -> None:
    """Stream the node image from the local Engine to the other one; no file in between."""
    local = Engine.of(None)
    before = {name: os.environ.get(name) for name in env}
    os.environ.update(env)
    try:
        remote = Engine.of(None)
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
    async with local.connect() as source, remote.connect() as target:
        reference = await default_reference(source, await system_info(source))
        async with image_get(source, (reference,)) as archive:
            await image_load(target, _passed_on(archive))


async def _passed_on(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for chunk in chunks:
        yield chunk


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def main(command: Sequence[str]) -> int:
    """Run a command with the environment of a remote Engine; its exit code."""
    with remote_engine() as env:
        return subprocess.run(command, env={**os.environ, **env}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
