"""Cluster: the public handle."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from kindasync._delivering import delivering
from kindasync._shielded import carried_through
from kindasync.cluster._leftover import Leftover
from kindasync.cluster._requests import DEFAULT_POOL, DEFAULT_WAIT_S, AnyConfig, request_of, requests_of
from kindasync.config import Role
from kindasync.config._rules import POSSIBLE_NAME
from kindasync.docker._engine import Engine
from kindasync.errors import ClusterError, ClusterNotFound, ConfigInvalid, EngineError, KindasyncError, LeftBehind, PoolEmpty, one_error
from kindasync.events import Bus, Callback, StepFailed
from kindasync.kubeconfig import for_cluster

if TYPE_CHECKING:
    from kubernetes_asyncio.client import ApiClient

    from kindasync.cluster._api import ClusterApi
    from kindasync.cluster._apply import Manifest
    from kindasync.cluster._conditions import Predicate
    from kindasync.cluster._pool import Pool
    from kindasync.cluster._port_forward import Address
    from kindasync.cluster._run import Hook, Request
    from kindasync.cluster._snapshots import Snapshot
    from kindasync.docker import Connection
    from kindasync.docker.containers import Container
    from kindasync.docker.execs import ExecResult
    from kindasync.docker.system import EngineFacts
    from kindasync.node import Node

AnyNode = Mapping[str, Any] | Sequence[Mapping[str, Any]] | str | bytes | Path
Objects = list[dict[str, Any]]
DRAIN_S = 120.0
API_S = 60.0
TAKE_BACK_S = 90.0
AT_ONCE_PER_CPU = 2  # with fewer, what starts in the first clusters once they are ready delays the last; with more, the first are late, too


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A cluster that is there. A value: it holds no socket and no task, so it can cross event loops, fixtures and threads.

    Shape: `name` its name; `engine` where its nodes run; `nodes` all of them, without balancer and registry; `kubeconfig` is the administrator's, with the address at which this machine reaches the API server;
    `kubeconfig_path` a file with it, of this user alone (0600), which other programs can be given.
    """

    name: str
    engine: Engine
    kubeconfig: dict[str, Any] = field(repr=False, compare=False)
    kubeconfig_path: Path = field(compare=False)
    nodes: tuple[Node, ...] = field(compare=False)

    @property
    def internal_kubeconfig(self) -> dict[str, Any]:
        """The kubeconfig for clients in the nodes' network, where the control plane is reached by its name."""
        balancer = f"{self.name}-{Role.LOAD_BALANCER}"
        control_planes = [node.name for node in self.nodes if node.role is Role.CONTROL_PLANE]
        return for_cluster(self.kubeconfig, self.name, f"https://{control_planes[0] if len(control_planes) == 1 else balancer}:6443")

    @classmethod
    async def create(
        cls,
        name: str | None = None,
        *,
        config: AnyConfig | None = None,
        image: str = "",
        wait_s: float | None = None,
        on_event: Callback | Bus | None = None,
        before_boot: Sequence[Hook] = (),
        retain: bool = False,
        engine: Engine | str | None = None,
    ) -> Cluster:
        """Create a cluster, and return when it can be used: all nodes Ready, the default ServiceAccount there, a pod scheduled.

        Shape: `name` wins over the configuration's, which wins over a new one; `config` a ClusterConfig, kind's document, or that
        and ClusterExtras, as YAML text or data, or the path of a file of them; `image` is used for all nodes; `wait_s` seconds for
        readiness, 0 to return when kubeadm is through, None: as the configuration says, else DEFAULT_WAIT_S (120); `on_event` gets every event of `kindasync.events` (a plain function, in a worker thread; a
        coroutine function; a Bus); `before_boot` coroutine functions that get each node while it is paused;
        `retain` keeps the nodes of a failed create; `engine` an Engine or URL, None: as the environment says.

        Raises: ConfigInvalid; OSError for a `config` that cannot be read; AlreadyExists; ImageUnusable; StepFailed with `.failures`; NotReady;
        ClusterError for KINDASYNC_HOST_PORTS that is no range; EngineError; what a hook or listener raises, as it is.
        Cancellation: all that was made is removed first; so it is for any error, unless `retain`.
        """
        request = await _request(config, name, on_event, image=image, wait_s=wait_s, before_boot=before_boot, retain=retain)
        return await cls._create(request, on_event, engine)

    @classmethod
    async def _create(cls, request: Request, on_event: Callback | Bus | None, engine: Engine | str | None) -> Cluster:
        from kindasync.cluster._create import create

        created = None
        try:
            async with _operation(engine, on_event) as (connection, bus):
                created = await create(connection, request, bus)
        except BaseException as error:
            if created and not request.retain:  # cancelled by the last event, or its listener failed: whoever gets an error has no cluster
                await take_back(error, request.cluster, connection.engine, on_event)
            raise
        return cls._of(connection.engine, request.cluster, created.kubeconfig, created.kubeconfig_path, created.containers)

    @classmethod
    async def create_many(
        cls,
        configs: Iterable[AnyConfig | None],
        *,
        limit: int | None = None,
        image: str = "",
        wait_s: float | None = None,
        on_event: Callback | Bus | None = None,
        before_boot: Sequence[Hook] = (),
        retain: bool = False,
        engine: Engine | str | None = None,
    ) -> list[Cluster | KindasyncError]:
        """Create clusters side by side; for each configuration, in their order, its cluster, or the error that kept it from being made.

        Shape: a configuration is what `create` takes, None the default one; its name is the cluster's, and a new one if it has
        none. At most `limit` are made at the same time (None: twice as many as the Engine's host has processors). `on_event`
        gets the events of all, each with the times of its own cluster. Those that are ready give way to the others, where all want more of
        the processors than there is. The rest as for `create`.

        A failure is that of one cluster alone, of which nothing is left, unless `retain`; one that is no KindasyncError, as of a
        hook or a listener, ends the call and is raised.
        Raises: ClusterError for a limit below 1; EngineError if there is no Engine to speak to.
        Cancellation: all clusters are removed first, the finished ones, too, unless `retain`; so it is for what is raised.
        """
        if limit is not None and limit < 1:
            raise ClusterError(
                f"cannot create {limit} clusters at the same time", hint="a limit is at least 1; None: twice as many as processors"
            )
        from kindasync.cluster._shares import share
        from kindasync.docker.system import system_info

        requests = requests_of(configs, image=image, wait_s=wait_s, before_boot=before_boot, retain=retain)
        results: dict[int, Cluster | KindasyncError] = {
            index: each for index, each in enumerate(requests) if isinstance(each, ConfigInvalid)
        }

        ready: list[Node] = []

        async def create(index: int, request: Request, limiter: anyio.CapacityLimiter, bus: Bus, connection: Connection) -> None:
            async with limiter:
                try:
                    cluster = await cls._create(request, bus, engine)
                except KindasyncError as error:
                    results[index] = error
                    return
                results[index] = cluster
                if len(results) < len(requests):
                    ready.extend(cluster.nodes)
                    await share(connection, facts, cluster.nodes, few=True)

        try:
            async with _operation(engine, on_event) as (connection, bus):
                for error in results.values():
                    bus.emit(StepFailed(step="read a configuration", error=str(error)))
                facts = await system_info(connection)
                limiter = anyio.CapacityLimiter(limit or _at_once(facts))
                try:
                    async with anyio.create_task_group() as tasks:
                        for index, request in enumerate(requests):
                            if not isinstance(request, ConfigInvalid):
                                tasks.start_soon(create, index, request, limiter, bus, connection)
                finally:
                    await carried_through(partial(share, connection, facts, ready, few=False))
        except BaseException as error:
            if not retain:
                await _take_all_back(error, [each for each in results.values() if isinstance(each, Cluster)], on_event)
            raise
        return [results[index] for index in range(len(requests))]

    @classmethod
    async def claim(
        cls,
        pool: str = DEFAULT_POOL,
        *,
        wait_s: float = DEFAULT_WAIT_S,
        on_event: Callback | Bus | None = None,
        engine: Engine | str | None = None,
    ) -> Cluster:
        """Take a cluster that is parked in a pool, and return it when its API answers and its nodes are Ready (`wait_s` 0: at once): in about a second.

        It is nobody else's, whoever claims at the same time, in whatever process; its name, keys and port are its own. It is deleted as any other.
        Raises: PoolEmpty; NotReady; StepFailed; EngineError. Cancellation: a cluster that was taken is deleted; so it is for any error.
        """
        from kindasync.cluster import _pool
        from kindasync.cluster._leftovers import cluster_of

        taken = None
        try:
            async with _operation(engine, on_event) as (connection, bus):
                taken = await _pool.take(connection, pool)
                found = await _pool.thaw(connection, bus, taken, wait_s=wait_s)
        except BaseException as error:
            if taken:
                await take_back(error, cluster_of(taken), connection.engine, on_event)
            raise
        return cls._of(connection.engine, cluster_of(taken), found.kubeconfig, found.kubeconfig_path, found.containers)

    @classmethod
    async def fill_pool(
        cls,
        pool: str = DEFAULT_POOL,
        *,
        size: int,
        config: AnyConfig | None = None,
        image: str = "",
        wait_s: float | None = None,
        limit: int | None = None,
        on_event: Callback | Bus | None = None,
        engine: Engine | str | None = None,
    ) -> list[str]:
        """Create clusters and park them, frozen, until there are `size` of them to be claimed; the names of the new ones.

        Shape: `config` and `image` as for `create`, but that names are made up; `wait_s` also until DNS answers; at most `limit` are
        created at the same time (None: twice as many as the Engine's host has processors). A parked cluster takes memory, and no processor.
        Raises: ClusterError for no name of a pool, or if its parked clusters are of another configuration; what `create` raises, when
        those that were being created are removed. Cancellation: the same. What is parked stays.
        """
        from kindasync.cluster import _pool
        from kindasync.docker.system import system_info

        request = _pool.request_of_pool(pool, config, size=size, limit=limit, image=image, wait_s=wait_s)
        parked: list[str] = []

        async def fill(connection: Connection, bus: Bus, limiter: anyio.CapacityLimiter) -> None:
            async with limiter:
                cluster = await cls._create(_pool.another(request), bus, engine)
                try:
                    await _pool.park(connection, bus, pool, cluster.name, cluster.kubeconfig, wait_s=request.wait_s or DEFAULT_WAIT_S)
                except BaseException as error:
                    await take_back(error, cluster.name, cluster.engine, on_event)
                    raise
                parked.append(cluster.name)

        async with _operation(engine, on_event) as (connection, bus):
            lacking = await _pool.lacking(connection, request, size)
            limiter = anyio.CapacityLimiter(limit or _at_once(await system_info(connection)))
            async with anyio.create_task_group() as tasks:
                for _ in range(lacking):
                    tasks.start_soon(fill, connection, bus, limiter)
        return parked

    @staticmethod
    async def pools(*, engine: Engine | str | None = None) -> list[Pool]:
        """All pools of which the Engine has clusters, by name. Raises: EngineError."""
        from kindasync.cluster import _pool

        async with _operation(engine, None) as (connection, _):
            return await _pool.pools(connection)

    @staticmethod
    async def delete_pool(
        pool: str = DEFAULT_POOL, *, on_event: Callback | Bus | None = None, engine: Engine | str | None = None
    ) -> list[str]:
        """Delete the clusters of a pool but for those that are claimed, or being made; their names. Nothing if there are none.

        Raises: LeftBehind with what could not be removed; EngineError. Cancellation: when what was begun is deleted; the same again goes on.
        """
        from kindasync.cluster import _pool
        from kindasync.cluster._leftovers import cluster_of

        deleted: list[str] = []

        async def remove(connection: Connection, bus: Bus, name: str = "") -> None:
            with suppress(PoolEmpty):  # somebody has claimed the last one
                name = name or cluster_of(await _pool.take(connection, pool))
                await carried_through(partial(delete, name, engine=connection.engine, on_event=bus))
                deleted.append(name)

        async with _operation(engine, on_event) as (connection, bus):
            parked, unclaimable = await _pool.removable(connection, pool)
            async with anyio.create_task_group() as tasks:
                for name in (*("" for _ in parked), *unclaimable):
                    tasks.start_soon(remove, connection, bus, name)
        return deleted

    @classmethod
    async def get(cls, name: str, *, engine: Engine | str | None = None) -> Cluster:
        """The handle of a cluster that is there, found in the Engine alone.

        Raises: ClusterNotFound; NodeError if its control plane does not run; EngineError.
        """
        from kindasync.cluster._get import get

        async with _operation_on(name, engine, None) as (connection, _):
            found = await get(connection, name)
            return cls._of(connection.engine, name, found.kubeconfig, found.kubeconfig_path, found.containers)

    @staticmethod
    async def list(*, engine: Engine | str | None = None) -> list[str]:
        """The names of all clusters, those of the kind program included. Raises: EngineError."""
        from kindasync.cluster._lookup import clusters

        async with _operation(engine, None) as (connection, _):
            return [*await clusters(connection)]

    async def delete(self, *, on_event: Callback | Bus | None = None) -> None:
        """Remove all that belongs to the cluster; nothing if it is gone already.

        Raises: LeftBehind with what could not be removed; EngineError. Cancellation: what is left is found by name again.
        """
        await delete(self.name, engine=self.engine, on_event=on_event)

    async def load_image(self, *references: str, nodes: Sequence[str] | None = None, on_event: Callback | Bus | None = None) -> None:
        """Load images that the Engine has into the nodes, or those named, but for nodes that have them already.

        Shape: one export goes to all nodes at once, and nothing of it to a disk of this machine.
        Raises: ClusterNotFound; ClusterError for images or nodes that are not there, before anything is loaded; StepFailed with
        the `.failures` of some nodes, when the others are through; EngineError.
        Cancellation: ends it; a node has all of the images then, or none of those it lacked.
        """
        await load_image(self.name, references, nodes=nodes, engine=self.engine, on_event=on_event)

    async def load_archive(self, path: Path | str, *, nodes: Sequence[str] | None = None, on_event: Callback | Bus | None = None) -> None:
        """Load the images of an archive (docker or OCI layout) into the nodes, or those named.

        Raises: OSError for a file that cannot be read; otherwise, and cancellation, as `load_image`.
        """
        await load_archive(self.name, path, nodes=nodes, engine=self.engine, on_event=on_event)

    async def stop(self, *, on_event: Callback | Bus | None = None) -> None:
        """Stop all nodes, and leave them as they are; nothing for those that do not run.

        Raises: ClusterNotFound; StepFailed with what could not be stopped; EngineError. Cancellation: some are stopped then.
        """
        await stop(self.name, engine=self.engine, on_event=on_event)

    async def start(self, *, wait_s: float = DEFAULT_WAIT_S, on_event: Callback | Bus | None = None) -> None:
        """Start all nodes that do not run, and return when all are Ready again: heard of since their start. `wait_s` 0: at once.

        A `kubeconfig` whose port the Engine picked (apiServerPort -1) is another then: `get` has it.
        Raises: ClusterNotFound; StepFailed with what could not be started; NotReady; ClusterError if nodes got addresses which
        their Kubernetes does not know (networks not of our making); EngineError. Cancellation: some are started then.
        """
        await start(self.name, engine=self.engine, wait_s=wait_s, on_event=on_event)

    async def reset(self, *, on_event: Callback | Bus | None = None) -> None:
        """Make the cluster's API objects again what they were when `create` returned. As `restore`, of the snapshot "created"."""
        from kindasync.cluster._snapshots import CREATED

        await self.restore(CREATED, on_event=on_event)

    async def snapshot(self, name: str) -> Snapshot:
        """Keep all API objects as they are now under a name, for `restore`; a snapshot that had it is replaced, but for "created". They are kept in the cluster's etcd.

        Raises: ClusterNotFound; ClusterError for "created" and what is no name, or if the node image has no program for it; NodeError if no
        control plane runs.
        Cancellation: it may be taken all the same.
        """
        from kindasync.cluster import _snapshots

        async with _operation_on(self.name, self.engine, None) as (connection, _):
            return await _snapshots.take(connection, self.name, name)

    async def restore(self, name: str, *, on_event: Callback | Bus | None = None) -> None:
        """Make the cluster's API objects again what they were in a snapshot, with their UIDs: what was made since is gone, whatever
        finalizers and webhooks say, with the containers of its pods and the data of its volumes; what was changed or deleted is as it was.

        Returns when objects are taken again, all nodes are Ready, and so are pods that had to return. Not undone: images that were loaded, files in nodes,
        data in volumes that the snapshot has. Pods of the snapshot that still run go on.
        Raises: ClusterNotFound; NodeError if no control plane runs; ClusterError if another node does not, if there is no such snapshot, if it
        is of other nodes than there are, or if something goes on changing objects; StepFailed; NotReady. Cancellation: some objects are as they were, others not; the same again goes on.
        """
        from kindasync.cluster import _snapshots

        async with _operation_on(self.name, self.engine, on_event) as (connection, bus):
            await _snapshots.restore(connection, bus, self.name, name)

    async def snapshots(self) -> tuple[Snapshot, ...]:
        """The snapshots that there are, by name. Raises: as `snapshot`."""
        from kindasync.cluster import _snapshots

        async with _operation_on(self.name, self.engine, None) as (connection, _):
            return await _snapshots.list_snapshots(connection, self.name)

    async def delete_snapshot(self, name: str) -> None:
        """Forget a snapshot. Raises: as `snapshot`, also if there is none of that name."""
        from kindasync.cluster import _snapshots

        async with _operation_on(self.name, self.engine, None) as (connection, _):
            await _snapshots.drop(connection, self.name, name)

    async def add_node(
        self,
        role: Role | str | None = None,
        *,
        config: AnyNode | None = None,
        image: str = "",
        wait_s: float = DEFAULT_WAIT_S,
        on_event: Callback | Bus | None = None,
    ) -> Node:
        """Add a node to the cluster, and return it when it is Ready (`wait_s` 0: as soon as kubeadm has joined it).

        Shape: `config` what it is to be beside what was asked of all nodes, an entry of kind's `nodes`, or that and one of
        ClusterExtras', as data or YAML text, or the path of a file of them; `role` wins over its role: "worker", the default, or
        "control-plane" in a cluster that was created with several of them; `image` wins over its image, empty: that of the first
        control plane. The node has the first name that is free, as the kind program would number it. This handle's `nodes`
        are those of when it was made: `get` has the new one, too.
        Raises: ClusterNotFound; NodeError if no control plane runs; ConfigInvalid; ClusterError for another role, or a control plane where there is
        no balancer; ImageUnusable; StepFailed; NotReady; EngineError. Cancellation: the node, and all that was made for it, is removed first; so it is for any error.
        """
        return await add_node(self.name, role=role, config=config, image=image, wait_s=wait_s, engine=self.engine, on_event=on_event)

    async def remove_node(
        self, node: Node | str, *, timeout_s: float = DRAIN_S, force: bool = False, on_event: Callback | Bus | None = None
    ) -> None:
        """Drain a node, and remove it with all that is in it: its etcd member and place behind the balancer first, if it is a control plane.

        Shape: pods are evicted as PodDisruptionBudgets allow, for at most `timeout_s` seconds; those of DaemonSets and static ones
        end with the node. `force`: so do pods that nobody would make again, and those that could not be evicted in time. A node
        that does not run, or whose container is gone already, is not drained; with `force` and `timeout_s` 0 none is. A Warned tells whose
        data goes with the node (local PersistentVolumes).
        Raises: ClusterNotFound; NodeError if no control plane runs; ClusterError for a node that is not there, is the last control plane, or has pods that nobody would
        make again; NotReady with the pods that could not be evicted, and why: the node is as it was, then; StepFailed; EngineError.
        Cancellation: ends it; the same again goes on.
        """
        name = node if isinstance(node, str) else node.name
        await remove_node(self.name, name, timeout_s=timeout_s, force=force, engine=self.engine, on_event=on_event)

    async def export_logs(self, directory: Path | str, *, on_event: Callback | Bus | None = None) -> None:
        """Write the logs of all nodes, running or not, into a directory, laid out as kind does; it is made if it is not there.

        Raises: ClusterNotFound; OSError for a directory that cannot be written; StepFailed with what could not be had, after the
        rest; EngineError. Cancellation: what was written stays.
        """
        await export_logs(self.name, directory, engine=self.engine, on_event=on_event)

    @classmethod
    @asynccontextmanager
    async def running(
        cls,
        config: AnyConfig | None = None,
        *,
        name: str | None = None,
        image: str = "",
        wait_s: float | None = None,
        on_event: Callback | Bus | None = None,
        before_boot: Sequence[Hook] = (),
        retain: bool = False,
        engine: Engine | str | None = None,
    ) -> AsyncIterator[Cluster]:
        """A cluster for as long as the context is open. Shape: as `create`. If the process is killed in it, `gc` finds the cluster, unless `retain`.

        Raises: what `create` raises; LeftBehind, unless the body failed: then that is raised, and what was left is a note of it.
        """
        asked = {"image": image, "wait_s": wait_s, "before_boot": before_boot, "retain": retain}
        cluster = await cls._create(await _request(config, name, on_event, **asked, scoped=True), on_event, engine)
        try:
            yield cluster
        except BaseException as error:
            await take_back(error, cluster.name, cluster.engine)
            raise
        await carried_through(cluster.delete)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[ApiClient]:
        """A kubernetes_asyncio ApiClient for the cluster, with a configuration of its own: `CoreV1Api(api)`, and so on."""
        from kindasync.cluster._client import kubernetes_client

        async with kubernetes_client(self.kubeconfig) as client:
            yield client

    async def apply(self, manifest: Manifest, *, namespace: str = "default", timeout_s: float = API_S) -> Objects:
        """Make or change the objects of a manifest, by server-side apply, and return them as the API server has them, in the same order.

        Shape: `manifest` YAML text, the path of a file or a directory of it, an object, or several; `namespace` that of objects
        which name none. Fields that others manage are taken over (field manager "kindasync", force); unknown ones are refused.
        Namespaces and CustomResourceDefinitions come first, and are usable before the others follow, one by one as they stand.
        Raises: ClusterError for what is no manifest, before anything is applied; StepFailed with the `.failures`, each object
        that was refused and why, when the others are applied; NotReady after `timeout_s` seconds; OSError for a file that cannot be read.
        Cancellation: ends it; some are applied then.
        """
        from kindasync.cluster._apply import apply, read

        objects = read(manifest)
        async with self._api() as api:
            return await apply(api, self.name, objects, namespace=namespace, timeout_s=timeout_s)

    async def wait_for(
        self,
        reference: str,
        condition: str | Predicate,
        *,
        selector: str = "",
        namespace: str | None = "default",
        timeout_s: float = API_S,
    ) -> Objects:
        """Wait until an object, or all of a kind, meet a condition; by a watch. They, their namespace or kind need not be there yet.

        Shape: `reference` "deployment/web", "widgets.example.com/first", by any name of the kind; or "pod", then all that have the
        labels of `selector` ("app=web,tier!=cache") are meant, of which there has to be one. `namespace` None: any.
        `condition`, as kubectl's: "condition=Available" or "condition=Ready=False" (not of an older generation of the object);
        "jsonpath={.status.phase}=Running", or without value: that there is one; "exists"; "delete", until there is none; or a
        function from the object to bool: a LookupError of what is not there yet means no. Returns the objects, by name; none after "delete".
        Raises: ClusterError for what is no reference or condition; KindUnknown for "delete" of a kind that there is not; NotReady after `timeout_s` seconds (0: one look) with how the objects were
        seen last, for pods with why their containers wait, and as `evidence` how the pods of a Deployment and the like are.
        Cancellation: ends it.
        """
        from kindasync.cluster._conditions import parse
        from kindasync.cluster._discovery import Reference
        from kindasync.cluster._wait_for import wait_for

        awaited = Reference.parse(reference, namespace=namespace, selector=selector)
        met = parse(condition)
        async with self._api() as api:
            return await wait_for(api, awaited, met, timeout_s=timeout_s)

    async def events(self, *, namespace: str | None = None) -> AsyncGenerator[dict[str, Any], None]:
        """The cluster's Kubernetes Events, by a watch: `async for event in cluster.events()`. What kindasync does is told to `on_event` instead.

        Shape: objects of core/v1 ("type", "reason", "message", "involvedObject", …): those of the last hour, oldest first, then each
        that is new or has happened again, without end: while no API server answers, as of a cluster that is stopped, none comes. `namespace` None: of all.
        Cancellation, or closing the iterator: ends the watch. Who breaks off closes it by `contextlib.aclosing(cluster.events())`.
        """
        from kindasync.cluster._kubernetes_events import kubernetes_events

        async with self._api() as api, aclosing(kubernetes_events(api, namespace)) as events:
            async for event in events:
                yield event

    def env(self) -> dict[str, str]:
        """What other programs need in their environment to use the cluster: `{**os.environ, **cluster.env()}` for subprocesses.

        Shape: KUBECONFIG, a file of this user alone (0600), which is written anew if it was removed, be it with the cluster; KIND_CLUSTER_NAME; and where
        the environment names another Engine, or none, DOCKER_HOST (with TLS also DOCKER_TLS_VERIFY and DOCKER_CERT_PATH).
        Raises: ClusterError if the file cannot be written.
        """
        from kindasync.cluster import _state
        from kindasync.cluster._env import env_for

        if not self.kubeconfig_path.exists():
            _state.write_kubeconfig(self.kubeconfig_path.parent, self.kubeconfig)
        return env_for(self.name, self.kubeconfig_path, self.engine)

    async def exec(
        self,
        reference: str,
        argv: Sequence[str],
        *,
        container: str = "",
        namespace: str = "default",
        stdin: bytes | AsyncIterator[bytes] | None = None,
        check: bool = True,
    ) -> ExecResult:
        """Run a program (no shell) in a pod to its end, through the API server. For programs in nodes: `Node.exec`.

        Shape: `reference` "pod/web", or "deployment/web" and the like for one of its pods; `container` empty: as kubectl, the
        annotated one, else the first.
        Raises: ExecFailed for another exit code than 0, unless `check` is False; ClusterError for what is no reference, has no pod
        that runs, or for a pod, container or program that is not there; TypeError for an `argv` that is a text; NotReady if no API server answers for a minute.
        Cancellation: ends the waiting; the program may run on. There is no other end if the program leaves more than some 100 kB of
        its `stdin` unread: as with kubectl, no node tells then that it has ended. `anyio.fail_after` sets one.
        """
        from kindasync.cluster._discovery import Reference
        from kindasync.cluster._pod_exec import pod_exec

        target = Reference.parse(reference, namespace=namespace)
        async with self._api() as api:
            return await pod_exec(api, target, argv, container=container, stdin=stdin, check=check)

    @asynccontextmanager
    async def port_forward(
        self,
        reference: str,
        port: int | str,
        *,
        namespace: str = "default",
        local_port: int = 0,
        on_event: Callback | Bus | None = None,
    ) -> AsyncIterator[Address]:
        """A port of a pod, for as long as the context is open, on this machine's loopback, through the API server: the text "127.0.0.1:PORT", with `.host` and `.port`.

        Shape: `reference` "pod/web"; or "service/web", "deployment/web" and the like, then each connection goes to a pod that is
        Ready when it comes. `port` a number or name; of a Service one of its own, whichever port of the pods that is.
        `local_port` that of this machine; 0: any that is free.
        Any number of connections at once. One that fails is reset, and why is told by a Warned to `on_event`. No runtime tells a pod
        that its client has ended one direction: what it still sends arrives, until it ends the connection, or is silent for 10 s.
        The context may be entered in one task, and left in another.
        Raises: ClusterError for what is no reference, is not there, or has no such port or no pod that runs; or if `local_port` is taken;
        NotReady if no API server answers for a minute.
        Cancellation, or leaving the context: all connections are closed, and nothing listens any more.
        """
        from kindasync.cluster._discovery import Reference
        from kindasync.cluster._port_forward import port_forward

        target = Reference.parse(reference, namespace=namespace)
        async with port_forward(self._api, self.name, target, port, on_event, local_port=local_port) as address:
            yield address

    @asynccontextmanager
    async def _api(self) -> AsyncIterator[ClusterApi]:
        from kindasync.cluster._api import ClusterApi, api_client

        with one_error():
            async with api_client(self.kubeconfig) as session:
                yield ClusterApi(session)

    @classmethod
    def _of(cls, engine: Engine, name: str, kubeconfig: Mapping[str, Any], path: Path, containers: Sequence[Container]) -> Cluster:
        return cls(name=name, engine=engine, kubeconfig=dict(kubeconfig), kubeconfig_path=path, nodes=nodes_of(engine, name, containers))


