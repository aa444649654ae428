"""Several nodes: what is made of them, what they wait for, and that one which fails takes all with it."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
import yaml

from kindasync import Cluster
from kindasync import events as told
from kindasync.errors import BootFailed, ExecFailed, StepFailed
from kindasync.events import Event
from kindasync.testing import FakeContainer, FakeEngine, FakeImage, ProgramResult, Received
from tests.unit.leftovers import nothing_left
from tests.unit.recording import Recording

pytestmark = pytest.mark.anyio

FIRST, WORKER, WORKER2 = "demo-control-plane", "demo-worker", "demo-worker2"
BALANCER = "demo-external-load-balancer"


def shape(control_planes: int, workers: int) -> dict[str, Any]:
    roles = ["control-plane"] * control_planes + ["worker"] * workers
    return {"kind": "Cluster", "apiVersion": "kind.x-k8s.io/v1alpha4", "nodes": [{"role": role} for role in roles]}


async def create(fake: FakeEngine, control_planes: int, workers: int, **options: Any) -> Cluster:
    with anyio.fail_after(30):
        return await Cluster.create("demo", config=shape(control_planes, workers), engine=fake.url, **options)


def kubeadm_runs(fake: FakeEngine) -> list[tuple[str, str]]:
    """Which node ran which of kubeadm's commands, in order."""
    names = {container.id: name for name, container in fake.containers.items()}
    execs = [
        request
        for request in fake.requests_of("ContainerExec")
        if request.json["Cmd"][0] == "kubeadm" and "phase" not in request.json["Cmd"]
    ]
    return [(names[_container_of(request)], request.json["Cmd"][1]) for request in execs]


def _container_of(request: Received) -> str:
    return request.path.split("/containers/")[1].split("/")[0]


# -- what is made


async def test_containers_are_those_of_the_plan(fake: FakeEngine) -> None:
    """Names, roles, the run, and addresses that nobody has twice."""
    await create(fake, 3, 2)

    containers = fake.containers
    assert {name: container.labels["io.x-k8s.kind.role"] for name, container in containers.items()} == {
        FIRST: "control-plane",
        "demo-control-plane2": "control-plane",
        "demo-control-plane3": "control-plane",
        WORKER: "worker",
        WORKER2: "worker",
        BALANCER: "external-load-balancer",
    }
    assert {container.labels["io.x-k8s.kind.cluster"] for container in containers.values()} == {"demo"}
    assert len({container.labels["kindasync.run"] for container in containers.values()}) == 1
    assert all(container.asked_address == container.address for container in containers.values())
    assert len({container.address for container in containers.values()}) == 6


async def test_the_balancer_has_all_control_planes_before_it_starts(fake: FakeEngine) -> None:
    """Its configuration is put, then it is started; the kubeconfig leads to its port."""
    cluster = await create(fake, 3, 0)

    balancer = fake.containers[BALANCER]
    config = balancer.files["/kind/haproxy.cfg"].decode()
    servers = [line.split()[1:] for line in config.splitlines() if line.startswith("  server ")]
    assert servers == [[name, f"{name}:6443"] for name in (FIRST, "demo-control-plane2", "demo-control-plane3")]
    of_it = [request.operation for request in fake.requests if f"/containers/{balancer.id}/" in request.path]
    assert of_it.index("PutContainerArchive") < of_it.index("ContainerStart")
    (binding,) = balancer.host_config["PortBindings"]["6443/tcp"]
    assert cluster.kubeconfig["clusters"][0]["cluster"]["server"] == f"https://127.0.0.1:{binding['HostPort']}"


