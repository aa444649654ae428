"""Provision: a node, from its started container to one whose containerd answers."""

from __future__ import annotations

import asyncio
import inspect
import io
import os
import re
import tarfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import anyio

from kindasync import events, go_yaml
from kindasync._shielded import is_cancelled
from kindasync.cluster._assembly import Assembly, Authority
from kindasync.cluster._kept import kept_files
from kindasync.cluster._kubelet import fails_again, last_words
from kindasync.cluster._limits import system_reserved
from kindasync.cluster._patched import CONTAINERD_CONFIG, patched_containerd, patched_kubeadm, patches_containerd
from kindasync.cluster._run import Run
from kindasync.cluster.plan import NodePlan, Plan
from kindasync.config import ProxyMode, Role
from kindasync.docker import Connection
from kindasync.docker.archives import put_archive, read_archive
from kindasync.docker.containers import Container
from kindasync.docker.execs import ExecResult, OnOutput, container_exec, exec_start_detached
from kindasync.docker.system import EngineFacts
from kindasync.errors import ApiError, ClusterError, Conflict, ExecFailed, NodeError, NotFound, NotReady, leaves, redacted
from kindasync.node import PausedNode
from kindasync.node import _cni as cni
from kindasync.node import _kubeadm as kubeadm
from kindasync.node._boot import signal_boot, wait_paused, wait_runtime
from kindasync.node._console import Console
from kindasync.node._contract import KUBELET_FAILED, VERSION_FILE, Contract
from kindasync.node._files import File, Link, only_file, tar_of
from kindasync.versions import KubernetesVersion

NEEDED_BYTES = 256 << 20
KUBELET_FAILURES = 10  # within one create
KUBEADM_S = 240.0  # longer than its own waits
LOOK = "--retain keeps the nodes to look at, with: docker exec NODE journalctl -u kubelet"
DEATH_S = 1.0  # by how much the end of a node's programs may be seen before its own
_KUBERNETES = "/etc/kubernetes"
_PHASE = re.compile(rb"\[(?!init|preflight|join)([a-z][a-z-]*)\] ")
_NOT_STRICT = re.compile(rb'Kind:"(\w+)"\}: strict decoding error: (.*)')
SHARED_KEYS = tuple(
    f"{_KUBERNETES}/pki/{name}"
    for name in ("ca.crt", "ca.key", "front-proxy-ca.crt", "front-proxy-ca.key", "etcd/ca.crt", "etcd/ca.key", "sa.key", "sa.pub")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Provisioned:
    """A node whose containerd answers. Shape: `documents`, kubeadm's; `initialised`: its files were made while the node was paused, and its kubelet runs."""

    plan: NodePlan
    container: Container
    documents: str
    initialised: bool


@asynccontextmanager
async def living(run: Run, container: Container) -> AsyncIterator[Console]:
    """The console of a node, followed while the context is open; in it, the node's death is an error at once, and so is that of its kubelet, again and again."""
    console = Console(run.connection, container)

    async def follow() -> None:
        with run.step(f"follow the console of node {container.name}", node=container.name):
            await console.follow()

    async def guard() -> None:
        with run.step(f"run node {container.name}", node=container.name):
            await console.wait_for_end("through with its creation")

    async def watch_kubelet() -> None:
        await console.wait_for_times(lambda line: line == KUBELET_FAILED, KUBELET_FAILURES)
        with run.step(f"run the kubelet of node {container.name}", node=container.name):
            words = await last_words(run.connection, container)
            raise fails_again(f"the kubelet of node {container.name}", words, "featureGates, kubeadmConfigPatches")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follow)
        tasks.start_soon(guard)
        tasks.start_soon(watch_kubelet)
        try:
            yield console
        except Exception:
            # A program that fails may have died with its node: then that is what is to be told, and `guard` does it.
            if await console.ends_within(DEATH_S):
                await anyio.sleep_forever()
            raise
        tasks.cancel_scope.cancel()


