"""Creating a cluster: what it tells, what it makes, and how it ends when something is in the way."""

from __future__ import annotations

import asyncio
import base64
import json
import stat
from collections.abc import Sequence
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import pytest
import yaml

from kindasync import AlreadyExists, Cluster, ConfigInvalid, KindasyncError, NotReady
from kindasync import events as told
from kindasync.cluster._images import DEFAULT_MINOR, PINNED
from kindasync.cluster._owner import owner
from kindasync.docker import Engine
from kindasync.docker.containers import container_remove
from kindasync.docker.networks import network_list
from kindasync.errors import (
    ApiError,
    BootFailed,
    ClusterError,
    ConnectionLost,
    EngineError,
    ExecFailed,
    ImageUnusable,
    LeftBehind,
    StepFailed,
)
from kindasync.events import Event, Timed
from kindasync.node import PausedNode, _boot
from kindasync.testing import FakeContainer, FakeEngine, FakeImage, ProgramResult
from tests.unit.leftovers import nothing_left
from tests.unit.recording import Recording

pytestmark = pytest.mark.anyio

NODE = "demo-control-plane"
NODE_IMAGE = "kindasync/node:v1.37.2"
KIND: dict[str, Any] = {"kind": "Cluster", "apiVersion": "kind.x-k8s.io/v1alpha4"}
OURS: dict[str, Any] = {"kind": "ClusterExtras", "apiVersion": "kindasync/v1alpha1"}
ASKED_PORT = KIND | {"networking": {"apiServerPort": 26443}}


async def create(fake: FakeEngine, name: str = "demo", **options: Any) -> Cluster:
    """A cluster on the fake."""
    return await Cluster.create(name, engine=fake.url, **options)


# -- what it tells


async def test_each_stage_is_told_in_order(fake: FakeEngine) -> None:
    """From the network to the cluster, in the order in which things can only happen."""
    seen = Recording()

    await create(fake, on_event=seen.keep)

    boot = ["NetworkCreated", "ContainerCreated", "NodeStarted", "NodePaused", "FilesPut", "BootSignalled", "NodeBooted", "RuntimeReady"]
    assert seen.names[: len(boot)] == boot
    # kubeadm goes on while its API server is already used.
    api = {
        "ControlPlaneUp",
        "ApiServerUp",
        "ManifestApplied",
        "NetworkPolicyNotEnforced",
        "NodeRegistered",
        "ReadinessObserved",
        "NodeReady",
    }
    assert set(seen.names[len(boot) : -1]) == api
    assert seen.names.index("ApiServerUp") < min(seen.names.index(name) for name in ("ManifestApplied", "ReadinessObserved"))
    assert seen.names[-1] == "ClusterReady"


async def test_each_phase_of_kubeadm_is_told(fake: FakeEngine) -> None:
    """Those that write files, before the boot, and those after it, of three runs at once."""
    kubeadm = fake.node.programs["kubeadm"]

    def talking(container: FakeContainer, argv: Sequence[str], stdin: bytes) -> ProgramResult:
        result = kubeadm(container, argv, stdin)
        if "--print-manifest" in argv:
            return result
        return ProgramResult(
            stdout=b"[init] Using Kubernetes\n[certs] CA\n[certs] more\n\t[WARNING X]: no\n[bootstrap-token] Made\n[bootstrap-token] Made"
        )

    fake.node.programs["kubeadm"] = talking
    seen = Recording()

    await create(fake, on_event=seen.keep)

    phases = [(event.node, event.phase) for event in seen if isinstance(event, told.KubeadmPhase)]
    assert sorted(phases) == [(NODE, "bootstrap-token")] * 4 + [(NODE, "certs")] * 4


@pytest.mark.parametrize("image", [NODE_IMAGE, "kindest/node:v1.37.0"])
async def test_what_kubeadm_ignores_in_its_configuration_is_told_once(fake: FakeEngine, image: str) -> None:
    """Of each document of each node, though it says so whenever it reads one; such as a misspelled field of a patch."""
    if image not in fake.images:
        fake.images[image] = FakeImage(reference=image, files=dict(fake.images[NODE_IMAGE].files))
    plain = fake.node.programs["kubeadm"]

    def strict(container: FakeContainer, argv: Sequence[str], stdin: bytes) -> ProgramResult:
        kind = b"JoinConfiguration" if "join" in argv else b"ClusterConfiguration"
        line = b'W1127 20:55:39.3 8 x.go:3] error unmarshaling configuration schema.GroupVersionKind{Version:"v1beta4", Kind:"%s"}: strict decoding error: unknown field "a.b"\n'
        return ProgramResult(stdout=plain(container, argv, stdin).stdout, stderr=line % kind * 2)

    fake.node.programs["kubeadm"] = strict
    seen = Recording()

    await create(fake, config=[KIND | {"nodes": [{"role": "control-plane"}, {"role": "worker"}]}], image=image, on_event=seen.keep)

    assert sorted((each.node, each.message) for each in seen.of(told.Warned)) == [
        (NODE, 'Kubernetes ignores a part of ClusterConfiguration: unknown field "a.b"'),
        (NODE.replace("control-plane", "worker"), 'Kubernetes ignores a part of JoinConfiguration: unknown field "a.b"'),
    ]


async def test_each_stage_says_how_long_it_took(fake: FakeEngine) -> None:
    """An event that ends a stage has its duration; only what is observed, repeated or just so has none. Times never go back."""
    seen = Recording()

    await create(fake, on_event=seen.keep)

    moments = {"BootSignalled", "NetworkPolicyNotEnforced", "ReadinessObserved"}
    assert {type(event).__name__ for event in seen if not isinstance(event, Timed)} == moments
    assert all(0 <= event.to_json()["duration_s"] <= round(event.monotonic_s, 3) for event in seen.of(Timed))
    assert all(one.monotonic_s <= other.monotonic_s and one.time <= other.time for one, other in pairwise(seen))
    assert seen.only(told.ClusterReady).duration_s == pytest.approx(seen[-1].monotonic_s, abs=0.01)


async def test_each_event_names_its_cluster_and_node(fake: FakeEngine) -> None:
    """The stages of a node name it; those of the cluster name no node."""
    seen = Recording()

    await create(fake, on_event=seen.keep)

    assert {event.cluster for event in seen} == {"demo"}
    of_the_cluster = {"NetworkCreated", "ApiServerUp", "ManifestApplied", "NetworkPolicyNotEnforced", "ClusterReady"}
    observed = [event for event in seen if not isinstance(event, told.ReadinessObserved)]
    assert all(event.node == ("" if type(event).__name__ in of_the_cluster else NODE) for event in observed)


async def test_readiness_is_told_as_it_is_observed(fake: FakeEngine) -> None:
    """The node, the default ServiceAccount and a scheduled pod, each with its state."""
    seen = Recording()

    await create(fake, on_event=seen.keep)

    assert {(event.subject, event.node, event.state) for event in seen.of(told.ReadinessObserved)} == {
        (f"node {NODE}", NODE, "Ready"),
        ("default ServiceAccount", "", "there"),
        ("a scheduled pod", "", f"coredns-1 is on {NODE}"),
    }


# -- what it makes


@pytest.mark.parametrize(("networking", "waits"), [({}, True), ({"disableDefaultCNI": True}, False)])
async def test_dns_is_waited_for_on_request(fake: FakeEngine, networking: dict[str, Any], waits: bool) -> None:
    """But not where no pod runs yet."""
    seen = Recording()
    documents = [
        {"kind": "Cluster", "apiVersion": "kind.x-k8s.io/v1alpha4", "networking": networking},
        {"kind": "ClusterExtras", "apiVersion": "kindasync/v1alpha1", "waitForDNS": True},
    ]

    await Cluster.create("demo", config=yaml.safe_dump_all(documents), engine=fake.url, on_event=seen.keep)

    assert [event.state for event in seen.of(told.ReadinessObserved) if event.subject == "DNS"] == ["ready"] * waits
    assert seen.names[-1] == "ClusterReady"


