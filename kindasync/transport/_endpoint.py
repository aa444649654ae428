"""Endpoint: where a Docker Engine listens, and how the environment names it."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from kindasync.errors import EngineMissing, EngineUnreachable

DEFAULT_SOCKET = Path("/var/run/docker.sock")
FOUND = "found"  # the source of an endpoint that nobody has named


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """PEM files of a TLS endpoint, as the docker client keeps them. `ca` None: the system's authorities; `cert` and `key` None: no client certificate."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    verify: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where an Engine listens: a UNIX socket (`socket_path`), or `host` and `port`, with TLS if `tls` is given.

    `ssh`: it is reached by ssh to `host`, as `user` and at `port` if they are given; there it listens where its docker client
    looks for it, or at `remote_path`.
    """

    socket_path: Path | None = None
    host: str = ""
    port: int = 0
    tls: TlsFiles | None = None
    ssh: bool = False
    user: str = ""
    remote_path: str = ""
    source: str = "given"

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        if self.ssh:
            port = f":{self.port}" if self.port else ""
            return f"ssh://{self.user}{'@' if self.user else ''}{host}{port}{self.remote_path}"
        if self.socket_path:
            return f"unix://{self.socket_path}"
        return f"tcp://{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.url} ({self.source})"


def parse(url: str, *, tls: TlsFiles | None = None, source: str = "given") -> Endpoint:
    """The endpoint of a Docker host URL: `unix://`, `tcp://`, `http://`, `https://` or `ssh://`.

    Raises: EngineUnreachable for anything else, with what to use instead.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = "tcp", url  # as the docker client takes "host:port" and ":port"
    if scheme == "unix" and rest:
        return Endpoint(socket_path=Path(rest), source=source)  # as it stands: the docker client decodes nothing in it
    if scheme in ("tcp", "http", "https"):
        with suppress(ValueError):  # brackets that do not close, a port that is none
            parts = urlsplit(f"{scheme}://{rest}")
            if (parts.hostname or parts.port) and parts.path in ("", "/"):
                tls = TlsFiles() if scheme == "https" and tls is None else tls
                return Endpoint(host=parts.hostname or "localhost", port=parts.port or (2376 if tls else 2375), tls=tls, source=source)
    if scheme == "ssh":
        with suppress(ValueError):
            parts = urlsplit(f"ssh://{rest}")
            host, user, remote_path = parts.hostname or "", parts.username or "", parts.path.rstrip("/")
            # A name with a dash in front would be an option of ssh's; a password has no place in a command.
            if host and not host.startswith("-") and not user.startswith("-") and parts.password is None and not parts.query:
                return Endpoint(ssh=True, host=host, port=parts.port or 0, user=user, remote_path=remote_path, source=source)
    remedies = {
        "npipe": "native Windows endpoints are not supported: run kindasync inside WSL 2, where Docker Desktop offers a UNIX socket",
        "ssh": "use ssh://HOST, ssh://USER@HOST:PORT or ssh://HOST/path/to/docker.sock; keys, passwords and hosts are the configuration of ssh",
        "fd": "fd:// is for the daemon; use the socket it listens on",
    }
    raise EngineUnreachable(
        f'cannot use the Docker endpoint "{url}"',
        why=f"it comes from: {source}",
        hint=remedies.get(scheme, "use unix:///path/to/docker.sock or tcp://host:port"),
    )


def from_environment(
    env: Mapping[str, str], home: Path, *, platform: str = sys.platform, default_socket: Path = DEFAULT_SOCKET
) -> Endpoint:
    """The endpoint that the docker client would use, and where it has none, the first socket that is there.

    In order: DOCKER_HOST; DOCKER_CONTEXT; the current context of the docker client's configuration; the default socket;
    the rootless socket in XDG_RUNTIME_DIR; Docker Desktop's and other products' socket in the home directory.
    Raises: EngineMissing if there is none; EngineUnreachable for an endpoint or context that cannot be used.
    """
    if env.get("DOCKER_HOST"):
        return parse(env["DOCKER_HOST"], tls=_tls_from_environment(env, home), source="DOCKER_HOST")
    config_dir = Path(env.get("DOCKER_CONFIG") or home / ".docker")
    context = env.get("DOCKER_CONTEXT")
    source = f'DOCKER_CONTEXT "{context}"'
    if not context:
        context = _json(config_dir / "config.json").get("currentContext")
        source = f'context "{context}" of {config_dir / "config.json"}'
    if context and context != "default":
        return _from_context(str(context), config_dir, source)
    candidates = [default_socket]
    if env.get("XDG_RUNTIME_DIR"):
        candidates.append(Path(env["XDG_RUNTIME_DIR"]) / "docker.sock")
    candidates.append(home / ".docker/run/docker.sock")
    for candidate in candidates:
        if _is_there(candidate):
            return Endpoint(socket_path=candidate, source=FOUND)
    if platform == "win32":
        hint = "native Windows endpoints are not supported: run kindasync inside WSL 2, where Docker Desktop offers a UNIX socket"
    else:
        hint = "start Docker, or install it, or set DOCKER_HOST to where it is"
    raise EngineMissing(
        "no Docker Engine was found",
        why="DOCKER_HOST is not set, no context is in use, and there is no socket at " + ", ".join(map(str, candidates)),
        hint=hint,
    )


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError:  # a directory above it: let the connection say so
        return True


def _tls_from_environment(env: Mapping[str, str], home: Path) -> TlsFiles | None:
    """What DOCKER_TLS_VERIFY and DOCKER_TLS say, with the files in DOCKER_CERT_PATH (else the configuration directory)."""
    if not (env.get("DOCKER_TLS_VERIFY") or env.get("DOCKER_TLS")):
        return None
    directory = Path(env.get("DOCKER_CERT_PATH") or env.get("DOCKER_CONFIG") or home / ".docker")
    return _tls_from_directory(directory, verify=bool(env.get("DOCKER_TLS_VERIFY")))


def _tls_from_directory(directory: Path, *, verify: bool) -> TlsFiles:
    found = {name: directory / f"{name}.pem" for name in ("ca", "cert", "key")}
    present = {name: path if path.exists() else None for name, path in found.items()}
    return TlsFiles(ca=present["ca"], cert=present["cert"], key=present["key"], verify=verify)


def _from_context(name: str, config_dir: Path, source: str) -> Endpoint:
    """A context of the docker client: `contexts/meta/<sha256 of its name>/meta.json`, and its TLS files beside it."""
    digest = sha256(name.encode()).hexdigest()
    meta = _json(config_dir / "contexts/meta" / digest / "meta.json")
    match meta:
        case {"Endpoints": {"docker": {"Host": str(host), **docker}}} if host:
            pass
        case _:
            raise EngineUnreachable(
                f'the Docker context "{name}" is not there',
                why=f"it is named by {source}",
                hint="docker context ls shows those there are; docker context use default goes back to the default socket",
            )
    tls_dir = config_dir / "contexts/tls" / digest / "docker"
    skip_verify = bool(docker.get("SkipTLSVerify"))  # which asks for TLS by itself
    tls = _tls_from_directory(tls_dir, verify=not skip_verify) if tls_dir.is_dir() or skip_verify else None
    return parse(host, tls=tls, source=source)


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):  # the docker client, too, goes on without a configuration it cannot read
        return {}
    return value if isinstance(value, dict) else {}