def nodes_of(engine: Engine, name: str, containers: Iterable[Container]) -> tuple[Node, ...]:
    """The handles of a cluster's nodes, of its containers."""
    from kindasync.cluster._lookup import role_of
    from kindasync.cluster._node_readiness import ApiReadiness
    from kindasync.node import Node

    roles = ((container, role_of(container)) for container in containers)
    return tuple(
        Node(engine=engine, cluster=name, name=container.name, id=container.id, role=role, readiness=ApiReadiness())
        for container, role in roles
        if role in (Role.CONTROL_PLANE, Role.WORKER)
    )


async def delete(name: str, *, engine: Engine | str | None = None, on_event: Callback | Bus | None = None) -> None:
    """Remove all that belongs to the cluster of that name, running or not; nothing if there is none.

    Raises: LeftBehind with what could not be removed; ClusterError for a name that none can have; EngineError.
    """
    from kindasync.cluster._delete import delete_cluster

    _check_name(name, ClusterError)
    async with _operation(engine, on_event) as (connection, bus):
        left = await delete_cluster(connection, name, bus)
    if left:
        raise LeftBehind(f'cluster "{name}" could not be deleted whole', [each.what for each in left], why="\n".join(map(str, left)))


async def gc(
    *,
    older_than_s: float | None = None,
    dry_run: bool = False,
    engine: Engine | str | None = None,
    on_event: Callback | Bus | None = None,
) -> list[Leftover]:
    """Remove what crashed runs have left in the Engine, and of this user on this machine; what that is, or would be with `dry_run`.

    A leftover is of a run whose process has ended, and had not finished: killed while it created a cluster or added a node, or
    inside `running`; or of a run of pytest that was killed. Where that cannot be told from here, as of processes of other hosts and of containers, it is of one
    that is older than `older_than_s` seconds (None: never). What finished, lives, was kept by `retain`, or was made by
    the kind program is left alone. A node that was being added is taken out of its cluster as by `remove_node`, with force.
    Raises: LeftBehind with what could not be removed; EngineError. Cancellation: ends it; the same again goes on.
    """
    from kindasync.cluster import _gc

    async with _operation(engine, on_event) as (connection, bus):
        garbage = await _gc.find(connection, older_than_s=older_than_s)
        left = [] if dry_run else await _gc.remove(connection, garbage, bus)
    if left:
        raise LeftBehind(
            "not all that crashed runs have left could be removed", [each.what for each in left], why="\n".join(map(str, left))
        )
    return [*garbage.leftovers]


