"""Nodes added to a cluster that is there: what is made, from what is known of it, and that nothing is left of one that fails."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
import yaml

from kindasync import Cluster, ClusterNotFound
from kindasync import events as told
from kindasync.cluster import add_node
from kindasync.cluster._add import _networking
from kindasync.cluster._names import node_names
from kindasync.config import IPFamily, Role
from kindasync.errors import ClusterError, ConfigInvalid, ExecFailed, StepFailed
from kindasync.events import Event
from kindasync.testing import FakeContainer, FakeEngine, ProgramResult
from tests.unit.leftovers import nothing_left
from tests.unit.recording import Recording
from tests.unit.test_nodes_together import BALANCER, FIRST, WORKER, WORKER2, shape
from tests.unit.test_remove_node import Etcd

pytestmark = pytest.mark.anyio


async def create(fake: FakeEngine, control_planes: int = 1, workers: int = 1, **config: Any) -> Cluster:
    return await Cluster.create("demo", config=shape(control_planes, workers) | config, engine=fake.url)


def documents(fake: FakeEngine, node: str) -> dict[str, dict[str, Any]]:
    """The documents of a node's kubeadm configuration, by kind."""
    return {document["kind"]: document for document in yaml.safe_load_all(fake.containers[node].files["/kind/kubeadm.conf"])}


# -- what is made


@pytest.mark.parametrize(
    ("role", "taken", "expected"),
    [
        (Role.WORKER, set(), "demo-worker"),
        (Role.WORKER, {"demo-worker", "demo-worker2"}, "demo-worker3"),
        (Role.WORKER, {"demo-worker", "demo-worker3"}, "demo-worker2"),
        (Role.CONTROL_PLANE, {"demo-control-plane2"}, "demo-control-plane"),
    ],
)
def test_a_node_has_the_first_name_that_is_free(role: Role, taken: set[str], expected: str) -> None:
    """As the kind program would number it."""
    assert [*node_names("demo", [role], taken)] == [expected]


async def test_a_worker_is_part_of_its_cluster(fake: FakeEngine) -> None:
    """By labels, network and image; it has an address of its own, and a run of its own."""
    cluster = await create(fake)

    node = await cluster.add_node()

    added, before = fake.containers[WORKER2], fake.containers[WORKER]
    assert (node.name, node.role, node.id) == (WORKER2, Role.WORKER, added.id)
    assert added.labels["io.x-k8s.kind.cluster"] == "demo"
    assert added.labels["io.x-k8s.kind.role"] == "worker"
    assert added.labels["kindasync.run"] != before.labels["kindasync.run"]
    assert added.asked_address == added.address != before.address
    assert added.image is before.image
    assert [each.name for each in (await Cluster.get("demo", engine=fake.url)).nodes] == [FIRST, WORKER, WORKER2]


async def test_it_joins_with_what_the_cluster_says(fake: FakeEngine) -> None:
    """ClusterConfiguration as kubeadm keeps it; nothing is guessed from defaults. Its podCIDR is the controller-manager's matter."""
    cluster = await create(fake, networking={"podSubnet": "10.10.0.0/16", "serviceSubnet": "10.20.0.0/16"})

    await cluster.add_node()

    assert documents(fake, WORKER2)["ClusterConfiguration"] == documents(fake, FIRST)["ClusterConfiguration"]
    registration = documents(fake, WORKER2)["JoinConfiguration"]["nodeRegistration"]
    args = {arg["name"]: arg["value"] for arg in registration["kubeletExtraArgs"]}
    assert args["provider-id"] == f"kind://docker/demo/{WORKER2}"
    assert args["node-ip"] == fake.containers[WORKER2].address
    assert "/etc/cni/net.d/10-kindasync.conflist" not in fake.containers[WORKER2].files


ASKED: dict[str, Any] = {
    "networking": {"dnsSearch": ["corp.example", "example"]},
    "kubeadmConfigPatches": ["kind: JoinConfiguration\nnodeRegistration: {kubeletExtraArgs: {v: 4}}"],
    "kubeadmConfigPatchesJSON6902": [
        {
            "group": "kubeadm.k8s.io",
            "version": "v1beta4",
            "kind": "ClusterConfiguration",
            "patch": '[{"op": "add", "path": "/apiServer/certSANs/-", "value": "api.example"}]',
        },
        {"group": "", "version": "", "kind": "JoinConfiguration", "patch": '[{"op": "add", "path": "/a", "value": "1:30"}]'},
    ],
    "containerdConfigPatches": ["[debug]\nlevel = 'info'"],
    "containerdConfigPatchesJSON6902": ['[{"op": "add", "path": "/imports", "value": []}]'],
}


