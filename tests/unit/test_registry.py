"""Registries of a cluster: what is planned for them, what nodes and tools are told, and that they come and go with the cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
import yaml

from kindasync import Cluster
from kindasync import events as told
from kindasync.cluster._registry import hosting
from kindasync.cluster.plan import RegistryPlan, plan
from kindasync.config import ClusterConfig, ClusterExtras, LocalRegistry, Registries, RegistryMirror
from kindasync.docker import Engine
from kindasync.docker.containers import Bind, PortBinding, container_remove
from kindasync.errors import AlreadyExists, BootFailed, ConfigInvalid, ImageUnusable, StepFailed
from kindasync.node._registry import Cache, caches, hosts_files, registry_files, registry_spec
from kindasync.testing import FakeEngine, FakeImage, ProgramResult
from tests.unit.leftovers import nothing_left
from tests.unit.recording import Recording
from tests.unit.test_plan import FACTS

NODE, REGISTRY = "demo-control-plane", "demo-registry"
HUB = Cache(host="docker.io", remote_url="https://registry-1.docker.io", port=5001)
TEST = Cache(host="registry.test:5000", remote_url="http://upstream:5000", port=5002)
LOCAL = PortBinding(container_port=5000, host_ip="127.0.0.1", host_port=5001)
CACHE_VOLUME = "kindasync-cache-registry-1.docker.io"


def planned(local: LocalRegistry | None, *mirrors: RegistryMirror, **facts: Any) -> RegistryPlan:
    registries = Registries(local=local, mirrors=mirrors)
    registry = plan(ClusterConfig(name="demo", extras=ClusterExtras(registries=registries)), replace(FACTS, **facts)).registry
    assert registry
    return registry


# -- what is planned


def test_a_cluster_without() -> None:
    """It has none unless one is asked for."""
    assert plan(ClusterConfig(name="demo"), FACTS).registry is None


def test_a_local_registry() -> None:
    """A container of the cluster, of the nodes' image, published on loopback; its labels are none that the kind program knows."""
    registry = planned(LocalRegistry())

    assert registry == RegistryPlan(
        name=REGISTRY,
        labels={"kindasync.registry": "demo", "kindasync.run": "run-1", "kindasync.owner": "host/42"},
        image="kindasync/node:v1.37.0",
        env=registry.env,
        port=registry.port,
        caches=(),
    )
    assert registry.port
    assert (registry.port.container_port, registry.port.host_ip) == (5000, "127.0.0.1")
    assert 20000 <= registry.port.host_port < 30000
    assert registry.host == f"localhost:{registry.port.host_port}"


def test_its_name_and_port_can_be_given() -> None:
    """They are its own, then."""
    registry = planned(LocalRegistry(name="images", host_port=5001))

    assert (registry.name, registry.host) == ("images", "localhost:5001")


def test_another_attempt_has_another_port() -> None:
    """Which only the registry gets: nodes keep theirs for themselves."""
    assert planned(LocalRegistry()).port != planned(LocalRegistry(), attempt=1).port


def test_only_mirrors() -> None:
    """Nothing is published."""
    registry = planned(
        None, RegistryMirror(host="docker.io"), RegistryMirror(host="registry.test:5000", remote_url="http://upstream:5000/")
    )

    assert (registry.name, registry.port, registry.host, registry.caches) == (REGISTRY, None, "", (HUB, TEST))


def test_nodes_reach_it_without_the_proxy_and_it_reaches_others_with() -> None:
    """As every other container of the cluster."""
    registry = planned(LocalRegistry())

    assert registry.env["HTTPS_PROXY"] == "http://proxy:3128"
    assert REGISTRY in registry.env["NO_PROXY"].split(",")


# -- its container


@pytest.mark.parametrize(
    ("host", "url", "expected"),
    [
        ("docker.io", "", "https://registry-1.docker.io"),
        ("quay.io", "", "https://quay.io"),
        ("registry.test:5000", "", "https://registry.test:5000"),
        ("docker.io", "https://mirror.example/", "https://mirror.example"),
    ],
)
def test_where_a_mirrored_registry_is(host: str, url: str, expected: str) -> None:
    """Where it is known to be, or as was said."""
    assert caches([RegistryMirror(host=host, remote_url=url)]) == (Cache(host=host, remote_url=expected, port=5001),)


def test_clusters_share_what_was_fetched_from_one_remote() -> None:
    """Whatever image references call it; but not what was fetched as somebody."""
    assert (HUB.volume, TEST.volume) == (CACHE_VOLUME, "kindasync-cache-upstream_5000")
    assert replace(HUB, username="me@example").volume == "kindasync-cache-registry-1.docker.io-me_example"