@pytest.mark.parametrize(("ipv6", "bound"), [(True, ":::6443 v4v6"), (False, "*:6443")])
async def test_the_balancer_listens_at_addresses_that_there_are(fake: FakeEngine, ipv6: bool, bound: str) -> None:
    """Where the kernel knows no IPv6, haproxy would not start; and so it is when a control plane is added."""
    if not ipv6:
        fake.fail("NetworkCreate", message="IPv6 is disabled")
    cluster = await create(fake, 2, 0)
    created = fake.containers[BALANCER].files["/kind/haproxy.cfg"].decode()

    await cluster.add_node("control-plane")

    for config in (created, fake.containers[BALANCER].files["/kind/haproxy.cfg"].decode()):
        assert [line.split(maxsplit=1)[1] for line in config.splitlines() if line.startswith("  bind ")] == [bound]


async def test_one_control_plane_has_no_balancer(fake: FakeEngine) -> None:
    """Nothing to balance."""
    await create(fake, 1, 2)

    assert set(fake.containers) == {FIRST, WORKER, WORKER2}


async def test_who_to_trust_is_a_private_file(fake: FakeEngine) -> None:
    """0600, with the endpoint and the authority, and without a user; the first control plane needs none."""
    await create(fake, 1, 1)

    path = "/kind/discovery.conf"
    document = yaml.safe_load(fake.containers[WORKER].files[path])
    assert document["clusters"][0]["cluster"]["server"] == f"https://{FIRST}:6443"
    assert document["users"] == []
    assert path not in fake.containers[FIRST].files
    (mode,) = [mode for request in fake.requests_of("PutContainerArchive") for name, mode in modes_in(request) if name == path]
    assert mode == 0o600


def modes_in(request: Received) -> list[tuple[str, int]]:
    """The files of an archive that was put, with their modes."""
    with tarfile.open(fileobj=io.BytesIO(request.body)) as tar:
        return [(f"/{member.name.lstrip('/')}", member.mode) for member in tar if member.isfile()]


async def test_no_token_is_told(fake: FakeEngine) -> None:
    """Not in events, nor in arguments, labels and environments; workers have it in a file."""
    seen = Recording()

    await create(fake, 1, 1, on_event=seen.keep)

    documents = list(yaml.safe_load_all(fake.containers[WORKER].files["/kind/kubeadm.conf"]))
    (token,) = [each["discovery"]["tlsBootstrapToken"] for each in documents if each["kind"] == "JoinConfiguration"]
    secret = token.partition(".")[2]
    assert secret
    assert all(secret not in str(event.to_json()) + repr(event) for event in seen)
    assert all(secret not in str(request.json) for request in fake.requests_of("ContainerExec") + fake.requests_of("ContainerCreate"))
    assert [request for request in fake.api_requests(FIRST) if request.startswith("DELETE") and "bootstrap-token" in request]


# -- what waits for what


async def test_workers_join_when_the_control_plane_accepts_them(fake: FakeEngine) -> None:
    """They boot meanwhile; each is told when it has joined, then that it is Ready; the cluster is last."""
    seen = Recording()
    fake.node.becomes_ready = False

    async def keep(event: Event) -> None:
        await seen.keep(event)
        fake.node.becomes_ready = seen.names.count("NodeJoined") == 2  # not before: watches may tell of a node before its kubeadm ends

    await create(fake, 1, 2, on_event=keep)

    of = [(type(event).__name__, event.node) for event in seen]
    for worker in (WORKER, WORKER2):
        assert of.index(("ControlPlaneUp", FIRST)) < of.index(("NodeJoined", worker)) < of.index(("NodeReady", worker))
        assert of.index(("NodePaused", worker)) < of.index(("RuntimeReady", worker)) < of.index(("NodeJoined", worker))
    assert of[-1] == ("ClusterReady", "")
    assert [command for _, command in kubeadm_runs(fake)] == ["init"] * 4 + ["join"] * 2


async def test_a_worker_gets_its_files_when_the_authority_has_made_them(fake: FakeEngine) -> None:
    """Before, there is nobody to trust."""
    await create(fake, 1, 1)

    made = next(i for i, each in enumerate(fake.requests) if each.operation == "ContainerExec" and each.json["Cmd"][0] == "kubeadm")
    put = next(i for i, each in enumerate(fake.requests) if is_put_into(each, fake.containers[WORKER]))
    assert made < put