async def test_what_was_asked_of_all_nodes_is_asked_of_it_too(fake: FakeEngine) -> None:
    """Patches and search domains: whoever adds it, and if no other node has joined. What the cluster keeps is not patched again."""
    await create(fake, 1, 0, **ASKED)

    await (await Cluster.get("demo", engine=fake.url)).add_node()

    added, configuration = fake.containers[WORKER], documents(fake, WORKER)
    assert {arg["name"]: arg["value"] for arg in configuration["JoinConfiguration"]["nodeRegistration"]["kubeletExtraArgs"]}["v"] == "4"
    assert configuration["JoinConfiguration"]["a"] == "1:30"
    assert configuration["ClusterConfiguration"]["apiServer"]["certSANs"].count("api.example") == 1
    assert tomllib.loads(added.files["/etc/containerd/config.toml"].decode()) == {"version": 3, "debug": {"level": "info"}, "imports": []}
    assert added.env["KIND_DNS_SEARCH"] == "corp.example example"


async def test_control_planes_keep_what_was_asked_of_all(fake: FakeEngine) -> None:
    """Added ones, too. Patches may hold secrets: the file is root's, and workers, who need none of it, have none."""
    kept = "/kind/cluster.conf"
    cluster = await create(fake, 2, 1, **ASKED)

    node = await cluster.add_node("control-plane")

    first, added = fake.containers[FIRST], fake.containers[node.name]
    assert added.files[kept] == first.files[kept]
    assert added.modes[kept] == first.modes[kept] == 0o600
    assert kept not in fake.containers[WORKER].files


async def test_what_asks_for_nothing_keeps_nothing(fake: FakeEngine) -> None:
    """There is no such file then."""
    await create(fake)

    assert "/kind/cluster.conf" not in fake.containers[FIRST].files


OWN: list[dict[str, Any]] = [
    {
        "labels": {"tier": "db"},
        "extraMounts": [{"hostPath": "/srv", "containerPath": "/srv", "readOnly": True}],
        "extraPortMappings": [{"containerPort": 30080, "hostPort": 8080, "listenAddress": "127.0.0.1"}],
        "kubeadmConfigPatches": ["kind: JoinConfiguration\nnodeRegistration: {kubeletExtraArgs: {v: 5}}"],
    },
    {"cpus": "500m", "memory": "1Gi", "extraHosts": {"a.example": "10.0.0.1"}, "labels": {"team": "storage"}},
]


