"""Create: from a configuration to a ready cluster, or to nothing left. See design.md section 4."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import anyio

from kindasync import events
from kindasync._shielded import carried_through
from kindasync.cluster import _state
from kindasync.cluster._assembly import Assembly, Registry
from kindasync.cluster._claim import already_exists, start_balancer, start_node
from kindasync.cluster._delete import forget, kubeconfig_dirs, remove_run
from kindasync.cluster._doctor import diagnose
from kindasync.cluster._facts import plan_facts, private_dir, shares_files
from kindasync.cluster._get import Found
from kindasync.cluster._images import node_image
from kindasync.cluster._join import join_node
from kindasync.cluster._limits import beyond_host
from kindasync.cluster._lookup import api_server, members
from kindasync.cluster._marks import Mark, put_marks
from kindasync.cluster._names import RUN_LABEL
from kindasync.cluster._network import network_name, network_of
from kindasync.cluster._provision import living, provision_first
from kindasync.cluster._registry import start_registry
from kindasync.cluster._run import Request, Run
from kindasync.cluster.plan import Facts, Plan
from kindasync.config import ClusterConfig
from kindasync.config._address import overlap
from kindasync.docker import Connection
from kindasync.docker.containers import Container, container_list
from kindasync.docker.system import EngineFacts, system_info
from kindasync.errors import AlreadyExists, ClusterError, ConfigInvalid, EngineError, KindasyncError, one_error
from kindasync.events import Bus
from kindasync.node._contract import Contract

ROLLBACK_S = 90.0
# What the kind program reads from its environment, and what there is here in its place.
_OF_KIND_ALONE = {
    "KIND_EXPERIMENTAL_PROVIDER": "DOCKER_HOST, or a docker context, says which Engine it is",
    "KIND_EXPERIMENTAL_CONTAINERD_SNAPSHOTTER": "containerdConfigPatches can name a snapshotter",
}


async def create(connection: Connection, request: Request, bus: Bus) -> Found:
    """Create a cluster.

    Raises: AlreadyExists; ImageUnusable; StepFailed with the failures of nodes; NotReady; EngineError. Then, and when
    cancelled, all that was made is removed first, unless `retain`; what could not be is named in a note of the error. What is
    wrong with the Engine's host, where that may be why, is its evidence, too.
    """
    run = Run(connection=connection, bus=bus, request=request, network=request.config.extras.network.name or network_name())
    undo = _Undo(run)
    try:
        return await _create(run, undo)
    except BaseException as error:
        if not isinstance(error, Exception):
            run.emit(events.Interrupted)
        if isinstance(error, KindasyncError):
            await carried_through(partial(diagnose, connection, error))  # as the host is now, with all that was made
        await carried_through(partial(undo, error))
        raise


async def _create(run: Run, undo: _Undo) -> Found:
    with one_error():
        with run.step("claim the name"):
            if await members(run.connection, run.cluster):
                raise already_exists(run.cluster)
        with run.step("find the node image"):
            engine = await system_info(run.connection)
            if problems := [*beyond_host(run.request.config, engine)]:
                raise ConfigInvalid(problems)
            config, contracts = await _images(run, engine)
        undo.engine_id = engine.engine_id
        with run.step("make the network"):
            network = await network_of(run.connection, run.network, run.bus, run.cluster, config)
        with run.step("plan the nodes"):
            facts = await plan_facts(run, engine, network, {image: contract.pauses for image, contract in contracts.items()})
            directory = private_dir(engine.engine_id, run.cluster)
            facts = replace(facts, kubeconfig_dir=str(directory) if await shares_files(run.connection, directory) else "")
        _warn_of_host(run, shares_files=bool(facts.kubeconfig_dir))
        plan, container, facts = await start_node(run, config, facts, 0)
        _warn(run, plan)
        kubeconfig = await _assemble(run, plan, container, config, facts, contracts)
    with run.step("write the kubeconfig"):
        path = _state.write_kubeconfig(private_dir(engine.engine_id, run.cluster), dict(kubeconfig))
    containers = await members(run.connection, run.cluster)
    if not run.request.scoped:
        await put_marks(run.connection, run.cluster, containers, Mark.FINISHED)
    if run.request.wait_s > 0:
        run.emit(events.ClusterReady, since=0.0)
    return Found(kubeconfig=kubeconfig, kubeconfig_path=path, containers=containers)


async def _assemble(
    run: Run, plan: Plan, container: Container, config: ClusterConfig, facts: Facts, contracts: Mapping[str, Contract]
) -> Mapping[str, Any]:
    """Make the cluster of a plan whose first control plane has been started, all nodes at once; the administrator's kubeconfig."""
    # Those whose nodes pause can be given all that they need before anything runs.
    at_once = len(plan.control_planes) > 1 and all(contracts[node.image].pauses for node in plan.control_planes)
    assembly = Assembly(
        (node.name for node in plan.nodes[1:]),
        founders=(node.name for node in plan.control_planes if at_once),
        registry=None if plan.registry else Registry(),
    )

    async def balance() -> None:
        assembly.balancer.set(await start_balancer(run, config, facts))

    async def serve_images() -> None:
        assembly.registry.set(await start_registry(run, config, facts))

    async with anyio.create_task_group() as others:
        if plan.registry:
            others.start_soon(serve_images)
        if plan.balancer:
            others.start_soon(balance)
        for index, node in enumerate(plan.nodes[1:], 1):
            others.start_soon(join_node, run, config, facts, index, contracts[node.image], assembly)
        async with living(run, container) as console:
            first = await provision_first(run, plan, container, console, contracts[plan.first.image], facts.engine, assembly)
            from kindasync.cluster._control_plane import bring_up

            published = await assembly.balancer.get() if plan.balancer else container
            kubeconfig = await bring_up(run, plan, first, facts.engine, api_server((published,), run.cluster, facts.engine), assembly)
        assembly.finished.set(None)
    return kubeconfig


