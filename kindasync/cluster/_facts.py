"""Facts about this process and its Engine that plans depend on."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

from kindasync.cluster import _state
from kindasync.docker import Connection
from kindasync.docker._hints import Refusal, refusal_of
from kindasync.docker.containers import ContainerSpec, StrictBind, container_create
from kindasync.docker.system import EngineFacts, api_host_of, system_info
from kindasync.errors import ApiError, NotFound


async def engine_facts(connection: Connection) -> EngineFacts:
    """The facts of the Engine, with where its published ports are reached from this process."""
    facts = await system_info(connection)
    # In a container of the Engine's own network namespace, or in a machine that only looks like one, loopback does.
    gateway = _gateway_in_container() if facts.host_name != socket.gethostname() else None
    return replace(facts, api_host=api_host_of(connection.engine.endpoint, os.environ, container_gateway=gateway))


def _gateway_in_container(
    marks: tuple[Path, ...] = (Path("/.dockerenv"), Path("/run/.containerenv")), routes: Path = Path("/proc/net/route")
) -> str | None:
    """The default gateway, if this process runs in a container; None elsewhere."""
    if not any(mark.exists() for mark in marks):
        return None
    try:
        lines = routes.read_text().splitlines()[1:]
    except OSError:
        return None
    for line in lines:
        _, destination, gateway, *_ = line.split()
        if destination == "00000000":
            return socket.inet_ntoa(bytes.fromhex(gateway)[::-1])
    return None


async def shares_files(connection: Connection, directory: Path) -> bool:
    """Whether the Engine sees this machine's files: a fresh directory with a random name, asked for as a mount that must be there.

    The image that is asked for with it is there nowhere: "no such image" (404) says that the mount was found good, and
    nothing is made either way.
    """
    anchor = next((path for path in (directory, *directory.parents) if os.access(path, os.W_OK)), None)
    if anchor is None:
        return False
    with TemporaryDirectory(prefix=".kindasync-probe-", dir=anchor) as probe:
        image = f"kindasync.invalid/probe:{uuid4().hex}"
        spec = ContainerSpec(image=image, strict_binds=(StrictBind(source=probe, target="/probe", read_only=True),))
        try:
            await container_create(connection, "", spec)
        except NotFound:
            return True
        except ApiError as error:
            if refusal_of(error.message) is not Refusal.MOUNT_SOURCE_MISSING:
                raise
    return False


def proxy_env(env: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The proxy variables of this process, for nodes; in both spellings, as programs look for one or the other."""
    result = {}
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        value = env.get(name) or env.get(name.lower())
        if value:
            result[name] = result[name.lower()] = value
    return result


def private_dir(engine_id: str, cluster: str) -> Path:
    """This user's directory of a cluster."""
    return _state.engine_dir(engine_id) / cluster
