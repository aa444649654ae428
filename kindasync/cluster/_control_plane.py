"""The control plane: from a node whose kubelet starts to a cluster that is as `kubeadm init` leaves it, and ready."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, aclosing, asynccontextmanager
from typing import Any

import anyio

from kindasync import events, go_yaml
from kindasync.cluster import _static_pods as static_pods
from kindasync.cluster._api import ClusterApi, api_client, deadline, named
from kindasync.cluster._assembly import Assembly
from kindasync.cluster._kubelet import last_words
from kindasync.cluster._limits import capacity
from kindasync.cluster._manifests import CNI, asking_at, manifests
from kindasync.cluster._provision import LOOK, Provisioned, output_of, read_authority, run_program, start_program
from kindasync.cluster._readiness import pods_made, wait_ready
from kindasync.cluster._registry import HOSTING
from kindasync.cluster._run import Run
from kindasync.cluster._snapshots import take_created
from kindasync.cluster.plan import NodePlan, Plan
from kindasync.docker.containers import Container
from kindasync.docker.system import EngineFacts
from kindasync.errors import NotReady, leaves
from kindasync.kubeconfig import for_cluster
from kindasync.node import _kubeadm as kubeadm

API_UP_S = 180.0
_BINDINGS = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"  # made when all ClusterRoles are
# The API server makes it, too, a second after it answers. A kubelet whose Node is there tells of its static pods at once, is refused
# without it, and does not come back to some of them for 10 s.
_STATIC_PODS_PRIORITY = {
    "apiVersion": "scheduling.k8s.io/v1",
    "kind": "PriorityClass",
    "metadata": {"name": "system-node-critical"},
    "value": 2000001000,
    "description": "Used for system critical pods that must not be moved from their current node.",
}
_EXCLUDED = "node.kubernetes.io/exclude-from-external-load-balancers"


async def bring_up(run: Run, plan: Plan, first: Provisioned, engine: EngineFacts, server: str, assembly: Assembly) -> Mapping[str, Any]:
    """Everything from here on that goes through the API server; the kubeconfig of the cluster's administrator.

    kubeadm and we work at the same time, on different objects. Raises: StepFailed; NotReady.
    """
    proxy_mode = run.request.config.networking.kube_proxy_mode
    if not first.initialised:
        await _initialise(run, first, [kubeadm.init_argv(first.documents, proxy_mode=proxy_mode)], assembly)
        assembly.authority.set(await read_authority(run, first.container, keys=len(plan.control_planes) > 1))
    confs = (await assembly.authority.get()).confs
    # Bound to no RBAC rule, so usable before there are any; kubeadm from 1.29 on has it beside admin.conf.
    super_admin = for_cluster(confs.get("super-admin.conf") or confs["admin.conf"], run.cluster, server)
    async with api_client(super_admin) as client, evidence(run, first.container):
        api = ClusterApi(client)
        async with anyio.create_task_group() as tasks:
            if first.initialised:
                with run.step("start what makes the API server's roles"):
                    await start_program(run.connection, first.container, kubeadm.ROLES_ARGV)
            objects = await _manifests(run, plan, first, assembly)
            async with _guarded(run, first):
                with run.step("reach the API server") as began, _deadline(api, f"an answer from the API server at {server}"):
                    await api.wait_up()
                run.emit(events.ApiServerUp, since=began, server=server)
            if first.initialised:
                tasks.start_soon(_start_controllers, run, first, assembly)
                tasks.start_soon(_finish_kubeadm, run, api, first, assembly)
                with run.step("create the priority of static pods"), _deadline(api, "the API server to take a PriorityClass"):
                    await api.create(_STATIC_PODS_PRIORITY)
            tasks.start_soon(_register_nodes, run, api, plan, first, engine, assembly)
            for name, documents in objects:
                tasks.start_soon(_create_objects, run, api, first, name, documents)
            if run.request.wait_s > 0:
                async with _guarded(run, first):
                    with run.step("wait until all nodes are ready"):
                        await wait_ready(
                            api,
                            [node.name for node in plan.nodes],
                            bus=run.bus,
                            cluster=run.cluster,
                            timeout_s=run.request.wait_s,
                            has_network=not run.request.config.networking.disable_default_cni,
                            needs_dns=run.request.config.extras.wait_for_dns,
                        )
        await assembly.all_joined.get()
        with run.step("finish the control plane"), _deadline(api, "the API server to take the last changes"):
            if plan.single_node:
                await _include_in_load_balancers(api, first.plan.name)
            await remove_token(run, api)
            if first.initialised and run.request.wait_s > 0:
                await _objects_are_whole(api)
                await take_created(run.connection, first.container, await api.revision())
    return for_cluster(confs["admin.conf"], run.cluster, server)


@asynccontextmanager
async def _guarded(run: Run, first: Provisioned) -> AsyncIterator[None]:
    """End a wait when it is in vain: a program of the first control plane fails again and again. Raises: StepFailed."""

    async def guard() -> None:
        with run.step(f"run the control plane on node {first.plan.name}", node=first.plan.name):
            await static_pods.guard(run.connection, first.container)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(guard)
        yield
        tasks.cancel_scope.cancel()


def _deadline(api: ClusterApi, awaited: str) -> AbstractContextManager[None]:
    return deadline(api, awaited, API_UP_S, hint=LOOK)


@asynccontextmanager
async def evidence(run: Run, container: Container) -> AsyncIterator[None]:
    """Give a wait that expired what the kubelet of the node said last, before the node is removed."""
    try:
        yield
    except Exception as error:
        for failure in leaves(error):
            if isinstance(failure, NotReady) and (words := await last_words(run.connection, container)):
                failure.add_evidence(words)
        raise


async def _run_kubeadm(run: Run, first: Provisioned, argv: list[str]) -> None:
    with run.step(f"initialise the control plane on node {first.plan.name}", node=first.plan.name):
        await run_program(run, first.container, argv, reads_first=not first.initialised)


async def _initialise(run: Run, first: Provisioned, argvs: list[list[str]], assembly: Assembly) -> None:
    """Run kubeadm on the first control plane, several at once, until it accepts nodes."""
    began = run.bus.elapsed_s()
    async with anyio.create_task_group() as tasks:
        for argv in argvs:
            tasks.start_soon(_run_kubeadm, run, first, argv)
    run.emit(events.ControlPlaneUp, node=first.plan.name, since=began)
    assembly.accepting.set(None)


async def _finish_kubeadm(run: Run, api: ClusterApi, first: Provisioned, assembly: Assembly) -> None:
    """Let kubeadm do what it does through the API server, when its user is permitted to."""
    with run.step("wait for the API server's roles"), _deadline(api, "the API server to make its ClusterRoleBindings"):
        await api.wait_there(_BINDINGS, "system:kube-scheduler")
    await assembly.registered.get()
    await _initialise(run, first, [kubeadm.init_argv(first.documents, only=phases) for phases in kubeadm.API_PHASES], assembly)


async def _start_controllers(run: Run, first: Provisioned, assembly: Assembly) -> None:
    """Let the first controllers begin; several would give a Node whose kubelet was there first the podCIDRs that are another's."""
    if assembly.founders:
        await assembly.registered.get()
    await _run_kubeadm(run, first, kubeadm.init_argv(first.documents, only=kubeadm.CONTROLLER_PHASES))