async def test_what_is_asked_of_it_alone(fake: FakeEngine) -> None:
    """As an entry of kind's nodes, and of ours; its patches come after the cluster's."""
    cluster = await create(fake, 1, 0, **ASKED)

    await cluster.add_node(config=OWN)

    added, join = fake.containers[WORKER], documents(fake, WORKER)["JoinConfiguration"]
    args = {arg["name"]: arg["value"] for arg in join["nodeRegistration"]["kubeletExtraArgs"]}
    assert (args["node-labels"], args["v"], join["a"]) == ("tier=db", "5", "1:30")
    assert "/srv:/srv:ro" in added.host_config["Binds"]
    assert added.host_config["PortBindings"] == {"30080/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}]}
    assert (added.host_config["NanoCpus"], added.host_config["Memory"]) == (500_000_000, 1 << 30)
    assert added.host_config["ExtraHosts"] == ["a.example:10.0.0.1"]
    assert added.labels["team"] == "storage"
    assert b"systemReserved" in added.files["/kind/patches/kubeletconfiguration+merge.yaml"]


async def test_its_image_is_the_one_asked_for_last(fake: FakeEngine) -> None:
    """The argument, else its own, else that of the first control plane."""
    ours = fake.images["kindasync/node:v1.37.2"]
    for reference in ("a:1", "b:1"):
        fake.images[reference] = replace(ours, reference=reference)
    cluster = await create(fake, 1, 0)

    for image in ("", "b:1"):
        await cluster.add_node(config={"image": "a:1"}, image=image)

    assert [fake.containers[name].image.reference for name in (WORKER, WORKER2)] == ["a:1", "b:1"]


@pytest.mark.parametrize(
    ("config", "path"),
    [({"image": 1}, "nodes[0].image"), ([{}, {"memory": "1Pi"}], "extras.nodes[0].memory")],
)
async def test_what_cannot_be_asked_of_it(fake: FakeEngine, config: Any, path: str) -> None:
    """Nothing is made."""
    cluster = await create(fake)
    before = set(fake.containers)

    with pytest.raises(ConfigInvalid) as raised:
        await cluster.add_node(config=config)

    assert [problem.path for problem in raised.value.problems] == [path]
    assert set(fake.containers) == before


async def test_its_token_is_new_and_does_not_last(fake: FakeEngine) -> None:
    """Made for this join, removed after it; told nowhere."""
    cluster = await create(fake)
    first_token = documents(fake, WORKER)["JoinConfiguration"]["discovery"]["tlsBootstrapToken"]
    seen = Recording()

    await cluster.add_node(on_event=seen.keep)

    token = documents(fake, WORKER2)["JoinConfiguration"]["discovery"]["tlsBootstrapToken"]
    (secret,) = [each for each in fake.api_objects(FIRST) if each["kind"] == "Secret"]
    assert secret["stringData"]["token-id"] + "." + secret["stringData"]["token-secret"] == token != first_token
    requests = fake.api_requests(FIRST)
    made = requests.index("POST /api/v1/namespaces/kube-system/secrets")
    assert f"DELETE /api/v1/namespaces/kube-system/secrets/bootstrap-token-{token[:6]}" in requests[made:]
    assert all(token[7:] not in str(event.to_json()) for event in seen)


async def test_each_stage_is_told(fake: FakeEngine) -> None:
    """As in a create."""
    cluster = await create(fake)
    seen = Recording()

    await cluster.add_node(on_event=seen.keep)

    boot = ["ContainerCreated", "NodeStarted", "NodePaused", "FilesPut", "BootSignalled", "NodeBooted", "RuntimeReady", "NodeJoined"]
    assert [name for name in seen.names if name != "ReadinessObserved"] == [*boot, "NodeRegistered", "NodeReady"]
    assert {event.node for event in seen if event.node} == {WORKER2}


async def test_two_at_once_are_two_nodes(fake: FakeEngine) -> None:
    """The name is claimed by its container; who is late takes the next."""
    cluster = await create(fake)
    nodes = []

    async def add() -> None:
        nodes.append(await cluster.add_node())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(add)
        tasks.start_soon(add)

    assert {node.name for node in nodes} == {WORKER2, "demo-worker3"}
    assert len({container.address for container in fake.containers.values()}) == 4


async def test_a_name_that_something_else_has_is_passed_over(fake: FakeEngine) -> None:
    """Also on a host whose kernel has no modules to mount, which the Engine says first."""
    cluster = await create(fake)
    fake.add_container(WORKER2, "kindasync/node:v1.37.2")
    fake.fail("ContainerCreate", status=400, message="bind source path does not exist: /lib/modules")

    assert (await cluster.add_node()).name == "demo-worker3"


async def test_a_control_plane_has_the_keys_and_a_place_behind_the_balancer(fake: FakeEngine) -> None:
    """The balancer's configuration is written, then it is told to read it; it runs on."""
    cluster = await create(fake, 2, 0)
    fake.containers[FIRST].files["/etc/kubernetes/pki/ca.key"] = b"key"
    seen = Recording()

    node = await cluster.add_node("control-plane", on_event=seen.keep)

    assert node.name == "demo-control-plane3"
    assert fake.containers[node.name].files["/etc/kubernetes/pki/ca.key"] == b"key"
    assert documents(fake, node.name)["JoinConfiguration"]["controlPlane"]
    balancer = fake.containers[BALANCER]
    assert f"server {node.name} {node.name}:6443" in balancer.files["/kind/haproxy.cfg"].decode()
    assert (balancer.signals, balancer.starts) == (["SIGUSR2"], 1)
    assert seen.only(told.BalancerReloaded).control_planes == (FIRST, "demo-control-plane2", node.name)


# -- what is refused


async def test_there_has_to_be_a_balancer_for_another_control_plane(fake: FakeEngine) -> None:
    """All nodes ask the one that there is by its name. Nothing is made."""
    cluster = await create(fake)
    before = set(fake.containers)

    with pytest.raises(ClusterError, match="cannot add a control plane") as raised:
        await cluster.add_node("control-plane")

    assert "no balancer" in raised.value.why
    assert set(fake.containers) == before


async def test_a_balancer_that_does_not_run(fake: FakeEngine) -> None:
    """No node could join; nothing is made."""
    cluster = await create(fake, 2, 0)
    before = set(fake.containers)
    fake.die(BALANCER)

    with pytest.raises(ClusterError, match="cannot add a node") as raised:
        await cluster.add_node()

    assert f"{BALANCER} is exited" in raised.value.why
    assert set(fake.containers) == before


async def test_a_balancer_of_another_program_is_left_alone(fake: FakeEngine) -> None:
    """It cannot be told."""
    cluster = await create(fake, 2, 0)
    del fake.containers[BALANCER].files["/kind/haproxy.cfg"]

    with pytest.raises(ClusterError, match="was not made by kindasync"):
        await cluster.add_node(Role.CONTROL_PLANE)


async def test_what_is_no_role_and_no_cluster(fake: FakeEngine) -> None:
    """Each with what to do."""
    with pytest.raises(ClusterError, match='no node of role "external-load-balancer"'):
        await add_node("demo", role="external-load-balancer", engine=fake.url)
    with pytest.raises(ClusterNotFound):
        await add_node("demo", engine=fake.url)


# -- when it fails


def fails_at_join(fake: FakeEngine) -> None:
    kubeadm = fake.node.programs["kubeadm"]

    def failing(container: FakeContainer, argv: Sequence[str], stdin: bytes) -> ProgramResult:
        return ProgramResult(exit_code=1, stderr=b"error: no\n") if argv[1] == "join" else kubeadm(container, argv, stdin)

    fake.node.programs["kubeadm"] = failing


async def test_nothing_is_left_of_a_join_that_fails(fake: FakeEngine, home: Path) -> None:
    """No container, no Node object, no token; the cluster is as it was."""
    cluster = await create(fake)
    fails_at_join(fake)
    seen = Recording()

    with nothing_left(fake, home), pytest.raises(StepFailed, match=f"join node {WORKER2}") as raised:
        await cluster.add_node(on_event=seen.keep)

    assert isinstance(raised.value.failures[0], ExecFailed)
    assert f"DELETE /api/v1/nodes/{WORKER2}" in fake.api_requests(FIRST)
    assert seen.only(told.RolledBack).left_behind == ()


async def test_a_control_plane_that_fails_leaves_etcd_and_the_balancer(fake: FakeEngine, home: Path) -> None:
    """kubeadm may have made it a member before."""
    cluster = await create(fake, 2, 0)
    etcd = Etcd({"1": FIRST, "2": "demo-control-plane2", "3": "demo-control-plane3"})
    fake.node.programs["curl"] = etcd
    fails_at_join(fake)

    with nothing_left(fake, home), pytest.raises(StepFailed, match="join node demo-control-plane3"):
        await cluster.add_node("control-plane")

    assert list(etcd.members.values()) == [FIRST, "demo-control-plane2"]
    assert "demo-control-plane3" not in fake.containers[BALANCER].files["/kind/haproxy.cfg"].decode()


@pytest.mark.parametrize("event", ["ContainerCreated", "NodePaused", "RuntimeReady", "NodeJoined", "NodeReady"])
async def test_cancelled_at_an_event(fake: FakeEngine, home: Path, event: str) -> None:
    """However far it was, the node is gone; and it is told, before that."""
    cluster = await create(fake)
    seen = Recording()

    with nothing_left(fake, home), anyio.CancelScope() as scope:

        async def listen(each: Event) -> None:
            await seen.keep(each)
            if type(each).__name__ == event:
                scope.cancel()

        await cluster.add_node(on_event=listen)

    assert scope.cancelled_caught
    assert event == "NodeReady" or seen.names.index("Interrupted") < seen.names.index("NodeRemoved")


async def test_a_listener_that_fails_at_the_last_event(fake: FakeEngine, home: Path) -> None:
    """Whoever gets an error has no node."""
    cluster = await create(fake)

    async def listen(event: Event) -> None:
        if type(event).__name__ == "NodeReady":
            raise ValueError("a bug of the listener's")

    with nothing_left(fake, home), pytest.raises(ValueError, match="listener's"):
        await cluster.add_node(on_event=listen)


async def test_what_could_not_be_removed_is_told(fake: FakeEngine) -> None:
    """In a note of the error that is raised all the same."""
    cluster = await create(fake)
    fails_at_join(fake)
    fake.fail("ContainerDelete", message="device or resource busy")

    with pytest.raises(StepFailed, match="join node") as raised:
        await cluster.add_node()

    assert any("left behind" in note and "busy" in note for note in raised.value.__notes__)


@pytest.mark.parametrize(
    ("pods", "services", "family"),
    [
        ("10.244.0.0/16", "10.96.0.0/16", IPFamily.IPV4),
        ("fd00:10:244::/56", "fd00:10:96::/112", IPFamily.IPV6),
        ("10.244.0.0/16,fd00:10:244::/56", "10.96.0.0/16,fd00:10:96::/112", IPFamily.DUAL),
        ("10.244.0.0/16,fd00:10:244::/56", "10.96.0.0/16", IPFamily.DUAL),
    ],
)
def test_address_families_are_those_of_pods_and_services(pods: str, services: str, family: IPFamily) -> None:
    """What kubeadm's configuration says of networks."""
    assert _networking({"podSubnet": pods, "serviceSubnet": services}).ip_family is family