async def load_image(
    name: str,
    references: Sequence[str],
    *,
    nodes: Sequence[str] | None = None,
    engine: Engine | str | None = None,
    on_event: Callback | Bus | None = None,
) -> None:
    """As `Cluster.load_image`, by the cluster's name."""
    from kindasync.cluster._load import load_images

    async with _operation_on(name, engine, on_event) as (connection, bus):
        await load_images(connection, bus, name, references, nodes)


async def load_archive(
    name: str,
    path: Path | str,
    *,
    nodes: Sequence[str] | None = None,
    engine: Engine | str | None = None,
    on_event: Callback | Bus | None = None,
) -> None:
    """As `Cluster.load_archive`, by the cluster's name."""
    from kindasync.cluster import _load

    async with _operation_on(name, engine, on_event) as (connection, bus):
        await _load.load_archive(connection, bus, name, Path(path), nodes)


async def stop(name: str, *, engine: Engine | str | None = None, on_event: Callback | Bus | None = None) -> None:
    """Stop the nodes of the cluster of that name. Raises: as `Cluster.stop`."""
    from kindasync.cluster._stop import stop_cluster

    async with _operation_on(name, engine, on_event) as (connection, bus):
        await stop_cluster(connection, name, bus)


async def start(
    name: str, *, engine: Engine | str | None = None, wait_s: float = DEFAULT_WAIT_S, on_event: Callback | Bus | None = None
) -> None:
    """Start the nodes of the cluster of that name, and wait until it is ready. Raises: as `Cluster.start`."""
    from kindasync.cluster._stop import start_cluster

    async with _operation_on(name, engine, on_event) as (connection, bus):
        await start_cluster(connection, name, bus, wait_s=wait_s)