async def _register_nodes(run: Run, api: ClusterApi, plan: Plan, first: Provisioned, engine: EngineFacts, assembly: Assembly) -> None:
    kubelet = kubeadm.kubelet_of(first.documents)

    async def register(node: NodePlan) -> None:
        registration = kubeadm.registration(await assembly.documents(node.name).get(), kubelet)
        await _create_node_object(run, api, node, registration, capacity(node.spec, engine))

    async with anyio.create_task_group() as tasks:
        for node in plan.nodes:
            if node is not plan.first or first.initialised:
                tasks.start_soon(register, node)
    assembly.registered.set(None)


async def _create_node_object(
    run: Run, api: ClusterApi, node: NodePlan, registration: kubeadm.Registration, room: Mapping[str, str]
) -> None:
    """Make the Node object before its kubelet comes to it, whose tries to register grow rare; with the podCIDRs of the CNI configuration in place.

    The kubelet adopts it. What it would set only on a Node that it makes itself is set here; also `room`, its capacity: a kubelet that
    gets a pod before it has seen its own word about that takes its Node for full, and the pod fails.
    """
    spec = {"podCIDR": node.pod_cidrs[0], "podCIDRs": list(node.pod_cidrs)}
    with run.step(f"register node {node.name}", node=node.name), _deadline(api, f"the API server to take node {node.name}"):
        created = await api.create(
            {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": node.name, "labels": {"kubernetes.io/hostname": node.name, **registration.labels}},
                "spec": {**spec, "providerID": registration.provider_id, "taints": [*registration.taints]},
                "status": {"capacity": room, "allocatable": room},
            }
        )
        if not created and node.spec.pauses:  # its kubelet was there first; without CNI configuration of ours it may have what it gets
            await api.insist("PATCH", f"/api/v1/nodes/{node.name}", {"spec": spec}, content_type="application/merge-patch+json")


