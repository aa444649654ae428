"""Env: what other programs need in their environment to use a cluster."""

from __future__ import annotations

from pathlib import Path

from kindasync.docker import Engine
from kindasync.errors import EngineError


def env_for(name: str, kubeconfig_path: Path, engine: Engine) -> dict[str, str]:
    """The variables that make programs use a cluster; those of the Engine only where the environment names another one, or none."""
    variables = {"KUBECONFIG": str(kubeconfig_path), "KIND_CLUSTER_NAME": name}
    endpoint = engine.endpoint
    try:
        theirs = Engine.of(None).endpoint
    except EngineError:
        theirs = None
    if not theirs or (theirs.url, theirs.tls) != (endpoint.url, endpoint.tls):
        variables["DOCKER_HOST"] = endpoint.url
        if endpoint.tls:
            variables |= {"DOCKER_TLS": "1", "DOCKER_TLS_VERIFY": "1" if endpoint.tls.verify else ""}
            if file := endpoint.tls.ca or endpoint.tls.cert:
                variables["DOCKER_CERT_PATH"] = str(file.parent)
    return variables