async def provision_first(
    run: Run, plan: Plan, container: Container, console: Console, contract: Contract, engine: EngineFacts, assembly: Assembly
) -> Provisioned:
    """Bring the first control plane to the point where pods can run in it, with kubeadm's files made if it paused for that.

    Raises: StepFailed with BootFailed, ExecFailed or an EngineError.
    """
    node = plan.first

    async def prepare() -> None:
        if run.request.config.networking.kube_proxy_mode is ProxyMode.IPVS:
            await _check_ipvs(run, node, container)
        parameters = await _parameters(run, plan, node, container, engine)
        text = patched_kubeadm(run, node, kubeadm.documents(parameters), joins=False)
        if assembly.founders:
            assembly.founds(node.name, kubeadm.advertised(text))
        files = {**kubeadm.patch_files(parameters), **(await assembly.registry.get()).hosts}
        assembly.documents(node.name).set(text)
        await _put_files(run, node, container, text, files)
        if contract.pauses:
            await _make_kubeadm_files(run, node, container, text, assembly)
            assembly.authority.set(await read_authority(run, container, text, keys=len(plan.control_planes) > 1))
            await _found_etcd(run, node, container, text, assembly)

    await _boot(run, node, container, console, contract, prepare)
    documents = await assembly.documents(node.name).get()
    return Provisioned(plan=node, container=container, documents=documents, initialised=contract.pauses)


async def provision_other(
    run: Run,
    plan: Plan,
    node: NodePlan,
    container: Container,
    console: Console,
    contract: Contract,
    engine: EngineFacts,
    assembly: Assembly,
) -> None:
    """Bring a node to the point where it can join, or is a control plane beside the first. Raises: as `provision_first`."""

    async def prepare() -> None:
        parameters = await _parameters(run, plan, node, container, engine)
        is_control_plane, is_founder = node.role is Role.CONTROL_PLANE, node.name in assembly.founders
        documents = kubeadm.join_documents(parameters, control_plane=is_control_plane)
        text = patched_kubeadm(run, node, documents, joins=True, founds=is_founder)
        if is_founder:
            assembly.founds(node.name, kubeadm.advertised(text))
        authority = await assembly.authority.get()
        files: dict[str, File | bytes | str] = {
            kubeadm.DISCOVERY_PATH: File(
                content=kubeadm.discovery(authority.confs["admin.conf"], f"https://{plan.control_plane_endpoint}").encode(), mode=0o600
            ),
            **kubeadm.patch_files(parameters),
            **({path: File(content=key, mode=0o600) for path, key in authority.keys.items()} if is_control_plane else {}),
            **(await assembly.registry.get()).hosts,
        }
        if is_founder:
            text = kubeadm.initialising(authority.documents, text)
        assembly.documents(node.name).set(text)
        await _put_files(run, node, container, text, files)
        if is_founder:
            await _make_kubeadm_files(run, node, container, text, assembly)
            await _found_etcd(run, node, container, text, assembly)

    await _boot(run, node, container, console, contract, prepare)


async def _boot(
    run: Run, node: NodePlan, container: Container, console: Console, contract: Contract, prepare: Callable[[], Awaitable[None]]
) -> None:
    """Boot a started node; `prepare` puts its files, while it is paused if it does that."""
    began = run.bus.elapsed_s()
    if not contract.pauses:
        with run.step(f"boot node {node.name}", node=node.name):
            await wait_runtime(console, contract)
            run.emit(events.RuntimeReady, node=node.name, since=began)
        await prepare()
        return

    with run.step(f"pause node {node.name} before its boot", node=node.name):
        await wait_paused(console)
        run.emit(events.NodePaused, node=node.name, since=began)
    paused = run.bus.elapsed_s()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_check_space, run, node, container)
        tasks.start_soon(_run_hooks, run, node, container)
        await prepare()
        run.emit(events.FilesPut, node=node.name, since=paused)
    # No exec from here until the runtime is ready: on cgroup v2 it would sit in the root cgroup and break systemd's (kind#2409).
    with run.step(f"boot node {node.name}", node=node.name) as began:
        await signal_boot(
            run.connection, container, console, report=lambda attempt: run.emit(events.BootSignalled, node=node.name, attempt=attempt)
        )
        run.emit(events.NodeBooted, node=node.name, since=began)
        booted = run.bus.elapsed_s()
        await wait_runtime(console, contract)
        run.emit(events.RuntimeReady, node=node.name, since=booted)