async def add_node(
    name: str,
    *,
    role: Role | str | None = None,
    config: AnyNode | None = None,
    image: str = "",
    wait_s: float = DEFAULT_WAIT_S,
    engine: Engine | str | None = None,
    on_event: Callback | Bus | None = None,
) -> Node:
    """As `Cluster.add_node`, by the cluster's name."""
    from kindasync.cluster import _add
    from kindasync.cluster._node_readiness import ApiReadiness
    from kindasync.config._decode import load_node
    from kindasync.node import Node

    if role not in (None, Role.WORKER, Role.CONTROL_PLANE):
        raise ClusterError(f'there is no node of role "{role}"', hint=f'it is "{Role.WORKER}" or "{Role.CONTROL_PLANE}"')
    wanted = load_node({} if config is None else config, "" if role is None else Role(role).value)
    node = None
    try:
        async with _operation_on(name, engine, on_event) as (connection, bus):
            container = await _add.add_node(connection, bus, name, wanted, image=image, wait_s=wait_s)
            node = Node(
                engine=connection.engine,
                cluster=name,
                name=container.name,
                id=container.id,
                role=wanted.nodes[0].role,
                readiness=ApiReadiness(),
            )
    except BaseException as error:
        if node:  # cancelled by the last event, or its listener failed: whoever gets an error has no node
            await carried_through(partial(_take_node_back, error, node))
        raise
    return node


