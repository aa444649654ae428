"""Claim: containers of a cluster, created and started. The name of the first control plane's is the lock: who gets it makes the cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from kindasync import events
from kindasync.cluster import _state
from kindasync.cluster._lookup import members
from kindasync.cluster._names import RUN_LABEL
from kindasync.cluster._network import fixable_subnets, network_of
from kindasync.cluster._run import Run
from kindasync.cluster.plan import Facts, NodePlan, Plan, asked_ports, plan
from kindasync.config import ClusterConfig
from kindasync.docker._hints import Refusal, refusal_of
from kindasync.docker.archives import path_stat, put_archive
from kindasync.docker.containers import Container, PortBinding, container_create, container_inspect, container_remove, container_start
from kindasync.docker.system import EngineFacts
from kindasync.errors import AlreadyExists, ApiError, Conflict, ImageUnusable, NotFound
from kindasync.node._balancer import CONFIG_PATH as BALANCER_CONFIG
from kindasync.node._balancer import balancer_spec
from kindasync.node._balancer import config as balancer_config
from kindasync.node._contract import VERSION_FILE
from kindasync.node._files import tar_of
from kindasync.node._spec import CLUSTER_LABEL, MODULES, container_spec

ATTEMPTS = 8  # when others take, between plan and start, the ports or addresses we chose


def already_exists(cluster: str) -> AlreadyExists:
    """The error for a name that is taken."""
    return AlreadyExists(
        f'cluster "{cluster}" exists already, or is being made',
        why=f"the Engine has nodes of a cluster named {cluster}",
        hint=f"choose another name, or delete it: kindasync delete cluster --name {cluster}",
    )


async def start_node(run: Run, config: ClusterConfig, facts: Facts, index: int) -> tuple[Plan, Container, Facts]:
    """Create and start the node number `index`; the plan that it is part of, its container, and the facts as they turned out. Number 0 claims the cluster's name.

    Ports, addresses and the network may be taken, or gone, between plan and start: then another plan is made.
    Raises: AlreadyExists; ImageUnusable before anything of the image is started; StepFailed.
    """
    for attempt in range(ATTEMPTS):
        facts = replace(facts, attempt=attempt)
        with run.step("plan the nodes"):
            plan_ = plan(config, facts)
        node = plan_.nodes[index]
        with run.step(f"create node {node.name}", node=node.name) as began:
            if facts.kubeconfig_dir and not facts.existing:
                _state.make_private(Path(facts.kubeconfig_dir))  # before the Engine makes it, for all to read
            try:
                container_id = await _create(run, node, facts.engine)
            except Conflict as error:
                if not facts.existing or attempt + 1 == ATTEMPTS:
                    raise await _name_taken(run, node, error) from error
                # Another process has added a node meanwhile; or it is no node, but has the name.
                facts = replace(facts, existing=replace(facts.existing, names=facts.existing.names | {node.name}))
                continue
            run.emit(events.ContainerCreated, node=node.name, since=began, image=node.image, address=node.address)
            if index == 0 and not facts.existing and await _has_others(run):
                raise already_exists(run.cluster)  # of nodes that were renamed, or outlived their control plane
            await _verify_image(run, container_id, node)
        with run.step(f"start node {node.name}", node=node.name) as began:
            others = await start(run, container_id, node.name, node.spec.ports, config, facts)
            if not others:
                run.emit(events.NodeStarted, node=node.name, since=began)
                return plan_, await container_inspect(run.connection, container_id), facts
            facts = others
    raise AssertionError("the last attempt returns or raises")


async def start_balancer(run: Run, config: ClusterConfig, facts: Facts) -> Container:
    """Create and start the balancer before the control planes of a plan. Raises: StepFailed."""
    for attempt in range(ATTEMPTS):
        facts = replace(facts, attempt=attempt)
        plan_ = plan(config, facts)
        balancer = plan_.balancer
        assert balancer is not None
        with run.step(f"start balancer {balancer.name}", node=balancer.name) as began:
            spec = balancer_spec(
                name=balancer.name,
                image=balancer.image,
                labels=balancer.labels,
                network=run.network,
                ipv4_address=balancer.ipv4_address,
                ipv6_address=balancer.ipv6_address,
                ipv6=6 in plan_.ip_versions,
                port=balancer.port,
            )
            container_id = await container_create(run.connection, balancer.name, spec)
            ipv6 = any(":" in subnet for subnet in facts.network_subnets)
            files = {BALANCER_CONFIG: balancer_config([node.name for node in plan_.control_planes], ipv6=ipv6)}
            await put_archive(run.connection, container_id, "/", tar_of(files))
            others = await start(run, container_id, balancer.name, (balancer.port,), config, facts)
            if not others:
                run.emit(events.NodeStarted, node=balancer.name, since=began)
                return await container_inspect(run.connection, container_id)
            facts = others
    raise AssertionError("the last attempt returns or raises")


async def start(run: Run, container_id: str, name: str, ports: Sequence[PortBinding], config: ClusterConfig, facts: Facts) -> Facts | None:
    """Start a container. If what clashes was chosen by us, it is removed instead, and what is returned are the facts for another plan."""
    try:
        await container_start(run.connection, container_id, subject=f"container {name}")
    except ApiError as error:
        if facts.attempt + 1 == ATTEMPTS or not can_move(error, ports, config, fixes_addresses=bool(facts.subnets)):
            raise
        await container_remove(run.connection, container_id)
        if isinstance(error, NotFound):
            network = await network_of(run.connection, run.network, run.bus, run.cluster, config)
            return replace(facts, subnets=fixable_subnets(network), network_subnets=network.cidrs)
        return facts
    return None


async def _create(run: Run, node: NodePlan, engine: EngineFacts, *, binds_modules: bool = True) -> str:
    spec = container_spec(replace(node.spec, binds_modules=binds_modules), engine, working_dir=Path.cwd())
    try:
        return await container_create(run.connection, node.name, spec)
    except ApiError as error:
        refusal = refusal_of(error.message)
        if binds_modules and refusal is Refusal.MOUNT_SOURCE_MISSING and MODULES in error.message:
            # A host whose kernel has everything built in: there is nothing to mount.
            return await _create(run, node, engine, binds_modules=False)
        if refusal is Refusal.NO_COMMAND:
            raise _no_node_image(node, "there is nothing in it to start") from error
        raise


async def _name_taken(run: Run, node: NodePlan, error: Conflict) -> AlreadyExists:
    """The error for a node's name that a container has already, or will have: the Engine takes a name before the container can be seen."""
    try:
        holder = await container_inspect(run.connection, node.name)
    except NotFound:
        return already_exists(run.cluster)
    if holder.labels.get(CLUSTER_LABEL) == run.cluster or await _has_others(run):
        return already_exists(run.cluster)
    return AlreadyExists(
        f'cannot create cluster "{run.cluster}": something else has the name of its node {node.name}',
        why=error.message,
        hint=f"choose another name, or remove that container: docker rm --force {node.name}",
    )


async def _has_others(run: Run) -> bool:
    """Whether another create has made nodes of this cluster."""
    return any(other.labels.get(RUN_LABEL) != run.id for other in await members(run.connection, run.cluster))


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


def can_move(error: ApiError, ports: Sequence[PortBinding], config: ClusterConfig, *, fixes_addresses: bool) -> bool:
    """Whether another plan may go around this refusal to start: what clashed was chosen by us."""
    refusal = refusal_of(error.message)
    if refusal is Refusal.PORT_TAKEN:
        clashing = [port for port in ports if str(port.host_port) in error.message] or ports
        return any(port.host_port not in asked_ports(config) for port in clashing)
    if refusal is Refusal.ADDRESS_TAKEN:
        return fixes_addresses
    return isinstance(error, NotFound) and "network" in error.message.lower()  # its last user left a moment ago