async def _check_space(run: Run, node: NodePlan, container: Container) -> None:
    """Refuse to boot where etcd could not begin its log: it would try again and again, and nobody would know."""
    with run.step(f"check the disk of node {node.name}", node=node.name):
        result = await _exec(run, container, ("stat", "--file-system", "--format=%a %S", "/var"))
        match result.text.split():
            case [blocks, size] if (free := int(blocks) * int(size)) < NEEDED_BYTES:
                raise NodeError(
                    f"node {node.name} has too little disk space",
                    why=f"{free >> 20} MiB are free where the Engine keeps volumes; a node needs {NEEDED_BYTES >> 20} MiB to begin with",
                    hint="free disk space on the Engine's host (docker system df shows what uses it)",
                )


async def _check_ipvs(run: Run, node: NodePlan, container: Container) -> None:
    """Refuse a kernel in which kube-proxy could not do what it is asked for: it would only say so in its log, and no Service would answer."""
    with run.step(f"look for IPVS in the kernel of node {node.name}", node=node.name):
        for argv in (("test", "-e", "/proc/net/ip_vs"), ("modprobe", "--quiet", "ip_vs")):  # there already, or built in; or a module
            if not (await _exec(run, container, argv)).exit_code:
                return
        raise NodeError(
            "kube-proxy cannot use IPVS here",
            why="the kernel of the Engine's host has no ip_vs, and no module of that name can be loaded from a node",
            hint="set networking.kubeProxyMode to nftables or iptables; or load it on the Engine's host: modprobe ip_vs",
        )


async def _run_hooks(run: Run, node: NodePlan, container: Container) -> None:
    """The user's hooks, one after the other, in the order they were given."""
    paused = PausedNode(
        engine=run.connection.engine,
        cluster=run.cluster,
        name=node.name,
        id=container.id,
        role=node.role,
        connection=run.connection,
        bus=run.bus,
    )
    for hook in run.request.before_boot:
        name = getattr(hook, "__qualname__", repr(hook))
        with run.step(f"run hook {name} on node {node.name}", node=node.name) as began:
            try:
                work: object = hook(paused)
                if not inspect.isawaitable(work):
                    raise ClusterError(f"hook {name} is no coroutine function", hint="define it by async def")
                await work
            except asyncio.CancelledError as error:
                if is_cancelled():
                    raise
                raise ClusterError(f"hook {name} was cancelled", why="by itself, or by what it awaited") from error
            except OSError as error:
                raise ClusterError(
                    f"hook {name} failed", why=str(error), hint="see that the file it names is there and can be read"
                ) from error
            except ExceptionGroup as group:  # of the hook's own tasks
                run.emit(events.StepFailed, node=node.name, step=f"run hook {name}", error=redacted(str([*leaves(group)])))
                raise
            run.emit(events.HookEnded, node=node.name, since=began, hook=name)