def test_configuration_files() -> None:
    """One for each registry. Each cache has a credential helper, with which it starts while its remote cannot be reached."""
    files = registry_files((HUB,), local=True)

    assert {path: file.mode for path, file in files.items()} == {
        "/kind/registry/5000.yml": 0o600,
        "/kind/registry/5001.yml": 0o600,
        "/kind/registry/5001.credentials": 0o700,
    }
    assert yaml.safe_load(files["/kind/registry/5000.yml"].content) == {
        "version": 0.1,
        "http": {"addr": ":5000"},
        "storage": {"filesystem": {"rootdirectory": "/var/lib/registry"}, "delete": {"enabled": True}},
    }
    assert yaml.safe_load(files["/kind/registry/5001.yml"].content) == {
        "version": 0.1,
        "http": {"addr": ":5001"},
        "storage": {"filesystem": {"rootdirectory": "/var/cache/registry/5001"}},
        "proxy": {
            "remoteurl": "https://registry-1.docker.io",
            "ttl": "0s",
            "exec": {"command": "/kind/registry/5001.credentials"},
        },
    }
    helper = files["/kind/registry/5001.credentials"].content.decode()
    assert helper == '#!/usr/local/bin/registry\n{"Username": "", "Secret": ""}\n'


def test_its_container() -> None:
    """What was pushed lies in a volume that goes with it, what was fetched in one that stays. It needs no privileges."""
    spec = registry_spec(name=REGISTRY, image="node:1", labels={}, env={}, network="kind", caches=(HUB, TEST), local=LOCAL)

    assert spec.entrypoint == (
        "registry",
        "/kind/registry/5000.yml",
        "/kind/registry/5001.yml",
        "/kind/registry/5002.yml",
    )
    assert not spec.privileged
    assert (spec.network, spec.ports, spec.volumes) == ("kind", (LOCAL,), ("/var/lib/registry",))
    assert spec.binds == (
        Bind(source=HUB.volume, target="/var/cache/registry/5001"),
        Bind(source=TEST.volume, target="/var/cache/registry/5002"),
    )


# -- what nodes and tools are told

LOCAL_HOSTS = {
    f"/etc/containerd/certs.d/{host}/hosts.toml": 'server = "http://demo-registry:5000"\n'
    for host in ("localhost:5001", "demo-registry:5000")
}
HUB_HOSTS = {
    "/etc/containerd/certs.d/docker.io/hosts.toml": """\
server = "https://registry-1.docker.io"

[host."http://demo-registry:5001"]
capabilities = [
    "pull",
    "resolve",
]
"""
}


@pytest.mark.parametrize(
    ("mirrors", "local", "expected"),
    [((), LOCAL, LOCAL_HOSTS), ((HUB,), None, HUB_HOSTS), ((HUB,), LOCAL, LOCAL_HOSTS | HUB_HOSTS)],
)
def test_containerd_is_told(mirrors: tuple[Cache, ...], local: PortBinding | None, expected: Mapping[str, str]) -> None:
    """The local registry by both its names; what is cached from the cache, and while that does not answer from where it comes."""
    assert hosts_files(REGISTRY, mirrors, local) == expected


def test_tools_are_told() -> None:
    """KEP-1755."""
    document = yaml.safe_load(hosting(planned(LocalRegistry(host_port=5001))))

    assert (document["kind"], document["metadata"]) == ("ConfigMap", {"name": "local-registry-hosting", "namespace": "kube-public"})
    assert yaml.safe_load(document["data"]["localRegistryHosting.v1"]) == {
        "host": "localhost:5001",
        "hostFromContainerRuntime": "demo-registry:5000",
        "hostFromClusterNetwork": "demo-registry:5000",
        "help": "https://pypi.org/project/kindasync",
    }


# -- clusters that have one

BOTH: dict[str, Any] = {"local": {}, "mirrors": [{"host": "docker.io"}]}


def config(registries: Mapping[str, Any], nodes: int = 1) -> str:
    roles = [{"role": "control-plane"}, *[{"role": "worker"}] * (nodes - 1)]
    documents = (
        {"kind": "Cluster", "apiVersion": "kind.x-k8s.io/v1alpha4", "nodes": roles},
        {"kind": "ClusterExtras", "apiVersion": "kindasync/v1alpha1", "registries": registries},
    )
    return yaml.safe_dump_all(documents)


async def create(fake: FakeEngine, registries: Mapping[str, Any] = BOTH, *, nodes: int = 1, **options: Any) -> Cluster:
    return await Cluster.create("demo", config=config(registries, nodes), engine=fake.url, **options)


