"""The registry: one that images are pushed to, and caches of others; distribution's, from the node image, in a container of its own."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from kindasync import go_yaml
from kindasync.config import RegistryMirror
from kindasync.docker.containers import Bind, ContainerSpec, PortBinding
from kindasync.node._files import File

PROGRAM = "/usr/local/bin/registry"
READY = "kindasync: registry ready"
LOCAL_PORT = 5000  # in the nodes' network; those of the caches come after it
_CONFIG, _DATA = "/kind/registry", "/var/lib/registry"
CERTS_D = "/etc/containerd/certs.d"  # the `config_path` of our images and of kind's
_DOCKER_HUB = {"docker.io": "https://registry-1.docker.io"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """A pull-through cache of the registry that image references name `host`, reached at `remote_url`. `port`: where it serves."""

    host: str
    remote_url: str
    port: int
    username: str = ""
    password_file: str = ""

    @property
    def volume(self) -> str:
        """The volume with what was pulled: the same for every cluster that caches this remote as this user."""
        user = f"-{self.username}" if self.username else ""
        return "kindasync-cache-" + re.sub(r"[^A-Za-z0-9_.-]", "_", urlsplit(self.remote_url).netloc + user)

    @property
    def directory(self) -> str:
        """Where that is mounted."""
        return f"/var/cache/registry/{self.port}"


def caches(mirrors: Sequence[RegistryMirror]) -> tuple[Cache, ...]:
    """The caches for mirrors."""
    return tuple(
        Cache(
            host=mirror.host,
            remote_url=(mirror.remote_url or _DOCKER_HUB.get(mirror.host) or f"https://{mirror.host}").rstrip("/"),
            port=port,
            username=mirror.username,
            password_file=mirror.password_file,
        )
        for port, mirror in enumerate(mirrors, LOCAL_PORT + 1)
    )


def registry_files(caches: Sequence[Cache], *, local: bool, passwords: Mapping[str, str] | None = None) -> dict[str, File]:
    """The files of its container: distribution's configuration for each registry, and for each cache a credential helper.

    `passwords` by host. See node-image/registry for how a file is a helper.
    """
    files = {}
    if local:
        files[f"{_CONFIG}/{LOCAL_PORT}.yml"] = _configuration(LOCAL_PORT, _DATA, storage={"delete": {"enabled": True}})
    for cache in caches:
        helper = f"{_CONFIG}/{cache.port}.credentials"
        # Never expires: what is shared with other clusters is only ever added to.
        proxy = {"remoteurl": cache.remote_url, "ttl": "0s", "exec": {"command": helper}}
        files[f"{_CONFIG}/{cache.port}.yml"] = _configuration(cache.port, cache.directory, proxy=proxy)
        credentials = {"Username": cache.username, "Secret": (passwords or {}).get(cache.host, "")}
        files[helper] = File(content=f"#!{PROGRAM}\n{json.dumps(credentials)}\n".encode(), mode=0o700)
    return files


def _configuration(port: int, directory: str, *, storage: Mapping[str, object] | None = None, **others: object) -> File:
    """One registry's. Source: distribution's "Configuring a registry"."""
    document = {
        "version": 0.1,
        "http": {"addr": f":{port}"},
        "storage": {"filesystem": {"rootdirectory": directory}, **(storage or {})},
        **others,
    }
    return File(content=go_yaml.dump(document).encode(), mode=0o600)


def hosts_files(name: str, caches: Sequence[Cache], local: PortBinding | None) -> dict[str, str]:
    """The files that tell a node's containerd where images come from. Source: containerd's docs/hosts.md.

    References to the local registry are the same in pods as on the Engine's host ("localhost:PORT/app"); by its name it is known, too.
    A registry that is cached is asked itself while its cache does not answer.
    """
    names = {f"localhost:{local.host_port}", f"{name}:{LOCAL_PORT}"} if local else set()
    files: dict[str, dict[str, object]] = {host: {"server": f"http://{name}:{LOCAL_PORT}"} for host in sorted(names)}
    for cache in caches:
        mirror = {f"http://{name}:{cache.port}": {"capabilities": ["pull", "resolve"]}}
        files[cache.host] = {"server": cache.remote_url, "host": mirror}
    return {f"{CERTS_D}/{host}/hosts.toml": _toml(document) for host, document in files.items()}


def _toml(document: Mapping[str, object]) -> str:
    import tomli_w

    return tomli_w.dumps(document)


def registry_spec(
    *,
    name: str,
    image: str,
    labels: Mapping[str, str],
    env: Mapping[str, str],
    network: str,
    caches: Sequence[Cache],
    local: PortBinding | None,
) -> ContainerSpec:
    """Its container: no privileges; it is there again after a restart of the Engine. What was pushed goes with it, what was cached stays."""
    configurations = [path for path in registry_files(caches, local=bool(local)) if path.endswith(".yml")]
    return ContainerSpec(
        image=image,
        hostname=name,
        labels=labels,
        env=env,
        entrypoint=("registry", *configurations),
        cmd=(),
        stop_signal="SIGTERM",  # the image's is for systemd; a Go program ends by it with an error, which the policy counts as a failure
        restart_policy="on-failure",
        restart_retries=1,
        volumes=(_DATA,) if local else (),
        binds=tuple(Bind(source=cache.volume, target=cache.directory) for cache in caches),
        ports=(local,) if local else (),
        network=network,
    )