async def _put_files(
    run: Run, node: NodePlan, container: Container, kubeadm_config: str, others: Mapping[str, File | bytes | str] | None = None
) -> None:
    """All files of the node in one tar. containerd reads its own at the boot; one that runs already is restarted."""
    with run.step(f"put files into node {node.name}", node=node.name):
        files: dict[str, File | bytes | str] = {kubeadm.CONFIG_PATH: File(content=kubeadm_config.encode(), mode=0o600), **(others or {})}
        if node.role is Role.CONTROL_PLANE:
            files |= kept_files(run.request.config)
        if node.spec.pauses and node.pod_cidrs and not run.request.config.networking.disable_default_cni:
            files[cni.CONFIG_PATH] = cni.conflist(node.pod_cidrs)
        if patches_containerd(run):
            there = only_file(await read_archive(run.connection, container.id, CONTAINERD_CONFIG)).decode()
            files[CONTAINERD_CONFIG] = patched_containerd(run, node, there)
        await put_archive(run.connection, container.id, "/", tar_of(files))
    if patches_containerd(run) and not node.spec.pauses:
        with run.step(f"restart containerd in node {node.name}", node=node.name):
            await run_program(run, container, ("systemctl", "restart", "containerd"))


async def _make_kubeadm_files(run: Run, node: NodePlan, container: Container, documents: str, assembly: Assembly) -> None:
    """Let kubeadm write certificates, kubeconfigs, manifests and the kubelet's configuration; without etcd's manifest, if others found it, too."""
    with run.step(f"make kubeadm's files in node {node.name}", node=node.name):
        phases = tuple(each for each in kubeadm.FILE_PHASES if each != "etcd" or not assembly.founders)
        await run_program(run, container, kubeadm.init_argv(documents, only=phases), reads_first=True)
        conf, path, content = kubeadm.finalized(
            only_file(await read_archive(run.connection, container.id, kubeadm.KUBELET_CONF)), datetime.now(UTC)
        )
        files: dict[str, File | Link | bytes | str] = {
            kubeadm.KUBELET_CONF: File(content=conf.encode(), mode=0o600),
            path: File(content=content, mode=0o600),
            kubeadm.KUBELET_CURRENT: Link(target=path),
        }
        await put_archive(run.connection, container.id, "/", tar_of(files))


async def _found_etcd(run: Run, node: NodePlan, container: Container, documents: str, assembly: Assembly) -> None:
    """Make the manifest of an etcd whose members all start at once, when it is known where they will be."""
    if not assembly.founders:
        return
    members = await assembly.members.get()
    with run.step(f"make etcd's manifest in node {node.name}", node=node.name):
        if text := kubeadm.founding(documents, members):
            files = {kubeadm.ETCD_CONFIG_PATH: File(content=text.encode(), mode=0o600)}
            await put_archive(run.connection, container.id, "/", tar_of(files))
            await run_program(run, container, kubeadm.etcd_argv())


async def run_program(run: Run, container: Container, argv: Sequence[str], *, reads_first: bool = False) -> None:
    """Run a program, such as kubeadm, in a node; if it is the first to read the node's documents, with a Warned of what it ignores in them.

    Raises: ExecFailed with its last lines; NotReady after KUBEADM_S.
    """
    phases = _Phases(run, container.name)
    result = await _exec(run, container, argv, phases.feed)
    phases.end()
    for kind, ignored in dict.fromkeys(_NOT_STRICT.findall(result.stderr)) if reads_first else ():
        message = f"Kubernetes ignores a part of {kind.decode()}: {ignored.decode().strip()}"
        run.emit(events.Warned, node=container.name, message=message)
    _check(container, argv, result)


async def output_of(run: Run, container: Container, argv: Sequence[str]) -> str:
    """What a program prints in a node. Raises: as `run_program`."""
    result = await _exec(run, container, argv)
    _check(container, argv, result)
    return result.text


async def start_program(connection: Connection, container: Container, argv: Sequence[str]) -> None:
    """Start a program of the node image's, which nobody waits for. Nothing if the image does not have it. Raises: NotFound; Conflict."""
    try:
        await exec_start_detached(connection, container.id, argv)
    except ApiError as error:
        if isinstance(error, (Conflict, NotFound)):  # of the container
            raise


def _check(container: Container, argv: Sequence[str], result: ExecResult) -> None:
    if result.exit_code:
        raise ExecFailed(container.name, argv, result.exit_code, result.tail(), hint=LOOK)


