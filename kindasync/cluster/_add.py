"""Add: one more node of a cluster that is there, found in the Engine and the cluster alone; or nothing left of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import anyio

from kindasync import events, go_yaml
from kindasync._shielded import carried_through
from kindasync.cluster._assembly import Assembly
from kindasync.cluster._balance import balancer_among, is_ours, rebalance
from kindasync.cluster._claim import start_node
from kindasync.cluster._create import ROLLBACK_S
from kindasync.cluster._delete import kubeconfig_dirs
from kindasync.cluster._facts import plan_facts
from kindasync.cluster._get import Found, get
from kindasync.cluster._images import node_image
from kindasync.cluster._join import join
from kindasync.cluster._kept import read_kept
from kindasync.cluster._limits import beyond_host
from kindasync.cluster._loaded import give_loaded_images
from kindasync.cluster._lookup import is_node, made_by, registries, role_of
from kindasync.cluster._marks import Mark, put_marks
from kindasync.cluster._names import RUN_LABEL
from kindasync.cluster._network import network_name
from kindasync.cluster._provision import living, provision_other, read_authority
from kindasync.cluster._registry import known_registry
from kindasync.cluster._remove import withdrawal
from kindasync.cluster._run import Request, Run
from kindasync.cluster.plan import Existing, Facts
from kindasync.config import ClusterConfig, IPFamily, Networking, Role
from kindasync.docker import Connection
from kindasync.docker.containers import Container
from kindasync.docker.networks import network_list
from kindasync.docker.system import system_info
from kindasync.errors import ClusterError, ConfigInvalid, EngineError, KindasyncError, NotReady, one_error
from kindasync.events import Bus
from kindasync.node._contract import Contract

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kindasync.cluster._api import ClusterApi

TOKEN_LASTS = timedelta(minutes=15)  # for ends that we do not see: it is removed when the node has joined
TOKEN_REMOVED_S = 10.0


async def add_node(connection: Connection, bus: Bus, cluster: str, wanted: ClusterConfig, *, image: str, wait_s: float) -> Container:
    """Add the node of a configuration; its container, when the node is Ready (`wait_s` 0: when kubeadm has joined it).

    Raises: ClusterNotFound; ConfigInvalid for limits that are more than the Engine's host has; NodeError if no control plane runs; ClusterError for a control plane where there is no balancer
    of ours; ImageUnusable; StepFailed; NotReady; EngineError. Then, and when cancelled, all that was made is removed first.
    """
    from kindasync.cluster._api import ClusterApi, api_client, deadline

    found = await get(connection, cluster)
    node = wanted.nodes[0]
    await _check_balancer(connection, cluster, found, node.role)
    control_planes = [each for each in found.containers if role_of(each) is Role.CONTROL_PLANE]
    first = min(control_planes, key=lambda each: each.state != "running")
    engine = await system_info(connection)
    if problems := [*beyond_host(wanted, engine)]:
        raise ConfigInvalid(problems)
    chosen = await node_image(connection, engine, image or node.image or first.image, bus, cluster)
    async with api_client(found.kubeconfig) as client:
        api = ClusterApi(client)
        with deadline(api, "the API server to say what the cluster is like"):
            configuration = await _configuration(api)
            nodes = (await api.insist("GET", "/api/v1/nodes"))["items"]
        containers = (*found.containers, *await registries(connection, cluster))
        names = {each.name for each in containers} | {node["metadata"]["name"] for node in nodes}
        existing = Existing(configuration=configuration, names=frozenset(names))
        kept = await read_kept(connection, first)
        networking = replace(_networking(configuration["networking"]), dns_search=kept.networking.dns_search)
        nodes_own = (replace(node, image=chosen.reference),)
        config = replace(kept, name=cluster, nodes=nodes_own, networking=networking, extras=wanted.extras)
        run = Run(connection=connection, bus=bus, request=Request(config=config, wait_s=wait_s), network=_network_of(found.containers))
        with run.step("plan the node"):
            (network,) = await network_list(connection, name=run.network)
            facts = await plan_facts(run, engine, network, {chosen.reference: chosen.contract.pauses}, existing=existing)
            directories = sorted(kubeconfig_dirs(found.containers, cluster))
            facts = replace(facts, kubeconfig_dir=str(directories[0]) if directories else "")
        try:
            with one_error():
                container = await _add(run, api, first, config, facts, chosen.contract, nodes)
                await put_marks(connection, cluster, [container], Mark.FINISHED)
                return container
        except BaseException as error:
            if not isinstance(error, Exception):
                run.emit(events.Interrupted)
            await carried_through(partial(_roll_back, run, api, found.containers, error))
            raise


async def _add(
    run: Run,
    api: ClusterApi,
    first: Container,
    config: ClusterConfig,
    facts: Facts,
    contract: Contract,
    nodes: Sequence[Mapping[str, Any]],
) -> Container:
    from kindasync.cluster._readiness import node_state

    role = config.nodes[0].role
    with run.step("read what its nodes know of registries"):
        assembly = Assembly((), registry=await known_registry(run, first))
    with run.step("read the cluster's authority"):
        assembly.authority.set(await read_authority(run, first, keys=role is Role.CONTROL_PLANE))
    async with _bootstrap_token(run, api):
        plan, container, _ = await start_node(run, config, facts, 0)
        node = plan.first
        async with living(run, container) as console:
            await provision_other(run, plan, node, container, console, contract, facts.engine, assembly)
            with run.step("give it the images that were loaded", node=node.name):
                await give_loaded_images(run, first, container)
            await join(run, node, container, assembly)
            if role is Role.CONTROL_PLANE:
                with run.step("tell the balancer", node=node.name):
                    await rebalance(run)
            if run.request.wait_s > 0:
                with run.step(f"wait until node {node.name} is ready", node=node.name):
                    await _wait_ready(run, api, container, has_network=any(node_state(each)[1] for each in nodes))
    return container


async def _wait_ready(run: Run, api: ClusterApi, container: Container, *, has_network: bool) -> None:
    from kindasync.cluster._control_plane import evidence
    from kindasync.cluster._readiness import wait_ready

    async with evidence(run, container):
        try:
            await wait_ready(
                api,
                [container.name],
                bus=run.bus,
                cluster=run.cluster,
                timeout_s=run.request.wait_s,
                has_network=has_network,
                needs_pod=False,
            )
        except NotReady as error:
            error.hint = "a longer wait may do on a busy machine; its kubelet's last lines may say more"
            raise


async def _check_balancer(connection: Connection, cluster: str, found: Found, role: Role) -> None:
    """Refuse where no node could join, and where another control plane would be of no use: nobody would ask it."""
    balancer = balancer_among(found.containers)
    if balancer and balancer.state != "running":
        raise ClusterError(
            f'cannot add a node to cluster "{cluster}"',
            why=f"its balancer {balancer.name} is {balancer.state}: nobody reaches the API server there",
            hint=f"kindasync start --name {cluster}",
        )
    if role is not Role.CONTROL_PLANE:
        return
    if not balancer:
        raise ClusterError(
            f'cannot add a control plane to cluster "{cluster}"',
            why="it has no balancer: all its nodes and kubeconfigs name the one control plane that it was created with",
            hint="create a cluster with several control planes; it can have more, or fewer, later",
        )
    if not await is_ours(connection, balancer):
        raise ClusterError(
            f'cannot add a control plane to cluster "{cluster}"',
            why=f"its balancer {balancer.name} was not made by kindasync, which cannot tell it of another one",
            hint="add workers; or create the cluster with kindasync",
        )


async def _configuration(api: ClusterApi) -> Mapping[str, Any]:
    """The cluster's ClusterConfiguration, as kubeadm keeps it for nodes that join."""
    document = await api.insist("GET", "/api/v1/namespaces/kube-system/configmaps/kubeadm-config")
    configuration: Mapping[str, Any] = go_yaml.load(document["data"]["ClusterConfiguration"])
    return configuration


