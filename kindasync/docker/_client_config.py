"""The docker client's configuration: credentials for registries, and proxies for containers."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from pathlib import Path

_PROXIES = {"httpProxy": "HTTP_PROXY", "httpsProxy": "HTTPS_PROXY", "noProxy": "NO_PROXY"}


def stored_auth(reference: str) -> Mapping[str, str] | None:
    """The credentials of this user for the registry of `reference`; None if there are none."""
    return registry_auth(reference, _path())


def stored_proxies(engine_url: str) -> Mapping[str, str]:
    """The proxies that this user's docker client gives to containers of an Engine, as variables; empty if there are none."""
    return container_proxies(engine_url, _path())


def _path() -> Path:
    return Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"


def registry_auth(reference: str, config: Path) -> Mapping[str, str] | None:
    """The credentials that `docker login` left in the client's configuration for the registry of `reference`.

    Those in a credential helper are not read: that would mean to start a program.
    """
    first, slash, _ = reference.partition("/")
    registry = first if slash and ("." in first or ":" in first or first == "localhost") else "docker.io"
    if registry in ("docker.io", "index.docker.io"):
        registry = "https://index.docker.io/v1/"
    try:
        entry = json.loads(config.read_text())["auths"][registry]
        if entry.get("identitytoken"):
            return {"identitytoken": str(entry["identitytoken"]), "serveraddress": registry}
        username, _, password = base64.b64decode(entry["auth"]).decode().partition(":")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return {"username": username, "password": password, "serveraddress": registry}


def container_proxies(engine_url: str, config: Path) -> Mapping[str, str]:
    """HTTP_PROXY, HTTPS_PROXY and NO_PROXY, as far as the client's configuration has them for an Engine, else by default.

    Source: docker's documentation, "Use a proxy server with the Docker CLI".
    """
    try:
        proxies = json.loads(config.read_text())["proxies"]
        entry = proxies.get(engine_url) or proxies["default"]
        return {variable: str(entry[key]) for key, variable in _PROXIES.items() if entry.get(key)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