class _Phases:
    """Tells of kubeadm's phases: its lines begin with their names, as in "[certs] Generating …"."""

    def __init__(self, run: Run, node: str) -> None:
        self._run = run
        self._node = node
        self._began = run.bus.elapsed_s()
        self._phase = ""
        self._rest = b""

    def feed(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            named = _PHASE.match(line)
            if named and named[1].decode() != self._phase:
                self.end()
                self._phase = named[1].decode()

    def end(self) -> None:
        if self._phase:
            self._run.emit(events.KubeadmPhase, node=self._node, since=self._began, phase=self._phase)
        self._began = self._run.bus.elapsed_s()


async def _exec(run: Run, container: Container, argv: Sequence[str], on_output: OnOutput | None = None) -> ExecResult:
    try:
        with anyio.fail_after(KUBEADM_S):
            return await container_exec(run.connection, container.id, argv, on_output=on_output)
    except TimeoutError as error:
        raise NotReady(f'"{" ".join(argv)}" in node {container.name}', "it has not ended", after_s=KUBEADM_S, hint=LOOK) from error


async def read_authority(run: Run, container: Container, documents: str = "", *, keys: bool) -> Authority:
    """What kubeadm made in a control plane, from `documents`: its kubeconfigs and, if other control planes need them, the keys that all share."""
    archive = await read_archive(run.connection, container.id, _KUBERNETES)
    confs: dict[str, Any] = {}
    shared_keys: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            path = f"/etc/{member.name}"
            shared = keys and path in SHARED_KEYS
            file = tar.extractfile(member) if shared or member.name.endswith("admin.conf") else None
            if file and shared:
                shared_keys[path] = file.read()
            elif file:
                confs[os.path.basename(member.name)] = go_yaml.load(file.read())
    return Authority(confs=confs, keys=shared_keys, documents=documents)


def _addresses_of(container: Container, plan: Plan) -> tuple[str, ...]:
    """The node's address of each family of the cluster, the primary one's first."""
    attachment = container.attachment(plan.network)
    found = {4: attachment.ipv4_address, 6: attachment.ipv6_address} if attachment else {}
    for version in plan.ip_versions:
        if not found.get(version):
            raise ClusterError(
                f"node {container.name} has no IPv{version} address in network {plan.network}",
                hint=f"is the network an IPv{version} one? docker network inspect shows it",
            )
    return tuple(found[version] for version in plan.ip_versions)


async def _parameters(run: Run, plan: Plan, node: NodePlan, container: Container, engine: EngineFacts) -> kubeadm.Kubeadm:
    """What the node's kubeadm configuration depends on."""
    with run.step(f"read the version of node {node.name}", node=node.name):
        version = KubernetesVersion.parse(only_file(await read_archive(run.connection, container.id, VERSION_FILE)).decode())
    if version.caveat and (node is plan.first or node.image != plan.first.image):  # once is enough for nodes of one image
        run.emit(events.Warned, node=node.name, message=version.caveat)
    config = run.request.config
    return kubeadm.Kubeadm(
        version=version,
        cluster=run.cluster,
        node_name=node.name,
        node_addresses=_addresses_of(container, plan),
        control_plane_endpoint=plan.control_plane_endpoint,
        cert_sans=plan.cert_sans,
        token=run.token,
        pod_subnets=plan.pod_subnets,
        service_subnets=plan.service_subnets,
        proxy_mode=config.networking.kube_proxy_mode,
        node_labels=node.node_labels,
        feature_gates=config.feature_gates,
        runtime_config=config.runtime_config,
        system_reserved=system_reserved(node.spec, engine),
        cgroup_version=engine.cgroup_version,
        rootless=engine.rootless,
        single_node=plan.single_node,
        single_control_plane=config.control_planes == 1,
        cluster_configuration=plan.existing.configuration if plan.existing else None,
    )