async def _manifests(run: Run, plan: Plan, first: Provisioned, assembly: Assembly) -> list[tuple[str, list[Any]]]:
    """The objects that make a cluster of a control plane, by the names of their manifests."""
    addons = [
        (name, [kubeadm.tuned(document, single_node=plan.single_node) for document in _documents(text)])
        for name, text in (await _addons(run, first)).items()
    ]
    registry = await assembly.registry.get()
    own = [(HOSTING, registry.hosting)] if registry.hosting else []
    with run.step("read the image's manifests"):
        objects = addons + [(name, _documents(text)) for name, text in [*await manifests(run, plan, first), *own]]
    if not first.initialised:
        return objects
    return [(name, [asking_at(plan.control_plane_endpoint, document) for document in documents]) for name, documents in objects]


async def _addons(run: Run, first: Provisioned) -> dict[str, str]:
    """The manifests of kubeadm's addons, by name; none if it has created them itself. The node has time to print them: its kubelet begins."""
    addons: dict[str, str] = {}

    async def add(name: str) -> None:
        with run.step(f"make the manifest of {name}", node=first.plan.name):
            addons[name] = kubeadm.addon_manifest(await output_of(run, first.container, kubeadm.addon_argv(name)))

    if first.initialised:
        async with anyio.create_task_group() as tasks:
            for name in kubeadm.addons(first.documents, run.request.config.networking.kube_proxy_mode):
                tasks.start_soon(add, name)
    return addons


def _documents(manifest: str) -> list[Any]:
    return [document for document in go_yaml.load_all(manifest) if document]


async def _create_objects(run: Run, api: ClusterApi, first: Provisioned, name: str, documents: list[Any]) -> None:
    with run.step(f"create the objects of {name}") as began, _deadline(api, f"the API server to take the objects of {name}"):
        await api.create_all(documents)
        run.emit(events.ManifestApplied, since=began, manifest=name)
    if name == CNI and first.plan.spec.pauses:  # the one of kind's images does enforce it
        run.emit(events.NetworkPolicyNotEnforced)


async def _objects_are_whole(api: ClusterApi) -> None:
    """Wait until all have what the controller-manager makes for them: a restore would remove what was made after the snapshot, and it would come again."""
    namespaces = {each["metadata"]["name"] for each in (await api.insist("GET", "/api/v1/namespaces"))["items"]}

    def in_each(objects: Sequence[Mapping[str, Any]]) -> bool:
        return namespaces <= {each["metadata"]["namespace"] for each in objects}

    def have_pods(workloads: Sequence[Mapping[str, Any]]) -> bool:
        return all(map(pods_made, workloads))

    async def wait(path: str, is_whole: Callable[[Sequence[Mapping[str, Any]]], bool], name: str = "") -> None:
        async with aclosing(api.observe(path, selector=named(name) if name else "")) as states:
            async for objects in states:
                if is_whole(objects):
                    return

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait, "/api/v1/serviceaccounts", in_each, "default")
        tasks.start_soon(wait, "/api/v1/configmaps", in_each, "kube-root-ca.crt")
        tasks.start_soon(wait, "/apis/apps/v1/deployments", have_pods)
        tasks.start_soon(wait, "/apis/apps/v1/daemonsets", have_pods)


async def _include_in_load_balancers(api: ClusterApi, name: str) -> None:
    """A control plane that is the only node has to serve Services of type LoadBalancer, too."""
    patch = {"metadata": {"labels": {_EXCLUDED: None}}}
    await api.insist("PATCH", f"/api/v1/nodes/{name}", patch, content_type="application/merge-patch+json")


async def remove_token(run: Run, api: ClusterApi) -> None:
    """The bootstrap token has done its work."""
    await api.delete(f"/api/v1/namespaces/kube-system/secrets/bootstrap-token-{run.token.partition('.')[0]}")