def _networking(networking: Mapping[str, str]) -> Networking:
    """What a node needs to know of the cluster's network."""
    pods, services = networking["podSubnet"], networking["serviceSubnet"]
    families = {":" in subnet for subnet in f"{pods},{services}".split(",")}  # for dual, either may be one subnet
    family = IPFamily.DUAL if len(families) > 1 else IPFamily.IPV6 if True in families else IPFamily.IPV4
    return Networking(ip_family=family, pod_subnet=pods, service_subnet=services)


def _network_of(containers: Sequence[Container]) -> str:
    """The network that all nodes share; of several, the usual one."""
    shared = set.intersection(*({at.network for at in each.attachments} for each in containers if is_node(each)))
    return min(shared, key=lambda name: (name != network_name(), name)) if shared else network_name()


@asynccontextmanager
async def _bootstrap_token(run: Run, api: ClusterApi) -> AsyncIterator[None]:
    """The run's token, good for one join, for as long as the context is open. Source: kubernetes.io, "Authenticating with Bootstrap Tokens"."""
    from kindasync.cluster._api import deadline
    from kindasync.cluster._control_plane import remove_token

    token_id, _, secret = run.token.partition(".")
    document = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": f"bootstrap-token-{token_id}", "namespace": "kube-system"},
        "type": "bootstrap.kubernetes.io/token",
        "stringData": {
            "token-id": token_id,
            "token-secret": secret,
            "expiration": (datetime.now(UTC) + TOKEN_LASTS).isoformat(timespec="seconds").replace("+00:00", "Z"),
            "usage-bootstrap-authentication": "true",
            "auth-extra-groups": "system:bootstrappers:kubeadm:default-node-token",
        },
    }
    try:
        with run.step("make a bootstrap token"), deadline(api, "the API server to take a bootstrap token"):
            await api.create(document)
        yield
    finally:
        with anyio.move_on_after(TOKEN_REMOVED_S, shield=True), suppress(ClusterError):  # what is left expires
            await remove_token(run, api)


async def _roll_back(run: Run, api: ClusterApi, others: Sequence[Container], error: BaseException) -> None:
    """Take back what the run has made, in at most ROLLBACK_S; what cannot be becomes notes of `error`."""
    began = run.bus.elapsed_s()
    left: list[str] = []
    with anyio.move_on_after(ROLLBACK_S) as scope:
        try:
            made = await made_by(run.connection, run.id)
        except EngineError as failure:
            made = ()
            left.append(f"whatever has the label {RUN_LABEL}={run.id}: {failure}")
        for container in made:
            is_control_plane = role_of(container) is Role.CONTROL_PLANE
            for step, act in withdrawal(run, api, container.name, container, others, is_control_plane=is_control_plane):
                try:
                    await act()
                except KindasyncError as failure:
                    left.append(f"{step}: {failure}")
    if scope.cancelled_caught:
        left.append(f"it took longer than {ROLLBACK_S:g} s: see docker ps -a --filter label={RUN_LABEL}={run.id}")
    for each in left:
        error.add_note(f"left behind: {each}")
    run.emit(events.RolledBack, since=began, left_behind=tuple(left))