async def _take_node_back(error: BaseException, node: Node) -> None:
    """Remove a node because of `error`; what keeps it there becomes a note of it."""
    with anyio.move_on_after(TAKE_BACK_S):
        try:
            await remove_node(node.cluster, node.name, timeout_s=0, force=True, engine=node.engine)
            return
        except KindasyncError as failure:
            error.add_note(f"left behind: {failure}")
    error.add_note(f"node {node.name} stays: kindasync remove node {node.name} --name {node.cluster}")


async def remove_node(
    name: str,
    node: str,
    *,
    timeout_s: float = DRAIN_S,
    force: bool = False,
    engine: Engine | str | None = None,
    on_event: Callback | Bus | None = None,
) -> None:
    """As `Cluster.remove_node`, by the cluster's name."""
    from kindasync.cluster import _remove

    async with _operation_on(name, engine, on_event) as (connection, bus):
        await _remove.remove_node(connection, bus, name, node, timeout_s=timeout_s, force=force)


async def export_logs(
    name: str, directory: Path | str, *, engine: Engine | str | None = None, on_event: Callback | Bus | None = None
) -> None:
    """As `Cluster.export_logs`, by the cluster's name."""
    from kindasync.cluster import _logs

    async with _operation_on(name, engine, on_event) as (connection, bus):
        await _logs.export_logs(connection, bus, name, Path(directory))


