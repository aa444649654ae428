"""Facts about this process and its Engine that plans depend on."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import anyio

from kindasync.cluster import _state
from kindasync.cluster._names import REGISTRY_LABEL
from kindasync.cluster._network import fixable_subnets
from kindasync.cluster._owner import owner
from kindasync.cluster._run import Run
from kindasync.cluster.plan import Existing, Facts
from kindasync.docker import Connection
from kindasync.docker._client_config import stored_proxies
from kindasync.docker._hints import Refusal, refusal_of
from kindasync.docker.containers import Container, ContainerSpec, StrictBind, container_create, container_inspect, container_list
from kindasync.docker.networks import Network
from kindasync.docker.system import EngineFacts
from kindasync.errors import ApiError, NotFound, one_error
from kindasync.node._spec import CLUSTER_LABEL
from kindasync.proxy import proxies


async def plan_facts(
    run: Run,
    engine: EngineFacts,
    network: Network,
    pauses: Mapping[str, bool],
    *,
    existing: Existing | None = None,
) -> Facts:
    """What a plan depends on: the Engine, this process, what is taken, and the cluster that is there already."""
    containers = await container_list(run.connection)
    addresses = {
        address
        for container in containers
        for attachment in container.attachments
        if attachment.network == network.name
        for address in (attachment.ipv4_address, attachment.fixed_ipv4, attachment.ipv6_address, attachment.fixed_ipv6)
    }
    return Facts(
        engine=engine,
        engine_url=run.connection.engine.url,
        run=run.id,
        owner="" if run.request.retain else owner(),
        labels=run.request.labels,
        pauses=pauses,
        network=network.name,
        subnets=fixable_subnets(network),
        network_subnets=network.cidrs,
        taken_addresses=frozenset(addresses),
        taken_ports=frozenset(
            port.host_port for container in (*containers, *await _stopped(run.connection, containers)) for port in container.ports
        ),
        host_ports=run.host_ports,
        env=proxies(os.environ, stored_proxies(run.connection.engine.url)),
        existing=existing,
    )


async def _stopped(connection: Connection, containers: Iterable[Container]) -> list[Container]:
    """Those of clusters that do not run, as they were made: they need their ports again, and the list has only such as are in force."""
    found: list[Container] = []

    async def look(container: Container) -> None:
        with suppress(NotFound):
            found.append(await container_inspect(connection, container.id))

    with one_error():
        async with anyio.create_task_group() as tasks:
            for container in containers:
                if container.state in ("created", "exited") and {CLUSTER_LABEL, REGISTRY_LABEL} & container.labels.keys():
                    tasks.start_soon(look, container)
    return found


async def shares_files(connection: Connection, directory: Path) -> bool:
    """Whether the Engine sees this machine's files: a fresh directory with a random name, asked for as a mount that must be there.

    So it is also known, before anything is made, that files can be kept there. Raises: ClusterError if not; ApiError.
    The image that is asked for with it is there nowhere: "no such image" (404) says that the mount was found good, and
    nothing is made either way.
    """
    anchor = next(path for path in (directory, *directory.parents) if path.exists())
    with _state.kept(directory), TemporaryDirectory(prefix=_state.probe_prefix(owner()), dir=anchor) as probe:
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


def private_dir(engine_id: str, cluster: str) -> Path:
    """This user's directory of a cluster."""
    return _state.engine_dir(engine_id) / cluster
