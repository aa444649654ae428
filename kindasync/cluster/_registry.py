"""The registry of a cluster: started beside its nodes; nodes know it by containerd's hosts files, tools by a ConfigMap."""

from __future__ import annotations

import io
import posixpath
import tarfile
from dataclasses import replace

import anyio

from kindasync import events, go_yaml
from kindasync.cluster._assembly import Registry
from kindasync.cluster._claim import ATTEMPTS, start
from kindasync.cluster._lookup import registries
from kindasync.cluster._names import CACHE_LABEL, RUN_LABEL
from kindasync.cluster._run import Run
from kindasync.cluster.plan import Facts, RegistryPlan, plan
from kindasync.config import ClusterConfig
from kindasync.docker import Connection
from kindasync.docker.archives import path_stat, put_archive, read_archive
from kindasync.docker.containers import Container, container_create, container_inspect, container_remove
from kindasync.docker.volumes import volume_create
from kindasync.errors import AlreadyExists, ClusterError, Conflict, ImageUnusable, NotFound, NotReady, one_error
from kindasync.node._console import Console
from kindasync.node._files import tar_of
from kindasync.node._registry import CERTS_D, LOCAL_PORT, PROGRAM, READY, Cache, hosts_files, registry_files, registry_spec

READY_S = 30.0
HOSTING = "local-registry-hosting"
_HELP = "https://pypi.org/project/kindasync"


async def start_registry(run: Run, config: ClusterConfig, facts: Facts) -> Registry:
    """Create and start the registry of a cluster whose name this run has claimed, and wait until it serves.

    Raises: AlreadyExists for another container of its name; ImageUnusable; StepFailed.
    """
    for attempt in range(ATTEMPTS):
        facts = replace(facts, attempt=attempt)
        registry = plan(config, facts).registry
        assert registry is not None
        with run.step(f"start registry {registry.name}", node=registry.name) as began:
            await _remove_others(run)
            container_id = await _create(run, registry)
            others = await start(run, container_id, registry.name, [registry.port] if registry.port else [], config, facts)
            if others:
                facts = others
                continue
            await wait_serving(run.connection, container_id)
            run.emit(
                events.RegistryStarted,
                node=registry.name,
                since=began,
                host=registry.host,
                mirrors=tuple(cache.host for cache in registry.caches),
            )
            hosts = hosts_files(registry.name, registry.caches, registry.port)
            return Registry(hosts=hosts, hosting=hosting(registry) if registry.port else "")
    raise AssertionError("the last attempt returns or raises")


async def _remove_others(run: Run) -> None:
    """Remove the registry of a cluster that had this name: the kind program deletes nodes only."""
    for container in await registries(run.connection, run.cluster):
        if container.labels.get(RUN_LABEL) != run.id:
            await container_remove(run.connection, container.id)


async def _create(run: Run, registry: RegistryPlan) -> str:
    passwords = {cache.host: await _password(cache) for cache in registry.caches if cache.password_file}
    for cache in registry.caches:
        await volume_create(run.connection, cache.volume, {CACHE_LABEL: cache.remote_url})
    spec = registry_spec(
        name=registry.name,
        image=registry.image,
        labels=registry.labels,
        env=registry.env,
        network=run.network,
        caches=registry.caches,
        local=registry.port,
    )
    try:
        container_id = await container_create(run.connection, registry.name, spec)
    except Conflict as error:
        raise AlreadyExists(
            f'cannot create cluster "{run.cluster}": something else has the name of its registry {registry.name}',
            why=error.message,
            hint=f"choose another name (registries.local.name), or remove that container: docker rm --force {registry.name}",
        ) from error
    try:
        await path_stat(run.connection, container_id, PROGRAM)
    except NotFound as error:
        raise ImageUnusable(
            f'"{registry.image}" has no registry in it',
            why=f"it has no file {PROGRAM}",
            hint="for registries, use a node image of kindasync's own: kindasync build node-image makes one",
        ) from error
    files = registry_files(registry.caches, local=bool(registry.port), passwords=passwords)
    await put_archive(run.connection, container_id, "/", tar_of(files))
    return container_id


async def _password(cache: Cache) -> str:
    try:
        return (await anyio.Path(cache.password_file).read_text()).strip()
    except (OSError, ValueError) as error:
        raise ClusterError(f"cannot read the password for the mirror of {cache.host}", why=str(error)) from error


async def wait_serving(connection: Connection, container_id: str) -> None:
    """Wait until a started registry serves: the Engine takes connections to its port before. Raises: BootFailed if it ends instead; NotReady."""
    console = Console(connection, await container_inspect(connection, container_id), noun="registry")
    try:
        with one_error(), anyio.fail_after(READY_S):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(console.follow)
                await console.wait_for(lambda line: line == READY, "ready to serve")
                tasks.cancel_scope.cancel()
    except TimeoutError as error:
        raise NotReady("the registry", console.tail or "it has said nothing", after_s=READY_S) from error


async def known_registry(run: Run, node: Container) -> Registry:
    """What a node knows of registries, whoever told it: for one that is added."""
    try:
        archive = await read_archive(run.connection, node.id, CERTS_D)
    except NotFound:
        return Registry()
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        files = {member.name: tar.extractfile(member) for member in tar if member.isreg()}
        return Registry(hosts={f"{posixpath.dirname(CERTS_D)}/{name}": file.read() for name, file in files.items() if file})


def hosting(registry: RegistryPlan) -> str:
    """The ConfigMap by which tools find the local registry. Source: KEP-1755."""
    inside = f"{registry.name}:{LOCAL_PORT}"
    document = {"host": registry.host, "hostFromContainerRuntime": inside, "hostFromClusterNetwork": inside, "help": _HELP}
    return go_yaml.dump(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": HOSTING, "namespace": "kube-public"},
            "data": {"localRegistryHosting.v1": go_yaml.dump(document)},
        }
    )