async def take_back(error: BaseException, name: str, engine: Engine, on_event: Callback | Bus | None = None) -> None:
    """Delete a cluster because of `error`, whoever cancels, in at most TAKE_BACK_S; what stays becomes a note of it. It is told, unless the listener may have failed."""
    listener = None if isinstance(error, Exception) else on_event

    async def work() -> None:
        with anyio.move_on_after(TAKE_BACK_S) as scope:
            try:
                await delete(name, engine=engine, on_event=listener)
            except KindasyncError as failure:
                error.add_note(f"left behind: {failure}")
        if scope.cancelled_caught:
            error.add_note(f"deleting it took longer than {TAKE_BACK_S:g} s: kindasync delete cluster --name {name}")

    await carried_through(work)


async def _take_all_back(error: BaseException, clusters: Sequence[Cluster], on_event: Callback | Bus | None) -> None:
    """As `take_back`, all at once."""

    async def work() -> None:
        async with anyio.create_task_group() as tasks:
            for cluster in clusters:
                tasks.start_soon(take_back, error, cluster.name, cluster.engine, on_event)

    await carried_through(work)


async def _request(config: AnyConfig | None, name: str | None, on_event: Callback | Bus | None, **asked: Any) -> Request:
    """As `request_of`; that there can be none is an event, too."""
    try:
        return request_of(config, name, **asked)
    except (ConfigInvalid, OSError) as error:
        async with delivering(Bus(), on_event) as bus:
            bus.emit(StepFailed(cluster=name if isinstance(name, str) else "", step="read the configuration", error=str(error)))
        raise


