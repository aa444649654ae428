"""Claim: the container of the first control plane. Its name is the lock: who gets it makes the cluster."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from kindasync import events
from kindasync.cluster import _state
from kindasync.cluster._lookup import members
from kindasync.cluster._names import RUN_LABEL
from kindasync.cluster._network import ensure_network, fixable_subnet
from kindasync.cluster._run import Run
from kindasync.cluster.plan import Facts, NodePlan, Plan, plan
from kindasync.config import PICKED_BY_KINDASYNC, ClusterConfig
from kindasync.docker._hints import Refusal, refusal_of
from kindasync.docker.archives import path_stat
from kindasync.docker.containers import Container, PortBinding, container_create, container_inspect, container_remove, container_start
from kindasync.docker.system import EngineFacts
from kindasync.errors import AlreadyExists, ApiError, Conflict, ImageUnusable, NotFound
from kindasync.node._contract import VERSION_FILE
from kindasync.node._kubeadm import API_PORT
from kindasync.node._spec import MODULES, container_spec

ATTEMPTS = 8  # when others take, between plan and start, the ports or addresses we chose


def already_exists(cluster: str) -> AlreadyExists:
    """The error for a name that is taken."""
    return AlreadyExists(
        f'cluster "{cluster}" exists already, or is being made',
        why=f"the Engine has nodes of a cluster named {cluster}",
        hint=f"choose another name, or delete it: kindasync delete cluster --name {cluster}",
    )


async def claim(run: Run, config: ClusterConfig, facts: Facts) -> tuple[Plan, Container]:
    """Create and start the first control plane; the plan that it is part of, and its container.

    Ports, addresses and the network may be taken, or gone, between plan and start: then another plan is made.
    Raises: AlreadyExists; ImageUnusable before anything of the image is started; StepFailed.
    """
    binds_modules = True
    for attempt in range(ATTEMPTS):
        with run.step("plan the nodes"):
            plan_ = plan(config, replace(facts, attempt=attempt))
        node = plan_.first
        with run.step(f"create node {node.name}", node=node.name) as began:
            if facts.kubeconfig_dir:
                _state.make_private(Path(facts.kubeconfig_dir))  # before the Engine makes it, for all to read
            try:
                container_id = await _create(run, node, facts.engine, binds_modules=binds_modules)
            except ApiError as error:
                if not (binds_modules and refusal_of(error.message) is Refusal.MOUNT_SOURCE_MISSING and MODULES in error.message):
                    raise
                # A host whose kernel has everything built in: there is nothing to mount.
                binds_modules = False
                container_id = await _create(run, node, facts.engine, binds_modules=False)
            run.emit(events.ContainerCreated, node=node.name, since=began, image=node.image, address=node.address)
            if any(other.labels.get(RUN_LABEL) != run.id for other in await members(run.connection, run.cluster)):
                raise already_exists(run.cluster)  # of nodes that were renamed, or outlived their control plane
            await _verify_image(run, container_id, node)
        with run.step(f"start node {node.name}", node=node.name) as began:
            try:
                await container_start(run.connection, container_id, subject=f"container {node.name}")
            except ApiError as error:
                if attempt + 1 == ATTEMPTS or not can_move(error, plan_, config):
                    raise
                await container_remove(run.connection, container_id)
                if isinstance(error, NotFound):
                    facts = replace(facts, subnet=fixable_subnet(await ensure_network(run.connection, run.network, run.bus, run.cluster)))
                continue
            run.emit(events.NodeStarted, node=node.name, since=began)
            return plan_, await container_inspect(run.connection, container_id)
    raise AssertionError("the last attempt returns or raises")


async def _create(run: Run, node: NodePlan, engine: EngineFacts, *, binds_modules: bool) -> str:
    spec = container_spec(replace(node.spec, binds_modules=binds_modules), engine, working_dir=Path.cwd())
    try:
        return await container_create(run.connection, node.name, spec)
    except Conflict as error:
        if await members(run.connection, run.cluster):
            raise already_exists(run.cluster) from error
        raise AlreadyExists(
            f'cannot create cluster "{run.cluster}": something else has the name of its first node',
            why=error.message,
            hint=f"choose another name, or remove that container: docker rm --force {node.name}",
        ) from error
    except ApiError as error:
        if refusal_of(error.message) is Refusal.NO_COMMAND:
            raise _no_node_image(node, "there is nothing in it to start") from error
        raise


async def _verify_image(run: Run, container_id: str, node: NodePlan) -> None:
    """An image without our label counts as a kind image if it says its Kubernetes version; else nothing of it is started."""
    try:
        await path_stat(run.connection, container_id, VERSION_FILE)
    except NotFound as error:
        raise _no_node_image(node, f"it has no file {VERSION_FILE}") from error


def _no_node_image(node: NodePlan, why: str) -> ImageUnusable:
    return ImageUnusable(
        f'"{node.image}" is not a node image',
        why=why,
        hint="use an image made for kindasync or kind: kindasync build node-image makes one",
    )


def can_move(error: ApiError, plan_: Plan, config: ClusterConfig) -> bool:
    """Whether another plan may go around this refusal to start: what clashed was chosen by us."""
    refusal = refusal_of(error.message)
    if refusal is Refusal.PORT_TAKEN:
        clashing = [port for port in plan_.first.spec.ports if str(port.host_port) in error.message] or plan_.first.spec.ports
        return any(_is_ours(port, config) for port in clashing)
    if refusal is Refusal.ADDRESS_TAKEN:
        return bool(plan_.first.address)
    return isinstance(error, NotFound) and "network" in error.message.lower()  # its last user left a moment ago


def _is_ours(port: PortBinding, config: ClusterConfig) -> bool:
    """Whether a port of the first control plane was chosen by us."""
    if port.container_port == API_PORT:
        return config.networking.api_server_port == PICKED_BY_KINDASYNC or config.control_planes > 1
    return any(
        mapping.container_port == port.container_port and mapping.host_port == PICKED_BY_KINDASYNC
        for node in config.nodes
        for mapping in node.extra_port_mappings
    )
