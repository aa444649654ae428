"""By OpenSSH to this machine: what an Engine behind ssh is for. Run by `nox -s ssh`, as root, with a server and keys of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from kubernetes_asyncio.client import CoreV1Api

from kindasync import Cluster, Engine, events
from kindasync.errors import EngineUnreachable
from kindasync.events import Event
from tests.cluster.archives import REFERENCE, write_image_archive
from tests.cluster.conftest import look, pod, pod_ends, run_cli

pytestmark = [pytest.mark.anyio, pytest.mark.ssh]
PRIVILEGES_END_IN = Path("/run/sshd")
# The server insists on a user to whom its privileges fall. Where there is none, its mount namespace has one.
SERVE = """
cat /etc/passwd >"$1/passwd"
grep -q ^sshd: "$1/passwd" || echo sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin >>"$1/passwd"
mount --bind "$1/passwd" /etc/passwd && exec "$2" -D -e -f "$1/sshd_config"
"""


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """An ssh URL of this machine; and where an `ssh` is that can log in there without a question."""
    directory = tmp_path_factory.mktemp("ssh")
    for key in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory / key], check=True)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    (directory / "known_hosts").write_text(f"[127.0.0.1]:{port} {(directory / 'host.pub').read_text()}")
    (directory / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {directory}/host\nAuthorizedKeysFile {directory}/user.pub\nStrictModes no\nPidFile none\n"
    )
    (directory / "config").write_text(f"IdentityFile {directory}/user\nUserKnownHostsFile {directory}/known_hosts\n")
    (directory / "bin").mkdir()
    ssh = directory / "bin" / "ssh"
    ssh.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {directory}/config "$@"\n')
    ssh.chmod(0o700)
    server = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    assert server, "nox -s ssh needs sshd on PATH (Debian: openssh-server)"
    was_there = PRIVILEGES_END_IN.exists()
    PRIVILEGES_END_IN.mkdir(mode=0o755, exist_ok=True)
    serve = ["unshare", "--mount", "sh", "-c", SERVE, "sh", str(directory), server]
    with subprocess.Popen(serve, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr
            said = [process.stderr.readline()]
            while "Server listening" not in said[-1]:
                assert said[-1], f"sshd has ended: {said}"
                said.append(process.stderr.readline())
            yield f"ssh://127.0.0.1:{port}", directory / "bin"
        finally:
            process.terminate()
            if not was_there:
                PRIVILEGES_END_IN.rmdir()


@pytest.fixture
def url(there: tuple[str, Path], own_home: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL, with that ssh first on PATH."""
    monkeypatch.setenv("PATH", f"{there[1]}:{os.environ['PATH']}")
    return there[0]


async def test_all_the_life_of_a_cluster(url: str, own_home: Path, name: str, tmp_path: Path) -> None:
    """Created, found by the command, an image loaded and run, a program given its input, deleted: nothing is left."""
    before = await look(own_home)
    archive = tmp_path / "image.tar"
    await write_image_archive(archive, padding_bytes=1 << 20)

    cluster = await Cluster.create(name, engine=url)
    assert run_cli("get", "nodes", "--name", name, env={"DOCKER_HOST": url}).stdout == f"{name}-control-plane\n"
    await cluster.load_archive(archive)
    async with cluster.client() as api:
        core = CoreV1Api(api)
        await core.create_namespaced_pod("default", pod("app", ["sh", "-c", "echo here"], container={"image": REFERENCE}))
        assert await pod_ends(core, "default", "app") == ("Succeeded", "here\n")
    assert (await cluster.nodes[0].exec(["sha256sum"], stdin=bytes(1 << 20))).text.startswith("30e14955ebf13522")
    await cluster.delete()

    after = await look(own_home)
    assert (after.containers, after.networks, after.volumes) == (before.containers, before.networks, before.volumes)


async def test_a_cancelled_create(url: str, own_home: Path, name: str) -> None:
    """What it has made is removed over the same line."""
    before = await look(own_home)

    with anyio.CancelScope() as scope:

        async def listen(event: Event) -> None:
            if isinstance(event, events.NodeBooted):
                scope.cancel()

        await Cluster.create(name, engine=url, on_event=listen)

    assert scope.cancelled_caught
    assert await look(own_home) == before


async def test_a_host_that_is_not_known(url: str, there: tuple[str, Path]) -> None:
    """ssh's own words, and no question."""
    with anyio.fail_after(15), pytest.raises(EngineUnreachable, match="Host key verification failed") as raised:
        async with Engine.of(url.replace("127.0.0.1", "localhost")).connect():
            pass

    assert "docker --host ssh://" in raised.value.hint