def _at_once(facts: EngineFacts) -> int:
    """How many clusters are created at the same time, if nobody says."""
    return max(1, AT_ONCE_PER_CPU * facts.cpus)


@asynccontextmanager
async def _operation(engine: Engine | str | None, on_event: Callback | Bus | None) -> AsyncIterator[tuple[Connection, Bus]]:
    """The connection and the bus of one public operation. Errors leave it as one error."""
    with one_error():
        async with delivering(Bus(), on_event) as bus, AsyncExitStack() as stack:
            try:
                connection = await stack.enter_async_context(Engine.of(engine).connect())
            except EngineError as error:
                bus.emit(StepFailed(step="connect to the Engine", error=str(error)))
                raise
            yield connection, bus


@asynccontextmanager
async def _operation_on(name: str, engine: Engine | str | None, on_event: Callback | Bus | None) -> AsyncIterator[tuple[Connection, Bus]]:
    """As `_operation`, of one that has to be there. Raises: ClusterNotFound for what is no name."""
    _check_name(name, ClusterNotFound)
    async with _operation(engine, on_event) as both:
        yield both


def _check_name(name: str, kind: type[ClusterError]) -> None:
    """Refuse what can be no name. An empty one would be a filter that some Engines take for "any"."""
    if not POSSIBLE_NAME.fullmatch(name):
        why = "a name has lower-case letters, digits, dots and dashes only, and begins with a letter or digit" if name else "it is empty"
        raise kind(f'there can be no cluster "{name}"', why=why, hint="kindasync get clusters says which there are")