async def test_the_kubeconfig_is_a_private_file(fake: FakeEngine, home: Path) -> None:
    """0600 in a directory of 0700, below the user's state, with what `cluster.kubeconfig` says."""
    cluster = await create(fake)

    assert stat.S_IMODE(cluster.kubeconfig_path.stat().st_mode) == 0o600
    assert stat.S_IMODE(cluster.kubeconfig_path.parent.stat().st_mode) == 0o700
    assert cluster.kubeconfig_path.is_relative_to(home / ".local/state/kindasync")
    assert yaml.safe_load(cluster.kubeconfig_path.read_text()) == cluster.kubeconfig
    assert cluster.kubeconfig["current-context"] == "kind-demo"


async def test_the_library_changes_no_kubeconfig_of_the_user(fake: FakeEngine, home: Path) -> None:
    """What it writes is the private file, nothing else."""
    cluster = await create(fake)

    assert [path for path in home.rglob("*") if path.is_file()] == [cluster.kubeconfig_path]


async def test_the_kubeconfigs_directory_is_mounted_in_the_control_plane(fake: FakeEngine) -> None:
    """So that it is found again from the container alone; read-only, in the form whose missing source never stops a start."""
    cluster = await create(fake)

    assert f"{cluster.kubeconfig_path.parent}:/kind/host:ro" in fake.containers[NODE].host_config["Binds"]


async def test_the_container_has_kinds_labels_and_those_of_the_run(fake: FakeEngine) -> None:
    """kind's two, by which both programs find it; the run and its owner, by which a rollback and gc do."""
    await create(fake)

    labels = fake.containers[NODE].labels
    assert labels["io.x-k8s.kind.cluster"] == "demo"
    assert labels["io.x-k8s.kind.role"] == "control-plane"
    assert labels["kindasync.run"]
    assert labels["kindasync.owner"]


async def test_the_network_is_kinds_with_a_subnet_of_our_choice(fake: FakeEngine) -> None:
    """So that addresses can be asked for; the Engine gives its own from the other half."""
    await create(fake)

    network = fake.networks["kind"]
    assert network.labels == {"kindasync.network": "demo", "kindasync.owner": owner()}
    assert network.enable_ipv6
    (ipv4,) = [subnet for subnet in network.subnets if "." in subnet["Subnet"]]
    assert ipv4 == {"Subnet": "10.89.0.0/16", "IPRange": "10.89.128.0/17", "Gateway": "10.89.0.1"}