def is_put_into(request: Received, container: FakeContainer) -> bool:
    return request.operation == "PutContainerArchive" and _container_of(request) == container.id


async def test_control_planes_are_initialised_at_once(fake: FakeEngine) -> None:
    """All with the same keys, as the members of one new etcd, of which kubeadm's own configuration says nothing; none of them joins."""
    kubeadm = fake.node.programs["kubeadm"]

    def makes_keys(container: FakeContainer, argv: Sequence[str], stdin: bytes) -> ProgramResult:
        container.files.setdefault("/etc/kubernetes/pki/ca.key", b"the first one's")
        return kubeadm(container, argv, stdin)

    fake.node.programs["kubeadm"] = makes_keys

    await create(fake, 3, 1)

    control_planes = [FIRST, "demo-control-plane2", "demo-control-plane3"]
    members = ",".join(f"{name}=https://{fake.containers[name].address}:2380" for name in control_planes)
    for name in control_planes:
        files = fake.containers[name].files
        assert files["/etc/kubernetes/pki/ca.key"] == b"the first one's"
        (cluster,) = [each for each in yaml.safe_load_all(files["/kind/etcd.conf"]) if each["kind"] == "ClusterConfiguration"]
        assert cluster["etcd"]["local"]["extraArgs"] == [{"name": "initial-cluster", "value": members}]
        documents = {each["kind"]: each for each in yaml.safe_load_all(files["/kind/kubeadm.conf"])}
        assert "etcd" not in documents["ClusterConfiguration"]
        assert documents["InitConfiguration"]["localAPIEndpoint"]["advertiseAddress"] == fake.containers[name].address
    assert {name for name, command in kubeadm_runs(fake) if command == "join"} == {WORKER}


async def test_controllers_of_several_control_planes_begin_when_all_nodes_have_their_pod_cidrs(fake: FakeEngine) -> None:
    """They would give a Node that its kubelet has made others than its CNI configuration has."""
    kubeadm = fake.node.programs["kubeadm"]
    patched: list[int] = []

    def starts_controllers(container: FakeContainer, argv: Sequence[str], stdin: bytes) -> ProgramResult:
        if container.booted and argv[1] == "init" and argv[-1].startswith("--skip-phases=") and "controller-manager" not in argv[-1]:
            patched.append(sum(each.startswith("PATCH /api/v1/nodes/demo-") for each in fake.api_requests(BALANCER)))
        return kubeadm(container, argv, stdin)

    fake.node.programs["kubeadm"] = starts_controllers
    fake.node.registers_first = True

    await create(fake, 3, 1)

    assert patched == [4, 4, 4]


async def test_patches_of_a_node_that_joins_count_for_a_control_plane(fake: FakeEngine) -> None:
    """Also where it is initialised beside the first; those of documents of the cluster count where they are the first one's."""
    patches = [
        "kind: JoinConfiguration\nnodeRegistration: {taints: []}\nskipPhases: [preflight]",
        "kind: ClusterConfiguration\nclusterName: patched",
    ]

    seen = Recording()

    await Cluster.create("demo", config=shape(2, 0) | {"kubeadmConfigPatches": patches}, engine=fake.url, on_event=seen.keep)

    documents = {each["kind"]: each for each in yaml.safe_load_all(fake.containers["demo-control-plane2"].files["/kind/kubeadm.conf"])}
    assert documents["InitConfiguration"]["nodeRegistration"]["taints"] == []
    assert documents["ClusterConfiguration"]["clusterName"] == "patched"
    (warning,) = [event for event in seen.of(told.Warned) if "JoinConfiguration change skipPhases" in event.message]
    assert warning.node == "demo-control-plane2"