@pytest.mark.anyio
async def test_nodes_know_the_port_that_it_got(fake: FakeEngine) -> None:
    """Also when the first that was planned is taken: every node, the ConfigMap and the event have the one that is published."""
    first = planned(LocalRegistry()).port
    assert first
    fake.taken_ports.add(first.host_port)
    seen = Recording()

    await create(fake, nodes=2, on_event=seen.keep)

    (binding,) = fake.containers[REGISTRY].host_config["PortBindings"]["5000/tcp"]
    host = f"localhost:{binding['HostPort']}"
    assert host != f"localhost:{first.host_port}"
    event = seen.only(told.RegistryStarted)
    assert (event.node, event.host, event.mirrors) == (REGISTRY, host, ("docker.io",))
    for node in (NODE, "demo-worker"):
        files = fake.containers[node].files
        assert {path.split("/")[4] for path in files if path.startswith("/etc/containerd/certs.d/")} == {
            host,
            "demo-registry:5000",
            "docker.io",
        }
    (hosting,) = [each for each in fake.api_objects(NODE) if each["kind"] == "ConfigMap"]
    assert yaml.safe_load(hosting["data"]["localRegistryHosting.v1"])["host"] == host


@pytest.mark.anyio
async def test_only_a_local_registry_is_told_to_tools(fake: FakeEngine) -> None:
    """A cluster of mirrors has none."""
    await create(fake, {"mirrors": [{"host": "docker.io"}]})

    assert not [each for each in fake.api_objects(NODE) if each["kind"] == "ConfigMap"]


@pytest.mark.anyio
async def test_a_port_that_was_asked_for_is_not_moved_from(fake: FakeEngine, home: Path) -> None:
    """It is an error if something has it."""
    fake.taken_ports.add(5001)

    with nothing_left(fake, home), pytest.raises(StepFailed, match="start registry demo-registry"):
        await create(fake, {"local": {"hostPort": 5001}})


@pytest.mark.anyio
async def test_a_network_that_goes_before_its_start(fake: FakeEngine) -> None:
    """Is made again, as for a node, and so is the registry."""
    fake.fail("ContainerStart", 2, status=404, message="network kind not found")

    await create(fake)

    assert fake.containers[REGISTRY].running
    assert len([each for each in fake.requests_of("ContainerCreate") if each.param("name") == REGISTRY]) == 2


@pytest.mark.anyio
async def test_it_is_no_node(fake: FakeEngine) -> None:
    """Neither for kindasync nor, by its labels, for the kind program."""
    cluster = await create(fake)

    assert [node.name for node in cluster.nodes] == [NODE]
    assert not [label for label in fake.containers[REGISTRY].labels if label.startswith("io.x-k8s.kind")]


@pytest.mark.anyio
async def test_deleted_with_the_cluster(fake: FakeEngine, home: Path) -> None:
    """Nothing is left but what was fetched for every cluster."""
    cluster = await create(fake)
    assert fake.volumes[CACHE_VOLUME] == {"kindasync.registry-cache": "https://registry-1.docker.io"}
    seen = Recording()

    await cluster.delete(on_event=seen.keep)

    assert (dict(fake.containers), dict(fake.networks), list(fake.volumes)) == ({}, {}, [CACHE_VOLUME])
    assert {event.node for event in seen.of(told.NodeRemoved)} == {NODE, REGISTRY}


@pytest.mark.anyio
async def test_a_password_is_in_one_file_and_nowhere_else(fake: FakeEngine, tmp_path: Path) -> None:
    """Neither in what the Engine tells of the container, nor in events or nodes."""
    (tmp_path / "token").write_text("s3cr3t word\n")
    mirror = {"host": "docker.io", "username": "me", "passwordFile": str(tmp_path / "token")}
    seen = Recording()

    await create(fake, {"mirrors": [mirror]}, on_event=seen.keep)

    holders = {(name, path) for name, each in fake.containers.items() for path, content in each.files.items() if b"s3cr3t" in content}
    assert holders == {(REGISTRY, "/kind/registry/5001.credentials")}
    assert fake.containers[REGISTRY].modes["/kind/registry/5001.credentials"] == 0o700
    assert fake.containers[REGISTRY].files["/kind/registry/5001.credentials"].endswith(b'{"Username": "me", "Secret": "s3cr3t word"}\n')
    assert "s3cr3t" not in f"{[event.to_json() for event in seen]} {[each.body for each in fake.containers.values()]} {dict(fake.volumes)}"


@pytest.mark.anyio
async def test_a_password_that_cannot_be_read(fake: FakeEngine) -> None:
    """Is a problem of the configuration: nothing is made."""
    with pytest.raises(ConfigInvalid) as raised:
        await create(fake, {"mirrors": [{"host": "docker.io", "username": "me", "passwordFile": "/no/such/file"}]})

    assert [problem.path for problem in raised.value.problems] == ["extras.registries.mirrors[0].passwordFile"]
    assert fake.requests == []