async def test_a_network_of_its_own(fake: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The configuration's name wins over the environment's; the network goes with the cluster."""
    monkeypatch.setenv("KIND_EXPERIMENTAL_DOCKER_NETWORK", "other")
    cluster = await create(fake, config=[KIND, OURS | {"network": {"name": "own", "ipv4Subnet": "10.200.0.0/28"}}])

    assert set(fake.networks) - {"bridge", "host", "none"} == {"own"}
    assert fake.containers[NODE].host_config["NetworkMode"] == "own"
    assert fake.containers[NODE].address in {f"10.200.0.{host}" for host in range(2, 8)}

    await cluster.delete()

    assert "own" not in fake.networks


async def test_a_network_of_its_own_is_found_when_no_node_is_left(fake: FakeEngine) -> None:
    """A delete that could not remove it may be tried again."""
    cluster = await create(fake, config=[KIND, OURS | {"network": {"name": "own"}}])
    fake.fail("NetworkDelete", message="the Engine is busy")
    with pytest.raises(LeftBehind, match="could not be deleted whole"):
        await cluster.delete()
    assert (list(fake.containers), "own" in fake.networks) == ([], True)

    await cluster.delete()

    assert "own" not in fake.networks


@pytest.mark.usefixtures("nobody_dies")
async def test_a_network_of_its_own_is_taken_back(fake: FakeEngine, home: Path) -> None:
    """With all else of a create that fails."""
    fake.fail("ContainerStart", message="no space left on device")

    with nothing_left(fake, home), pytest.raises(StepFailed):
        await create(fake, config=[KIND, OURS | {"network": {"name": "own"}}])


async def test_the_nodes_address_is_decided_before_it_starts(fake: FakeEngine) -> None:
    """It is in the create, and is the one that kubeadm's configuration names."""
    await create(fake)

    container = fake.containers[NODE]
    documents = list(yaml.safe_load_all(container.files["/kind/kubeadm.conf"]))
    (init,) = [document for document in documents if document["kind"] == "InitConfiguration"]
    assert container.asked_address == container.address == init["localAPIEndpoint"]["advertiseAddress"]


async def test_the_bootstrap_token_is_deleted_when_creation_ends(fake: FakeEngine) -> None:
    """It joins nodes, and there are none left to join."""
    await create(fake)

    documents = yaml.safe_load_all(fake.containers[NODE].files["/kind/kubeadm.conf"])
    (token,) = [each["token"] for document in documents for each in document.get("bootstrapTokens", ())]
    assert f"DELETE /api/v1/namespaces/kube-system/secrets/bootstrap-token-{token.partition('.')[0]}" in fake.api_requests(NODE)


async def test_the_name_of_the_call_wins_over_the_configurations(fake: FakeEngine) -> None:
    """As kind's --name does."""
    cluster = await create(fake, "given", config={**ASKED_PORT, "name": "configured"})

    assert cluster.name == "given"
    assert list(fake.containers) == ["given-control-plane"]


async def test_a_configuration_in_the_place_of_the_name(fake: FakeEngine, home: Path) -> None:
    """Is told where it belongs."""
    misplaced: Any = ASKED_PORT

    with nothing_left(fake, home), pytest.raises(ConfigInvalid, match="name: must be text, not dict: a configuration is given as config="):
        await Cluster.create(misplaced, engine=fake.url)


async def test_a_plain_function_may_listen(fake: FakeEngine) -> None:
    """It runs in a worker thread, and still gets everything before create returns."""
    seen: list[Event] = []

    await create(fake, on_event=seen.append)

    assert type(seen[-1]).__name__ == "ClusterReady"


async def test_a_listener_that_fails_fails_the_create(fake: FakeEngine, home: Path) -> None:
    """A bug to be seen, with nothing left behind."""

    async def broken(event: Event) -> None:
        if isinstance(event, told.NodePaused):
            raise ZeroDivisionError("a bug in the listener")

    with nothing_left(fake, home), pytest.raises(ZeroDivisionError):
        await create(fake, on_event=broken)


@pytest.mark.parametrize("cancels", ["what it awaits", "itself"])
async def test_a_listener_that_is_cancelled_fails_the_create(fake: FakeEngine, home: Path, cancels: str) -> None:
    """Which ends with it, as its deliveries do: nobody may take that for a success."""

    async def cancelled(event: Event) -> None:
        if isinstance(event, told.NodePaused):
            if cancels == "itself":
                task = asyncio.current_task()
                assert task
                task.cancel()
            future = asyncio.get_running_loop().create_future()
            future.cancel()
            await future

    with nothing_left(fake, home), pytest.raises(RuntimeError, match="a listener of events was cancelled"):
        await create(fake, on_event=cancelled)


async def test_a_listener_that_fails_at_the_very_end_fails_the_create(fake: FakeEngine, home: Path) -> None:
    """Whoever gets an error instead of a cluster has none."""

    async def broken(event: Event) -> None:
        if isinstance(event, told.ClusterReady):
            raise ZeroDivisionError("a bug in the listener")

    with nothing_left(fake, home), pytest.raises(ZeroDivisionError):
        await create(fake, on_event=broken)


# -- names


async def test_a_name_that_is_taken_is_refused(fake: FakeEngine, home: Path) -> None:
    """And the cluster that has it is not touched."""
    await create(fake)

    with nothing_left(fake, home), pytest.raises(AlreadyExists, match='cluster "demo" exists already'):
        await create(fake)


async def test_of_two_creates_of_one_name_one_wins(fake: FakeEngine, home: Path) -> None:
    """The loser gets AlreadyExists, and removes nothing of the winner's."""
    made: list[Cluster] = []
    failed: list[KindasyncError] = []

    async def attempt() -> None:
        try:
            made.append(await create(fake))
        except KindasyncError as error:
            failed.append(error)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(attempt)
        tasks.start_soon(attempt)

    assert [type(error) for error in failed] == [AlreadyExists]
    (winner,) = made
    assert list(fake.containers) == [NODE]
    assert winner.nodes[0].id == fake.containers[NODE].id
    assert (await Cluster.get("demo", engine=fake.url)).kubeconfig_path == winner.kubeconfig_path


async def test_a_name_that_is_taken_at_the_last_moment_is_refused(fake: FakeEngine, home: Path) -> None:
    """Names are claimed, not checked: the other one came after the look and before the create."""
    others: list[Any] = []

    def another_process_is_first() -> None:
        others.append(
            fake.add_container(
                NODE,
                NODE_IMAGE,
                labels={"io.x-k8s.kind.cluster": "demo", "io.x-k8s.kind.role": "control-plane", "kindasync.run": "another"},
            )
        )

    fake.on("ContainerCreate", another_process_is_first, nth=2)  # the first one asks whether the Engine shares our files

    with pytest.raises(AlreadyExists):
        await create(fake)

    assert fake.containers == {NODE: others[0]}


async def test_a_name_that_is_taken_and_not_to_be_seen_yet(fake: FakeEngine, home: Path) -> None:
    """The Engine takes it before the container is in any list: another process makes the cluster at this moment, and nobody is told to remove anything."""
    fake.fail("ContainerCreate", nth=2, status=409, message=f'Conflict. The container name "/{NODE}" is already in use by container "12ab"')

    with nothing_left(fake, home), pytest.raises(AlreadyExists, match='cluster "demo" exists already, or is being made'):
        await create(fake)


async def test_a_container_that_has_the_nodes_name_is_named(fake: FakeEngine, home: Path) -> None:
    """It belongs to no cluster, so that deleting one would not help."""
    fake.add_container(NODE, NODE_IMAGE)

    with nothing_left(fake, home), pytest.raises(AlreadyExists) as raised:
        await create(fake)

    assert f"/{NODE}" in raised.value.why
    assert "docker" in raised.value.hint


async def test_a_renamed_node_still_has_its_clusters_name(fake: FakeEngine, home: Path) -> None:
    """The name of the container is free, the cluster's is not."""
    await create(fake)
    fake.rename(NODE, "renamed")

    with nothing_left(fake, home), pytest.raises(AlreadyExists):
        await create(fake)


async def test_what_is_left_of_a_cluster_still_has_its_name(fake: FakeEngine, home: Path) -> None:
    """A worker without its control plane, as after a delete that was interrupted."""
    fake.add_container("demo-worker", NODE_IMAGE, labels={"io.x-k8s.kind.cluster": "demo", "io.x-k8s.kind.role": "worker"})

    with nothing_left(fake, home), pytest.raises(AlreadyExists):
        await create(fake)


async def test_another_clusters_node_that_comes_between_look_and_claim_counts(fake: FakeEngine, home: Path) -> None:
    """The list after the claim finds it, and the claim is given up."""
    labels = {"io.x-k8s.kind.cluster": "demo", "io.x-k8s.kind.role": "worker", "kindasync.run": "another"}
    fake.on("ContainerCreate", lambda: fake.add_container("demo-worker", NODE_IMAGE, labels=labels), nth=2)

    with pytest.raises(AlreadyExists):
        await create(fake)

    assert list(fake.containers) == ["demo-worker"]


# -- ports, addresses and the network


async def test_a_picked_port_that_is_taken_is_given_up_for_another(fake: FakeEngine) -> None:
    """Nobody asked for it."""
    first = await create(fake)
    server = first.kubeconfig["clusters"][0]["cluster"]["server"]
    await first.delete()
    fake.taken_ports.add(int(server.rpartition(":")[2]))

    second = await create(fake)

    assert second.kubeconfig["clusters"][0]["cluster"]["server"] not in ("", server)
    assert list(fake.containers) == [NODE]


async def test_a_port_that_was_asked_for_and_is_taken_is_an_error(fake: FakeEngine, home: Path) -> None:
    """It says which port, and what to do."""
    fake.taken_ports.add(26443)

    with nothing_left(fake, home), pytest.raises(StepFailed, match="26443") as raised:
        await create(fake, config=ASKED_PORT)

    assert raised.value.step == f"start node {NODE}"
    assert raised.value.hint == "free the port, or ask for another one"


async def test_an_address_that_is_taken_at_start_is_given_up_for_another(fake: FakeEngine) -> None:
    """Two processes that decide on the same one find out at start, and move on."""
    fake.fail("ContainerStart", status=403, message="Address already in use")

    await create(fake)

    first, second = (
        request.json["NetworkingConfig"]["EndpointsConfig"]["kind"]["IPAMConfig"] for request in fake.requests_of("ContainerCreate")[1:]
    )
    assert first["IPv4Address"] != second["IPv4Address"]
    assert list(fake.containers) == [NODE]


async def test_nodes_follow_a_network_that_was_made_anew(fake: FakeEngine) -> None:
    """Somebody has removed it before the first node started, and its subnet is taken: all others get addresses of the new one."""

    first = "10.89.0.0/16"

    def squat() -> None:
        fake.remove_network("kind")
        fake.add_network("squatter", subnet=first)

    fake.on("ContainerStart", squat, nth=1)

    await Cluster.create("demo", config={**KIND, "nodes": [{"role": "control-plane"}, {"role": "worker"}]}, engine=fake.url)

    subnet = ip_network(fake.networks["kind"].subnets[0]["Subnet"])
    assert str(subnet) != first
    assert all(ip_address(container.asked_address) in subnet for container in fake.containers.values())


async def test_ports_of_stopped_nodes_are_taken(fake: FakeEngine, host_ports: range, monkeypatch: pytest.MonkeyPatch) -> None:
    """They need them again when they are started, and cannot be given others."""
    monkeypatch.setenv("KINDASYNC_HOST_PORTS", f"{host_ports[0]}-{host_ports[0]}")
    cluster = await create(fake)
    await cluster.stop()

    with pytest.raises(ClusterError, match="no host port is left"):
        await Cluster.create("other", engine=fake.url)


async def test_addresses_of_stopped_nodes_are_taken(fake: FakeEngine) -> None:
    """They need them again when they are started: whatever is derived from the name, it is not theirs."""
    first = await create(fake)
    address = fake.containers[NODE].asked_address
    fake.die(NODE)
    fake.rename(NODE, "other")
    fake.containers["other"].body["Labels"]["io.x-k8s.kind.cluster"] = "other"

    await create(fake)

    assert first.nodes[0].id == fake.containers["other"].id
    assert fake.containers[NODE].asked_address not in ("", address)


async def test_a_network_that_goes_between_create_and_start_is_made_again(fake: FakeEngine) -> None:
    """Its last user left a moment ago, and took it along."""
    fake.on("ContainerStart", lambda: fake.remove_network("kind"))

    await create(fake)

    assert len(fake.requests_of("NetworkCreate")) == 2
    assert fake.containers[NODE].running
    assert list(fake.networks) == ["kind"]


async def test_a_network_made_by_kind_is_used_without_fixed_addresses_and_never_removed(fake: FakeEngine, home: Path) -> None:
    """The Engine chose its subnet, and it is not ours."""
    fake.add_network("kind")

    with nothing_left(fake, home):
        cluster = await create(fake)
        assert fake.containers[NODE].asked_address == ""
        assert fake.containers[NODE].address != ""
        await cluster.delete()


async def test_our_network_goes_with_its_last_cluster(fake: FakeEngine, home: Path) -> None:
    """Not before."""
    with nothing_left(fake, home):
        first, second = await create(fake, "first"), await create(fake, "second")
        await first.delete()
        assert list(fake.networks) == ["kind"]
        await second.delete()


async def test_a_node_that_was_never_started_keeps_the_network(fake: FakeEngine) -> None:
    """It names the network, and would not start without."""
    cluster = await create(fake)
    fake.add_container("other-control-plane", NODE_IMAGE, labels={"io.x-k8s.kind.cluster": "other"}, network="kind")

    await cluster.delete()

    assert list(fake.networks) == ["kind"]


async def test_an_engine_without_ipv6_gets_a_network_without(home: Path) -> None:
    """As rootless ones, and kernels without ip6tables."""
    with FakeEngine("rootless") as fake, nothing_left(fake, home):
        cluster = await create(fake)
        assert not fake.networks["kind"].enable_ipv6
        assert [subnet["Subnet"] for subnet in fake.networks["kind"].subnets] == ["10.89.0.0/16"]
        await cluster.delete()


async def test_subnets_that_are_taken_are_passed_over(fake: FakeEngine) -> None:
    """Those of other networks are known beforehand."""
    fake.add_network("other", subnet="10.89.64.0/18")

    await create(fake)

    assert "10.90.0.0/16" in [subnet["Subnet"] for subnet in fake.networks["kind"].subnets]


async def test_a_subnet_that_only_the_engine_knows_to_be_taken_is_passed_over(fake: FakeEngine) -> None:
    """A route of its host, for example."""
    fake.fail("NetworkCreate", status=403, message="Pool overlaps with other one on this address space")

    await create(fake)

    assert "10.90.0.0/16" in [subnet["Subnet"] for subnet in fake.networks["kind"].subnets]


async def test_two_networks_of_one_name_become_one_again(home: Path) -> None:
    """Podman, and Docker before 23, let two processes make two of one name: everybody keeps the oldest."""
    with FakeEngine("podman") as fake:
        fake.on("NetworkCreate", lambda: fake.add_network("kind", labels={"kindasync.network": "1"}, subnet="10.94.0.0/16"))

        await create(fake)

        async with Engine.of(fake.url).connect() as connection:
            (network,) = await network_list(connection, name="kind")
        assert network.subnets[0].subnet == "10.94.0.0/16"
        assert fake.containers[NODE].address.startswith("10.94.")


# -- node images


@pytest.mark.parametrize(
    ("image", "why", "hint"),
    [
        ("nowhere/to-be-found:1", "pull access denied for nowhere/to-be-found", "kindasync build node-image"),
        ("busybox:1", "it has no file /kind/version", "kindasync build node-image"),
        ("future:1", "it declares version 99 of the node image contract; this kindasync knows 1 to 1", "update kindasync"),
        ("foreign:1", "it is for arm64, the Engine is amd64", "--arch amd64"),
    ],
)
async def test_an_image_that_is_no_node_image_is_refused_before_it_is_started(
    fake: FakeEngine, home: Path, image: str, why: str, hint: str
) -> None:
    """Each with the reason, and what to do."""
    for other in (
        FakeImage(reference="busybox:1"),
        FakeImage(reference="future:1", labels={"kindasync.contract": "99"}),
        FakeImage(reference="foreign:1", labels={"kindasync.contract": "1"}, architecture="arm64"),
    ):
        fake.images[other.reference] = other

    with nothing_left(fake, home), pytest.raises(ImageUnusable) as raised:
        await create(fake, image=image)

    assert why in raised.value.why
    assert hint in raised.value.hint
    assert fake.requests_of("ContainerStart") == []


async def test_an_image_that_is_not_there_is_pulled(fake: FakeEngine) -> None:
    """With its progress in bytes, for the Engine's architecture, and then used."""
    image = FakeImage(
        reference="registry.example/node:v1.37.2",
        labels={"kindasync.contract": "1"},
        files=dict(fake.images[NODE_IMAGE].files),
        content=bytes(4096),
    )
    fake.registry[image.reference] = image
    seen = Recording()

    await create(fake, image=image.reference, on_event=seen.keep)

    (pull,) = fake.requests_of("ImageCreate")
    assert (pull.param("fromImage"), pull.param("tag"), pull.param("platform")) == ("registry.example/node", "v1.37.2", "linux/amd64")
    assert (seen.of(told.ImagePullProgress)[-1].current, seen.of(told.ImagePullProgress)[-1].total) == (4096, 4096)
    assert seen.only(told.ImagePulled).image == image.reference
    assert fake.containers[NODE].image is image


async def test_a_pull_uses_what_docker_login_left(fake: FakeEngine, home: Path) -> None:
    """The credentials of the registry that the image names."""
    image = FakeImage(
        reference="registry.example/node:v1.37.2", labels={"kindasync.contract": "1"}, files=dict(fake.images[NODE_IMAGE].files)
    )
    fake.registry[image.reference] = image
    (home / ".docker").mkdir()
    auth = base64.b64encode(b"somebody:a password").decode()
    (home / ".docker/config.json").write_text(json.dumps({"auths": {"registry.example": {"auth": auth}}}))

    await create(fake, image=image.reference)

    (pull,) = fake.requests_of("ImageCreate")
    sent = json.loads(base64.urlsafe_b64decode(pull.headers["x-registry-auth"]))
    assert sent == {"username": "somebody", "password": "a password", "serveraddress": "registry.example"}


async def test_a_pull_that_breaks_off_is_an_error(fake: FakeEngine, home: Path) -> None:
    """The registry's words come inside a stream that began with success."""
    fake.fail_in_stream("ImageCreate", message="unexpected EOF")

    with nothing_left(fake, home), pytest.raises(ImageUnusable, match="unexpected EOF"):
        await create(fake, image="registry.example/node:1")


async def test_without_any_image_the_default_is_pulled_or_the_error_says_how_to_build_one(fake: FakeEngine, home: Path) -> None:
    """Never a silent build."""
    del fake.images[NODE_IMAGE]

    with nothing_left(fake, home), pytest.raises(ImageUnusable, match="kindasync build node-image") as raised:
        await create(fake)

    assert "kindest/node:v1.37" in raised.value.what
    assert "12 minutes" in raised.value.hint


async def test_the_default_is_pulled_by_its_digest(fake: FakeEngine) -> None:
    """Of which there is one for the default minor; its nodes boot as kind's do."""
    reference = PINNED[DEFAULT_MINOR]
    name, digest = reference.split("@")
    image = FakeImage(reference=reference, files=dict(fake.images[NODE_IMAGE].files))
    fake.registry[f"{name.rpartition(':')[0]}@{digest}"] = image
    del fake.images[NODE_IMAGE]

    await create(fake)

    (pull,) = fake.requests_of("ImageCreate")
    assert pull.param("tag") == digest
    assert fake.containers[NODE].image is image


async def test_that_network_policies_are_not_enforced_is_told_where_it_is_so(fake: FakeEngine) -> None:
    """By our own pod network. kind's does enforce them, and of another one we know nothing."""
    fake.images["kindest/node:v1.37.0"] = FakeImage(reference="kindest/node:v1.37.0", files=dict(fake.images[NODE_IMAGE].files))
    foreign = {"kind": "Cluster", "apiVersion": "kind.x-k8s.io/v1alpha4", "networking": {"disableDefaultCNI": True}}
    ours, kinds, another = Recording(), Recording(), Recording()

    await create(fake, "ours", on_event=ours.keep)
    await create(fake, "kinds", on_event=kinds.keep, image="kindest/node:v1.37.0")
    await create(fake, "another", on_event=another.keep, config=foreign)

    assert "does not enforce NetworkPolicy" in ours.only(told.NetworkPolicyNotEnforced).to_json()["message"]
    assert [*kinds.of(told.NetworkPolicyNotEnforced), *another.of(told.NetworkPolicyNotEnforced)] == []


async def test_an_image_of_kinds_boots_at_once(fake: FakeEngine) -> None:
    """It does not pause, so files come after its boot, and kubeadm runs all its phases then."""
    fake.images["kindest/node:v1.37.0"] = FakeImage(reference="kindest/node:v1.37.0", files=dict(fake.images[NODE_IMAGE].files))
    seen = Recording()

    cluster = await create(fake, image="kindest/node:v1.37.0", on_event=seen.keep)

    assert cluster.nodes[0].name == NODE
    assert "KINDASYNC_BOOT" not in fake.containers[NODE].env
    assert fake.containers[NODE].signals == []
    assert not {"NodePaused", "BootSignalled", "NodeBooted", "FilesPut"} & set(seen.names)
    assert (
        seen.names.index("NodeStarted")
        < seen.names.index("RuntimeReady")
        < seen.names.index("ControlPlaneUp")
        < seen.names.index("ClusterReady")
    )


# -- the boot


async def test_no_program_runs_in_a_node_between_its_signal_and_runtime_ready(fake: FakeEngine) -> None:
    """On cgroup v2 it would sit in the root cgroup and break systemd's subtree control (kind#2409)."""
    fake.node.reaches_runtime = False
    asked_at_ready: list[int] = []

    async def the_runtime_takes_its_time(event: Event) -> None:
        if isinstance(event, told.NodeBooted):
            fake.containers[NODE].booted = True
            fake.say(NODE, "kindasync: runtime ready\r\n")
        if isinstance(event, told.RuntimeReady):
            asked_at_ready.append(len(fake.requests))
            async with Engine.of(fake.url).connect():  # the fake looks at its nodes whenever it is asked something
                pass

    await create(fake, on_event=the_runtime_takes_its_time)

    operations = [request.operation for request in fake.requests]
    signalled = operations.index("ContainerKill")
    assert {"ContainerExec", "ExecStart"} <= set(operations[:signalled])
    assert not {"ContainerExec", "ExecStart"} & set(operations[signalled : asked_at_ready[0]])


async def test_execs_of_the_paused_phase_have_ended_before_the_signal(fake: FakeEngine) -> None:
    """Hooks' included: what runs on would still be there when systemd starts."""
    order: list[str] = []

    async def hook(node: PausedNode) -> None:
        await node.exec(["slow"])

    def slow(container: FakeContainer, argv: Sequence[str], stdin: bytes) -> ProgramResult:
        order.append("ran")
        return ProgramResult()

    fake.node.programs["slow"] = slow
    fake.on("ContainerKill", lambda: order.append("signalled"))

    await create(fake, before_boot=[hook])

    assert order == ["ran", "signalled"]


@pytest.mark.usefixtures("nobody_dies")
@pytest.mark.parametrize(("printed", "free"), [("0 4096\n", 0), ("65535 4096\n", 255), ("1 4096\n", 0)])
async def test_a_node_without_disk_space_is_not_booted(fake: FakeEngine, home: Path, printed: str, free: int) -> None:
    """What etcd needs to begin with has to be free: else it would try again and again, and nobody would know."""
    fake.node.programs["stat"] = lambda *_: ProgramResult(stdout=printed.encode())

    with nothing_left(fake, home), pytest.raises(StepFailed, match="check the disk of node") as raised:
        await create(fake)

    assert "has too little disk space" in raised.value.what
    assert raised.value.why == f"{free} MiB are free where the Engine keeps volumes; a node needs 256 MiB to begin with"
    assert raised.value.hint.startswith("free disk space")
    assert fake.requests_of("ContainerKill") == []


@pytest.mark.parametrize(
    "result", [ProgramResult(stdout=b"65536 4096\n"), ProgramResult(exit_code=1, stderr=b"stat: no such option\n"), ProgramResult()]
)
async def test_disk_space_that_is_enough_or_not_known_is_no_obstacle(fake: FakeEngine, result: ProgramResult) -> None:
    """Not every image's program says it in that way."""
    fake.node.programs["stat"] = lambda *_: result

    await create(fake)


async def test_a_signal_that_is_not_taken_is_repeated(fake: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel drops one that comes before its handler."""
    monkeypatch.setattr(_boot, "SIGNAL_INTERVAL_S", 0.05)
    fake.node.takes_signal_after = 3
    seen = Recording()

    await create(fake, on_event=seen.keep)

    attempts = [event.attempt for event in seen.of(told.BootSignalled)]
    assert fake.containers[NODE].signals == ["SIGUSR1"] * len(attempts)
    assert attempts[:3] == [1, 2, 3]


async def test_a_signal_that_is_taken_is_not_repeated(fake: FakeEngine) -> None:
    """One is enough."""
    await create(fake)

    assert fake.containers[NODE].signals == ["SIGUSR1"]


@pytest.mark.usefixtures("nobody_dies")
async def test_an_import_that_fails_is_told_at_once(fake: FakeEngine, home: Path) -> None:
    """The node says which archive, and does not come up."""
    fake.node.reaches_runtime = False

    async def import_fails(event: Event) -> None:
        if isinstance(event, told.NodeBooted):
            fake.say(NODE, "kindasync: cannot import /kind/images/app.tar\r\n")

    with nothing_left(fake, home), pytest.raises(StepFailed, match=r"cannot import /kind/images/app\.tar") as raised:
        await create(fake, on_event=import_fails)

    assert isinstance(raised.value.failures[0], BootFailed)


# -- hooks


async def test_hooks_run_while_the_node_is_paused(fake: FakeEngine) -> None:
    """After the line that says so, before the signal; one after the other, in their order."""
    seen = Recording()
    ran: list[tuple[str, str, list[str]]] = []

    async def first(node: PausedNode) -> None:
        ran.append(("first", node.name, list(fake.containers[node.name].signals)))

    async def second(node: PausedNode) -> None:
        ran.append(("second", node.name, list(fake.containers[node.name].signals)))

    await create(fake, on_event=seen.keep, before_boot=[first, second])

    assert ran == [("first", NODE, []), ("second", NODE, [])]
    assert [event.hook.rpartition(".")[2] for event in seen.of(told.HookEnded)] == ["first", "second"]
    names = seen.names
    assert names.index("NodePaused") < names.index("HookEnded") < names.index("BootSignalled")


async def test_a_node_s_console_is_followed(fake: FakeEngine) -> None:
    """Line by line, from the beginning or the last lines on, to the node's end."""
    (node,) = (await create(fake)).nodes
    fake.say(NODE, "one\r\ntwo\nthr")
    lines: list[str] = []

    with anyio.fail_after(10):
        async for line in node.logs(follow=True, tail="2"):
            lines.append(line)
            if line == "two":
                fake.say(NODE, "ee")
                fake.die(NODE)

    assert lines[-2:] == ["two", "three"]


async def test_hooks_look_at_the_node_and_change_it(fake: FakeEngine) -> None:
    """Programs, files, and what it has said so far."""
    found: dict[str, object] = {}

    async def hook(node: PausedNode) -> None:
        found["exec"] = (await node.exec(["echo", "hello"])).text
        found["logs"] = await node.logs()
        await node.put({"/etc/from-the-hook": "a line\n"})
        found["get"] = await node.get("/etc/from-the-hook")

    await create(fake, before_boot=[hook])

    assert found == {"exec": "hello\n", "logs": "kindasync: paused\r\n", "get": b"a line\n"}
    assert fake.containers[NODE].files["/etc/from-the-hook"] == b"a line\n"


async def test_a_preloaded_archive_lands_in_the_node_with_its_progress_in_bytes(fake: FakeEngine, tmp_path: Path) -> None:
    """Growing, from nothing to its size; where containerd imports it from."""
    archive = tmp_path / "app.tar"
    archive.write_bytes(bytes(range(256)) * 4096 * 5)
    sizes: list[int] = []
    totals: set[int | None] = set()

    async def grow(event: Event) -> None:
        if isinstance(event, told.PreloadProgress):
            assert (event.node, event.subject, event.unit) == (NODE, "app.tar", "bytes")
            sizes.append(event.current)
            totals.add(event.total)

    async def hook(node: PausedNode) -> None:
        await node.preload(archive)

    await create(fake, before_boot=[hook], on_event=grow)

    assert len(sizes) > 2
    assert all(one < other for one, other in pairwise(sizes))
    assert (sizes[-1], totals) == (archive.stat().st_size, {archive.stat().st_size})
    assert fake.containers[NODE].files["/kind/images/app.tar"] == archive.read_bytes()


@pytest.mark.usefixtures("nobody_dies")
async def test_a_hooks_failure_is_the_creates(fake: FakeEngine, home: Path) -> None:
    """A program that fails in it is a failed step, with its words."""

    async def hook(node: PausedNode) -> None:
        await node.exec(["cat", "/missing"])

    with nothing_left(fake, home), pytest.raises(StepFailed, match="run hook") as raised:
        await create(fake, before_boot=[hook])

    (failure,) = raised.value.failures
    assert isinstance(failure, ExecFailed)
    assert (failure.exit_code, failure.output_tail) == (1, "cat: /missing: No such file or directory")


@pytest.mark.usefixtures("nobody_dies")
async def test_a_hook_that_is_cancelled_fails_the_create(fake: FakeEngine, home: Path) -> None:
    """By somebody else than the create is: else the node would boot without what the hook was to do, or never."""

    async def hook(node: PausedNode) -> None:
        task = asyncio.create_task(asyncio.sleep(60))
        asyncio.get_running_loop().call_soon(task.cancel)
        await task

    with nothing_left(fake, home), pytest.raises(StepFailed, match=r"hook\S* was cancelled"):
        await create(fake, before_boot=[hook])


@pytest.mark.usefixtures("nobody_dies")
async def test_a_hook_that_is_no_coroutine_function_is_told(fake: FakeEngine, home: Path) -> None:
    """By its name."""

    def hook(node: PausedNode) -> None:
        pass

    with nothing_left(fake, home), pytest.raises(StepFailed, match=r"hook\S* is no coroutine function"):
        await create(fake, before_boot=[hook])


@pytest.mark.usefixtures("nobody_dies")
async def test_a_preload_of_a_file_that_is_not_there_is_a_failed_step(fake: FakeEngine, home: Path, tmp_path: Path) -> None:
    """Named, with nothing left behind."""

    async def hook(node: PausedNode) -> None:
        await node.preload(tmp_path / "missing.tar")

    with nothing_left(fake, home), pytest.raises(StepFailed, match=r"missing\.tar"):
        await create(fake, before_boot=[hook])


@pytest.mark.usefixtures("nobody_dies")
async def test_a_hooks_own_exception_is_raised_as_it_is(fake: FakeEngine, home: Path) -> None:
    """It is the caller's; the failure is told as any other."""
    seen = Recording()

    async def hook(node: PausedNode) -> None:
        raise ZeroDivisionError("the caller's own")

    with nothing_left(fake, home), pytest.raises(ZeroDivisionError, match="the caller's own"):
        await create(fake, before_boot=[hook], on_event=seen.keep)

    assert seen.names[-1] == "RolledBack"
    assert "ZeroDivisionError" in seen.only(told.StepFailed).error


@pytest.mark.usefixtures("nobody_dies")
async def test_the_exceptions_of_a_hooks_own_tasks_are_told_before_the_roll_back(fake: FakeEngine, home: Path) -> None:
    """All of them; one is raised, with the others as notes."""
    seen = Recording()

    async def fail(error: Exception) -> None:
        raise error

    async def hook(node: PausedNode) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(fail(ZeroDivisionError("the caller's own")))
            tasks.create_task(fail(KindasyncError("token abcdef.0123456789abcdef is unknown")))

    with nothing_left(fake, home), pytest.raises(ZeroDivisionError, match="the caller's own") as raised:
        await create(fake, before_boot=[hook], on_event=seen.keep)

    assert raised.value.__notes__ == ["at the same time: token (withheld) is unknown"]
    failed = seen.only(told.StepFailed)
    assert (failed.node, failed.step.rpartition(".")[2]) == (NODE, "hook")
    assert "ZeroDivisionError" in failed.error
    assert "token (withheld) is unknown" in failed.error
    assert seen.names.index("StepFailed") < seen.names.index("NodeRemoved") < seen.names.index("RolledBack")


@pytest.mark.usefixtures("nobody_dies")
async def test_a_group_of_a_hooks_own_tasks_is_not_raised(fake: FakeEngine, home: Path) -> None:
    """Whoever catches KindasyncError has what was in it."""

    async def hook(node: PausedNode) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(node.exec, ["cat", "/missing"])

    with nothing_left(fake, home), pytest.raises(ExecFailed, match="cat /missing"):
        await create(fake, before_boot=[hook])


async def test_hooks_need_an_image_that_pauses(fake: FakeEngine, home: Path) -> None:
    """Refused before anything is made."""
    fake.images["kindest/node:v1.37.0"] = FakeImage(reference="kindest/node:v1.37.0", files=dict(fake.images[NODE_IMAGE].files))

    async def hook(node: PausedNode) -> None:
        raise AssertionError("runs in no node")

    with nothing_left(fake, home), pytest.raises(ClusterError, match="cannot run in these nodes"):
        await create(fake, image="kindest/node:v1.37.0", before_boot=[hook])

    assert fake.requests_of("NetworkCreate") == []


async def test_archives_that_the_configuration_names_are_preloaded(
    fake: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Into every node, before the hooks; relative to the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "app.tar").write_bytes(b"images")
    seen = Recording()

    async def hook(node: PausedNode) -> None:
        assert await node.get("/kind/images/app.tar") == b"images"

    await create(
        fake, config=[KIND | {"nodes": [{}, {"role": "worker"}]}, OURS | {"preload": ["app.tar"]}], before_boot=[hook], on_event=seen.keep
    )

    assert {(event.node, event.hook.rpartition(".")[2]) for event in seen.of(told.HookEnded)} == {
        (node, hook) for node in (NODE, "demo-worker") for hook in ("preload", "hook")
    }


async def test_archives_that_are_not_there_are_problems_of_the_configuration(fake: FakeEngine, tmp_path: Path) -> None:
    """All of them, before anything is asked of the Engine."""
    (tmp_path / "here.tar").touch()
    config = [KIND, OURS | {"preload": [f"{tmp_path}/missing.tar", f"{tmp_path}/here.tar", str(tmp_path)]}]

    with pytest.raises(ConfigInvalid) as raised:
        await create(fake, config=config)

    assert [str(problem) for problem in raised.value.problems] == [
        f'extras.preload[0]: "{tmp_path}/missing.tar" is not a file that can be read',
        f'extras.preload[2]: "{tmp_path}" is not a file that can be read',
    ]
    assert fake.requests == []


# -- limits


async def test_a_nodes_limits_are_its_containers_and_its_kubelets(fake: FakeEngine) -> None:
    """The kubelet sees the host's four processors and 8 GiB, and leaves what is beyond the limits."""
    node = {"cpus": 1.5, "memory": "2Gi", "extraHosts": {"a.example": "10.0.0.1"}, "labels": {"team": "a"}}

    await create(fake, config=[KIND | {"nodes": [{}, {"role": "worker"}]}, OURS | {"nodes": [{}, node]}])

    first, worker = fake.containers[NODE], fake.containers["demo-worker"]
    host_config = worker.host_config
    assert (host_config["NanoCpus"], host_config["Memory"], host_config["ExtraHosts"]) == (1_500_000_000, 2 << 30, ["a.example:10.0.0.1"])
    assert worker.labels["team"] == "a"
    assert yaml.safe_load(worker.files["/kind/patches/kubeletconfiguration+merge.yaml"]) == {
        "systemReserved": {"cpu": "2500m", "memory": str(6 << 30)}
    }
    assert "Memory" not in first.host_config
    assert "/kind/patches/kubeletconfiguration+merge.yaml" not in first.files


async def test_limits_that_no_kubelet_is_told_of_are_warned_of(fake: FakeEngine) -> None:
    """kubeadm reads its patches from one directory, and a patch of the configuration may name another."""
    patch = "kind: InitConfiguration\npatches: {directory: /elsewhere}"
    seen = Recording()

    await create(fake, config=[KIND | {"kubeadmConfigPatches": [patch]}, OURS | {"nodes": [{"memory": "2Gi"}]}], on_event=seen.keep)

    assert seen.only(told.Warned).message.startswith("extras.nodes[0]: kubeadm's patches.directory is another")


async def test_limits_beyond_the_host_are_problems_of_the_configuration(fake: FakeEngine, home: Path) -> None:
    """Told before anything is made."""
    with nothing_left(fake, home), pytest.raises(ConfigInvalid) as raised:
        await create(fake, config=[KIND, OURS | {"nodes": [{"cpus": 5, "memory": "9Gi"}]}])

    assert [problem.path for problem in raised.value.problems] == ["extras.nodes[0].cpus", "extras.nodes[0].memory"]
    assert fake.requests_of("NetworkCreate") == []


# -- waiting


@pytest.mark.usefixtures("nobody_dies")
async def test_how_long_to_wait_may_be_configured(fake: FakeEngine, home: Path) -> None:
    """The call's own wins."""
    fake.node.becomes_ready = False

    with nothing_left(fake, home), pytest.raises(NotReady, match=r"waited 0\.2 s"):
        await create(fake, config=[KIND, OURS | {"wait": "200ms"}])
    await create(fake, config=[KIND, OURS | {"wait": "1h"}], wait_s=0)


@pytest.mark.usefixtures("nobody_dies")
async def test_a_wait_that_expires_is_an_error_that_names_what_was_seen_last(fake: FakeEngine, home: Path) -> None:
    """And everything is removed."""
    fake.node.becomes_ready = False

    with nothing_left(fake, home), pytest.raises(NotReady) as raised:
        await create(fake, wait_s=0.3)

    assert raised.value.what == 'waited 0.3 s in vain for cluster "demo" to be ready'
    assert raised.value.last_state == f"node {NODE}: not seen; default ServiceAccount: not seen; a scheduled pod: not seen"


async def test_without_a_wait_create_returns_when_kubeadm_is_through(fake: FakeEngine) -> None:
    """As kind does; nothing is said to be ready."""
    fake.node.becomes_ready = False
    seen = Recording()

    cluster = await create(fake, wait_s=0, on_event=seen.keep)

    assert cluster.kubeconfig_path.exists()
    assert "ControlPlaneUp" in seen.names
    assert not {"ReadinessObserved", "NodeReady", "ClusterReady"} & set(seen.names)


# -- failures


@pytest.mark.usefixtures("nobody_dies")
async def test_retain_keeps_everything_and_says_so(fake: FakeEngine) -> None:
    """The error says how to look at the nodes and how to remove them; the events say it, too."""
    fake.node.becomes_ready = False
    seen = Recording()

    with pytest.raises(NotReady) as raised:
        await create(fake, wait_s=0.2, retain=True, on_event=seen.keep)

    (note,) = raised.value.__notes__
    assert "docker exec" in note
    assert "kindasync delete cluster --name demo" in note
    assert seen.only(told.Warned).message == note
    assert "RolledBack" not in seen.names
    assert fake.containers[NODE].running
    assert list(fake.networks) == ["kind"]
    await Cluster.get("demo", engine=fake.url)


FULL = "write /var/lib/docker/overlay2/x: no space left on device"


@pytest.mark.parametrize(
    ("operation", "nth"),
    [
        ("NetworkCreate", 1),
        ("ContainerCreate", 1),  # the question whether the Engine shares our files
        ("ContainerCreate", 2),
        ("ContainerStart", 1),
        ("PutContainerArchive", 1),
        ("ContainerExec", 1),
        ("ContainerExec", 2),
        ("ContainerExec", 4),  # the third is bootstrap-roles, which may fail
    ],
)
@pytest.mark.usefixtures("nobody_dies")
async def test_a_full_disk_is_a_failed_step(fake: FakeEngine, home: Path, operation: str, nth: int) -> None:
    """Whatever the Engine refuses with it: its words, what to do, and nothing left behind."""
    fake.fail(operation, nth=nth, status=500, message=FULL)
    seen = Recording()

    with nothing_left(fake, home), pytest.raises(StepFailed, match="no space left on device") as raised:
        await create(fake, on_event=seen.keep)

    (failure,) = raised.value.failures
    assert isinstance(failure, ApiError)
    assert (failure.operation, failure.status) == (operation, 500)
    assert raised.value.hint.startswith("free disk space")
    assert seen.names[-1] == "RolledBack"
    assert seen.only(told.StepFailed).step == raised.value.step


OPERATIONS = [
    "ContainerList",
    "SystemInfo",
    "ImageList",
    "ImageInspect",
    "NetworkList",
    "NetworkCreate",
    "ContainerCreate",
    "ContainerArchiveInfo",
    "ContainerStart",
    "ContainerInspect",
    "ContainerLogs",
    "GetContainerArchive",
    "PutContainerArchive",
    "ContainerExec",
    "ExecStart",
    "ExecInspect",
    "ContainerKill",
]


# Answers without a body can only be lost whole. Those to GET and PUT that are, are asked for again.
EMPTY = ("ContainerStart", "ContainerKill")
ALWAYS_WHOLE = ("ContainerArchiveInfo", "PutContainerArchive")


@pytest.mark.parametrize("operation", [operation for operation in OPERATIONS if operation not in ALWAYS_WHOLE])
@pytest.mark.usefixtures("nobody_dies")
async def test_a_connection_that_is_cut_is_an_error(fake: FakeEngine, home: Path, operation: str) -> None:
    """Whichever answer never comes, it is not taken for success, nor for the node's death; and everything is removed."""
    fake.cut(operation, nth=2 if operation == "ContainerCreate" else 1, after_bytes=None if operation in EMPTY else 0)
    seen = Recording()

    with nothing_left(fake, home), pytest.raises((EngineError, StepFailed)) as raised:
        await create(fake, on_event=seen.keep)

    failure = raised.value.failures[0] if isinstance(raised.value, StepFailed) else raised.value
    assert isinstance(failure, ConnectionLost)
    assert "StepFailed" in seen.names


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_an_engine_that_vanishes_ends_the_create(fake: FakeEngine, operation: str) -> None:
    """At once, with an error that says so. What could not be removed is named, where anything was made."""
    fake.on(operation, fake.vanish, nth=2 if operation == "ContainerCreate" else 1)
    seen = Recording()

    with anyio.fail_after(10), pytest.raises((EngineError, StepFailed)) as raised:
        await create(fake, on_event=seen.keep)

    assert "Docker Engine" in str(raised.value)
    assert "StepFailed" in seen.names
    if fake.containers:
        assert any(note.startswith("left behind: ") for note in raised.value.__notes__)
        assert seen.only(told.RolledBack).left_behind


@pytest.mark.usefixtures("nobody_dies")
async def test_what_cannot_be_removed_is_named(fake: FakeEngine) -> None:
    """The first error stays the one that is raised."""
    fake.fail("PutContainerArchive", message=FULL)
    fake.fail("ContainerDelete", message="device or resource busy")
    seen = Recording()

    with pytest.raises(StepFailed, match="no space left on device") as raised:
        await create(fake, on_event=seen.keep)

    assert raised.value.__notes__ == [
        f'left behind: container {NODE}: ContainerDelete replied 500, "device or resource busy"',
        "kindasync gc removes what was left behind, when this process has ended",
    ]
    assert seen.only(told.RolledBack).left_behind == (f"container {NODE}",)


# -- deaths


class Death:
    """When a node died, to be compared with when that was told."""

    def __init__(self, fake: FakeEngine, **how: Any) -> None:
        self._fake = fake
        self._how = how
        self.at = datetime.max.replace(tzinfo=UTC)

    def __call__(self) -> None:
        self.at = min(self.at, datetime.now(UTC))
        self._fake.die(NODE, **self._how)


async def fails_by_death(fake: FakeEngine, home: Path, death: Death, **options: Any) -> BootFailed:
    """A create that fails because its node dies: told within 2 s, as BootFailed inside StepFailed, with nothing left."""
    seen = Recording()

    with nothing_left(fake, home), pytest.raises(StepFailed) as raised:
        await create(fake, on_event=seen.keep, **options)

    (failure,) = raised.value.failures
    assert isinstance(failure, BootFailed)
    assert 0 <= (seen.of(told.StepFailed)[0].time - death.at).total_seconds() < 2
    assert seen.names[-1] == "RolledBack"
    return failure


async def test_a_node_that_dies_while_paused(fake: FakeEngine, home: Path) -> None:
    """Told at once, whatever a hook is doing meanwhile."""
    death = Death(fake)

    async def hook(node: PausedNode) -> None:
        death()
        await anyio.sleep_forever()

    failure = await fails_by_death(fake, home, death, before_boot=[hook])

    assert failure.why == "its first process ended with exit code 137"
    assert failure.evidence == "kindasync: paused"


async def test_a_node_that_dies_before_it_pauses(fake: FakeEngine, home: Path) -> None:
    """With its last lines."""
    death = Death(fake, exit_code=1)
    fake.node.pauses = False

    def says_why_and_dies() -> None:
        fake.say(NODE, "entrypoint: cannot mount cgroups\r\n")
        death()

    fake.on("ContainerLogs", says_why_and_dies)

    failure = await fails_by_death(fake, home, death)

    assert failure.what.startswith(f"node {NODE} died before it was")
    assert failure.evidence == "entrypoint: cannot mount cgroups"


async def test_a_node_that_dies_of_the_signal(fake: FakeEngine, home: Path) -> None:
    """What is refused because it does not run any more is not what is told."""
    death = Death(fake)
    fake.on("ContainerKill", death)

    await fails_by_death(fake, home, death)


async def test_a_node_that_dies_during_its_boot(fake: FakeEngine, home: Path) -> None:
    """systemd has begun, containerd does not answer yet. Want of memory is told as such."""
    death = Death(fake, oom_killed=True)
    fake.node.reaches_runtime = False

    def boots_and_dies() -> None:
        fake.say(NODE, "kindasync: booting\r\n")
        death()

    fake.on("ContainerKill", boots_and_dies)

    failure = await fails_by_death(fake, home, death)

    assert failure.why == "the kernel killed it for want of memory"
    assert "memory" in failure.hint


async def test_a_node_that_dies_during_init(fake: FakeEngine, home: Path) -> None:
    """While kubeadm works: neither kubeadm's end nor the silence of the API server is what is told."""
    death = Death(fake)
    plain = fake.node.programs["kubeadm"]

    def kubeadm(container: FakeContainer, argv: Sequence[str], stdin: bytes) -> ProgramResult:
        if container.booted:
            death()
            return ProgramResult(hangs=True)
        return plain(container, argv, stdin)

    fake.node.programs["kubeadm"] = kubeadm

    await fails_by_death(fake, home, death)


async def test_a_node_that_dies_while_its_readiness_is_awaited(fake: FakeEngine, home: Path) -> None:
    """The wait does not go on until it expires."""
    death = Death(fake)
    fake.node.becomes_ready = False
    seen = Recording()

    async def die(event: Event) -> None:
        await seen.keep(event)
        if isinstance(event, told.ControlPlaneUp):
            death()

    with nothing_left(fake, home), pytest.raises(StepFailed) as raised:
        await create(fake, on_event=die)

    assert isinstance(raised.value.failures[0], BootFailed)
    assert (seen.of(told.StepFailed)[0].time - death.at).total_seconds() < 2


async def test_a_node_that_something_else_removes(fake: FakeEngine, home: Path) -> None:
    """`docker rm -f` by hand, for example."""
    death = Death(fake)

    async def hook(node: PausedNode) -> None:
        death.at = datetime.now(UTC)
        async with Engine.of(fake.url).connect() as connection:
            await container_remove(connection, node.id)
        await anyio.sleep_forever()

    failure = await fails_by_death(fake, home, death, before_boot=[hook])

    assert failure.why == "its container was removed"


@pytest.mark.usefixtures("nobody_dies")
async def test_kubeadm_that_fails_is_shown_with_its_last_lines(fake: FakeEngine, home: Path) -> None:
    """And how to keep the node to look at it."""
    plain = fake.node.programs["kubeadm"]

    def kubeadm(container: FakeContainer, argv: Sequence[str], stdin: bytes) -> ProgramResult:
        fails = container.booted and "--print-manifest" not in argv
        return ProgramResult(exit_code=1, stderr=b"error: etcd is not healthy\n") if fails else plain(container, argv, stdin)

    fake.node.programs["kubeadm"] = kubeadm

    with nothing_left(fake, home), pytest.raises(StepFailed, match="initialise the control plane") as raised:
        await create(fake)

    (failure,) = raised.value.failures
    assert isinstance(failure, ExecFailed)
    assert failure.output_tail == "error: etcd is not healthy"
    assert "--retain" in raised.value.hint


# -- running


async def test_running_deletes_the_cluster_at_its_end(fake: FakeEngine, home: Path) -> None:
    """By default under a name of its own."""
    with nothing_left(fake, home):
        async with Cluster.running(engine=fake.url) as cluster:
            assert cluster.name.startswith("test-")
            assert list(fake.containers) == [f"{cluster.name}-control-plane"]


async def test_running_deletes_the_cluster_when_its_body_fails(fake: FakeEngine, home: Path) -> None:
    """And the body's error is the one that is raised."""
    with nothing_left(fake, home), pytest.raises(ZeroDivisionError):
        async with Cluster.running(engine=fake.url):
            raise ZeroDivisionError


async def test_an_error_of_the_body_is_not_lost_when_the_deletion_fails_too(fake: FakeEngine) -> None:
    """What was left behind is a note on it."""

    async def body() -> None:
        async with Cluster.running(name="demo", engine=fake.url):
            fake.fail("ContainerDelete", message="device or resource busy")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as raised:
        await body()

    assert any("device or resource busy" in note for note in raised.value.__notes__)
