"""Env: what other programs need in their environment to use a cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

from kindasync import Cluster, Engine
from kindasync.cluster._env import env_for
from kindasync.testing import FakeEngine
from kindasync.transport import Endpoint
from kindasync.transport._endpoint import TlsFiles

ALWAYS = {"KUBECONFIG": "/state/kubeconfig", "KIND_CLUSTER_NAME": "demo"}
TLS = Endpoint(host="engine", port=2376, tls=TlsFiles(ca=Path("/certs/ca.pem"), cert=Path("/certs/cert.pem"), key=Path("/certs/key.pem")))


@pytest.mark.parametrize(
    ("docker_host", "engine", "variables"),
    [
        ("unix:///run/one.sock", Engine.of("unix:///run/one.sock"), {}),
        ("unix:///run/one.sock", Engine.of("unix:///run/two.sock"), {"DOCKER_HOST": "unix:///run/two.sock"}),
        ("nonsense://", Engine.of("tcp://engine:2375"), {"DOCKER_HOST": "tcp://engine:2375"}),
        (
            "tcp://engine:2376",
            Engine(TLS),
            {"DOCKER_HOST": "tcp://engine:2376", "DOCKER_TLS": "1", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/certs"},
        ),
    ],
)
def test_variables(monkeypatch: pytest.MonkeyPatch, docker_host: str, engine: Engine, variables: dict[str, str]) -> None:
    """The Engine's only where the environment names another one, or none that can be used."""
    monkeypatch.setenv("DOCKER_HOST", docker_host)

    assert env_for("demo", Path("/state/kubeconfig"), engine) == ALWAYS | variables


@pytest.mark.anyio
async def test_a_kubeconfig_that_was_removed_is_written_anew(fake: FakeEngine) -> None:
    """For this user alone."""
    cluster = await Cluster.create("demo", engine=fake.url)
    content = cluster.kubeconfig_path.read_text()
    cluster.kubeconfig_path.unlink()

    env = cluster.env()

    assert env == {"KUBECONFIG": str(cluster.kubeconfig_path), "KIND_CLUSTER_NAME": "demo", "DOCKER_HOST": fake.url}
    assert cluster.kubeconfig_path.read_text() == content
    assert cluster.kubeconfig_path.stat().st_mode & 0o777 == 0o600