@pytest.mark.anyio
@pytest.mark.parametrize("event", ["ContainerCreated", "RegistryStarted", "FilesPut"])
async def test_cancelled(fake: FakeEngine, home: Path, event: str) -> None:
    """Whatever is under way then."""
    with nothing_left(fake, home), anyio.CancelScope() as scope:

        async def listen(each: told.Event) -> None:
            if type(each).__name__ == event:
                scope.cancel()

        await create(fake, {"local": {}}, on_event=listen)

    assert scope.cancelled_caught


@pytest.mark.anyio
@pytest.mark.parametrize("operation", ["VolumeCreate", "ContainerCreate", "PutContainerArchive", "ContainerStart"])
async def test_a_failure_leaves_nothing(fake: FakeEngine, home: Path, operation: str) -> None:
    """Of the registry's container as of any other."""
    nth = 3 if operation == "ContainerCreate" else 1  # after the look at the Engine's files, and the node
    if operation == "ContainerStart":
        fake.node.programs["registry"] = lambda *_: ProgramResult(exit_code=1, stderr=b"panic: no space left on device\n")
    else:
        fake.fail(operation, nth)

    with nothing_left(fake, home), pytest.raises(StepFailed, match="cannot start registry demo-registry") as raised:
        await create(fake, {"mirrors": [{"host": "docker.io"}]} if operation == "VolumeCreate" else {"local": {}})

    if operation == "ContainerStart":
        (failure,) = raised.value.failures
        assert isinstance(failure, BootFailed)
        assert "registry demo-registry died before it was ready to serve" in str(failure)
        assert "no space left on device" in str(failure)


@pytest.mark.anyio
async def test_an_image_without_it(fake: FakeEngine, home: Path) -> None:
    """As kind's, or an older one of ours: said, with what to do."""
    files = {path: content for path, content in fake.images["kindasync/node:v1.37.2"].files.items() if path != "/usr/local/bin/registry"}
    fake.images["old:1"] = FakeImage(reference="old:1", labels=fake.images["kindasync/node:v1.37.2"].labels, files=files)

    with nothing_left(fake, home), pytest.raises(ImageUnusable, match='"old:1" has no registry in it') as raised:
        await create(fake, {"local": {}}, image="old:1")

    assert "kindasync build node-image" in raised.value.hint


@pytest.mark.anyio
async def test_one_that_kind_left_is_replaced(fake: FakeEngine, home: Path) -> None:
    """`kind delete cluster` knows of nodes only. The next cluster of the name makes its own; deleting any removes it."""
    with nothing_left(fake, home):
        await create(fake, {"local": {}})
        await remove(fake, NODE)
        before = fake.containers[REGISTRY].id

        await create(fake, {"local": {}})
        assert fake.containers[REGISTRY].id != before

        await remove(fake, NODE)
        await Cluster.delete(await create(fake, {}))
        assert REGISTRY not in fake.containers


async def remove(fake: FakeEngine, container: str) -> None:
    async with Engine.of(fake.url).connect() as connection:
        await container_remove(connection, container)


@pytest.mark.anyio
async def test_a_name_that_is_somebody_elses(fake: FakeEngine) -> None:
    """Nothing of theirs is touched."""
    fake.add_container("images", "kindasync/node:v1.37.2")

    with pytest.raises(AlreadyExists, match="something else has the name of its registry images"):
        await create(fake, {"local": {"name": "images"}})

    assert set(fake.containers) == {"images"}


@pytest.mark.anyio
async def test_a_node_that_is_added_knows_it(fake: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the files that the others have; and reaches it without the proxy."""
    monkeypatch.setenv("HTTP_PROXY", "http://proxy:3128")
    cluster = await create(fake)

    node = await cluster.add_node()

    hosts = {path: content for path, content in fake.containers[NODE].files.items() if "/certs.d/" in path}
    assert len(hosts) == 3
    assert hosts.items() <= fake.containers[node.name].files.items()
    assert REGISTRY in fake.containers[node.name].env["NO_PROXY"].split(",")


@pytest.mark.anyio
async def test_stopped_last_and_started_before_nodes_pull(fake: FakeEngine) -> None:
    """With the cluster; under the same port."""
    cluster = await create(fake, nodes=2)
    published = fake.containers[REGISTRY].host_config["PortBindings"]
    seen = Recording()

    await cluster.stop(on_event=seen.keep)
    assert {container.state for container in fake.containers.values()} == {"exited"}
    assert [event.node for event in seen.of(told.NodeStopped)][-1] == REGISTRY
    await cluster.start(on_event=seen.keep)

    assert {container.state for container in fake.containers.values()} == {"running"}
    assert {event.node for event in seen.of(told.NodeStarted)[:2]} == {REGISTRY, NODE}
    assert fake.containers[REGISTRY].host_config["PortBindings"] == published