async def test_control_planes_that_cannot_wait_join_one_by_one(fake: FakeEngine) -> None:
    """Those of images that do not pause. etcd takes one new member at a time: a join begins when the one before has been told."""
    files = {"/kind/version": b"v1.37.2\n", "/kind/manifests/default-cni.yaml": b"", "/kind/manifests/default-storage.yaml": b""}
    fake.images["kind:1"] = FakeImage(reference="kind:1", files=files)
    seen = Recording()
    begun: list[int] = []
    join = fake.node.programs["kubeadm"]

    def kubeadm(container: FakeContainer, argv: Sequence[str], stdin: bytes) -> ProgramResult:
        if argv[1] == "join":
            begun.append(sum(isinstance(event, told.NodeJoined) for event in seen))
        return join(container, argv, stdin)

    fake.node.programs["kubeadm"] = kubeadm

    await create(fake, 3, 0, image="kind:1", on_event=seen.keep)

    assert begun == [0, 1]


# -- when one fails


def dies_at(fake: FakeEngine, kind: type[Event], node: str) -> Callable[[Event], Any]:
    """A listener that ends a node at an event of its own."""
    dead: list[str] = []

    async def listen(event: Event) -> None:
        if isinstance(event, kind) and event.node == node and not dead:
            dead.append(node)
            fake.die(node)

    return listen


@pytest.mark.parametrize("kind", [told.NodeStarted, told.NodePaused, told.NodeBooted, told.RuntimeReady, told.NodeJoined])
async def test_a_worker_that_dies_ends_the_create(fake: FakeEngine, home: Path, kind: type[Event]) -> None:
    """Whenever it does: it is named, and nothing is left of any node."""
    fake.node.becomes_ready = False  # the create goes on until then

    with nothing_left(fake, home), pytest.raises(StepFailed, match=WORKER2) as raised:
        await create(fake, 1, 2, on_event=dies_at(fake, kind, WORKER2))

    assert isinstance(raised.value.failures[0], BootFailed)


@pytest.mark.usefixtures("nobody_dies")
async def test_a_join_that_fails_ends_the_create(fake: FakeEngine, home: Path) -> None:
    """With kubeadm's last words, and the node's name."""
    init = fake.node.programs["kubeadm"]

    def kubeadm(container: FakeContainer, argv: Sequence[str], stdin: bytes) -> ProgramResult:
        if argv[1] == "join" and container.name == WORKER:
            return ProgramResult(exit_code=1, stderr=b"error: couldn't validate the identity of the API server\n")
        return init(container, argv, stdin)

    fake.node.programs["kubeadm"] = kubeadm

    with nothing_left(fake, home), pytest.raises(StepFailed, match=f"join node {WORKER}") as raised:
        await create(fake, 1, 2)

    (failure,) = raised.value.failures
    assert isinstance(failure, ExecFailed)
    assert "identity of the API server" in str(failure)


@pytest.mark.parametrize("event", ["NodeStarted", "NodePaused", "RuntimeReady", "ControlPlaneUp", "NodeJoined", "NodeReady"])
async def test_cancelled_at_an_event(fake: FakeEngine, home: Path, event: str) -> None:
    """Nothing is left, however far each of the nodes was."""
    with nothing_left(fake, home), anyio.CancelScope() as scope:

        async def listen(each: Event) -> None:
            if type(each).__name__ == event:
                scope.cancel()

        await create(fake, 3, 1, on_event=listen)

    assert scope.cancelled_caught


async def test_cancelled_during_joins(fake: FakeEngine, home: Path) -> None:
    """They go on without an end when the create is cancelled."""
    init = fake.node.programs["kubeadm"]

    def kubeadm(container: FakeContainer, argv: Sequence[str], stdin: bytes) -> ProgramResult:
        return ProgramResult(hangs=True) if argv[1] == "join" else init(container, argv, stdin)

    fake.node.programs["kubeadm"] = kubeadm

    with nothing_left(fake, home), anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:

            async def cancel_at_the_joins() -> None:
                while sum(command == "join" for _, command in kubeadm_runs(fake)) < 2:
                    await anyio.sleep(0.01)
                scope.cancel()

            tasks.start_soon(cancel_at_the_joins)
            await create(fake, 1, 2)

    assert scope.cancelled_caught