async def _images(run: Run, engine: EngineFacts) -> tuple[ClusterConfig, dict[str, Contract]]:
    """The configuration with the image that each node gets, and how those images boot."""
    config, override = run.request.config, run.request.image
    contracts: dict[str, Contract] = {}
    nodes = []
    for node in config.nodes:
        image = await node_image(run.connection, engine, override or node.image, run.bus, run.cluster)
        contracts[image.reference] = image.contract
        nodes.append(replace(node, image=image.reference))
    if run.request.before_boot and not all(contract.pauses for contract in contracts.values()):
        raise ClusterError(
            "before_boot hooks, of which preload is one, cannot run in these nodes",
            why="their image does not pause before it boots",
            hint="use an image of kindasync's own: kindasync build node-image makes one",
        )
    return replace(config, nodes=tuple(nodes)), contracts


def _warn_of_host(run: Run, *, shares_files: bool) -> None:
    """Say what of this machine has no effect, or another one than it may seem."""
    for variable, instead in _OF_KIND_ALONE.items():
        if os.environ.get(variable, "docker") != "docker":
            run.emit(events.Warned, message=f"{variable}={os.environ[variable]} has no effect: {instead}")
    paths = {mount.host_path: None for node in run.request.config.nodes for mount in node.extra_mounts}
    for path in filter(_is_missing, paths if shares_files else ()):
        run.emit(
            events.Warned, message=f"{path}, which extraMounts name, is not there: the Engine makes an empty directory, if it has none"
        )


def _is_missing(path: str) -> bool:
    try:
        Path(path).stat()
    except FileNotFoundError:
        return True
    except OSError:  # it cannot be seen from here
        pass
    return False


def _warn(run: Run, plan: Plan) -> None:
    """Say what was asked for, or cannot be helped, and may surprise."""
    if run.request.config.networking.disable_default_cni:
        run.emit(
            events.Warned, message="without the default CNI nodes become Ready, and pods run, once you have installed another pod network"
        )
    networking = run.request.config.networking
    for pods in networking.pod_subnets:
        for services in networking.service_subnets:
            if overlap(ip_network(pods, strict=False), services):
                run.emit(events.Warned, message=f"podSubnet {pods} and serviceSubnet {services} overlap: a pod may get a Service's address")
    port = plan.api_port
    if not (port.host_ip == "localhost" or ip_address(port.host_ip or "0.0.0.0").is_loopback):
        address = f"[{port.host_ip}]" if ":" in port.host_ip else port.host_ip
        where = f"{address}:{port.host_port}" if port.host_port else address  # 0: the Engine picks one
        run.emit(
            events.Warned,
            node=plan.first.name,
            message=f"the API server is published on {where}: whoever reaches that can talk to it",
        )


class _Undo:
    """Takes back what a run has made, when it fails."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self.engine_id = ""

    async def __call__(self, error: BaseException) -> None:
        """Take back, in at most ROLLBACK_S; what cannot be becomes notes of `error`."""
        run = self._run
        if not self.engine_id:
            return  # nothing was made
        with anyio.move_on_after(ROLLBACK_S) as scope:
            if not await self._retains(error):
                await self._roll_back(error)
        if scope.cancelled_caught:
            error.add_note(
                f"removing what was made took longer than {ROLLBACK_S:g} s: see docker ps -a --filter label={RUN_LABEL}={run.id}"
            )

    async def _retains(self, error: BaseException) -> bool:
        """Keep the nodes, where that was asked for and there are some; it is said how to look at them."""
        run = self._run
        if not run.request.retain or isinstance(error, AlreadyExists):
            return False
        with suppress(EngineError):
            if not await container_list(run.connection, labels={RUN_LABEL: run.id}):
                return False
        text = f"retained: docker exec into the nodes of cluster {run.cluster}, then kindasync delete cluster --name {run.cluster}"
        error.add_note(text)
        run.emit(events.Warned, message=text)
        return True

    async def _roll_back(self, error: BaseException) -> None:
        run = self._run
        began = run.bus.elapsed_s()
        left = await remove_run(run.connection, run.id, run.network, bus=run.bus, cluster=run.cluster)
        with suppress(EngineError):  # then the directory stays, for `delete` to remove
            directory = private_dir(self.engine_id, run.cluster)
            others = await members(run.connection, run.cluster)  # who has the name; what is in the directory is theirs
            if not left and not others:
                left += forget(directory, bus=run.bus, cluster=run.cluster)
            elif directory not in kubeconfig_dirs(others, run.cluster):
                _state.remove_empty(directory)
        for each in left:
            error.add_note(f"left behind: {each}")
        if left:
            error.add_note("kindasync gc removes what was left behind, when this process has ended")
        run.emit(events.RolledBack, since=began, left_behind=tuple(each.what for each in left))
