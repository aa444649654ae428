"""Patches of kubeadm's documents and of containerd's file: what each does, and what is said of those that do nothing."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest
import yaml

from kindasync import Cluster
from kindasync import events as told
from kindasync.config import ClusterConfig, NodeConfig, PatchJson6902, Role, load, problems_of
from kindasync.config.patches import (
    has_mirrors,
    json6902_containerd,
    json6902_kubeadm,
    merge_containerd,
    merge_kubeadm,
    unmatched_containerd,
    unmatched_kubeadm,
)
from kindasync.errors import ClusterError, ConfigInvalid
from kindasync.testing import FakeEngine, FakeImage, ProgramResult
from tests.unit.recording import Recording

DOCUMENTS = """\
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
apiServer:
  certSANs: [localhost, 127.0.0.1]
  extraArgs:
  - {name: runtime-config, value: ""}
  - {name: v, value: "2"}
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
bootstrapTokens: [{token: abcdef.secret}]
nodeRegistration: {kubeletExtraArgs: [{name: node-ip, value: 172.18.0.2}]}
---
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupRoot: /kubelet
evictionHard: {nodefs.available: 0%, imagefs.available: 0%}
"""
OLD = DOCUMENTS.replace("v1beta4", "v1beta3").replace(
    'extraArgs:\n  - {name: runtime-config, value: ""}\n  - {name: v, value: "2"}', 'extraArgs: {runtime-config: "", v: "2"}'
)


def document(text: str, kind: str) -> Any:
    """One of kubeadm's documents."""
    (found,) = [each for each in yaml.safe_load_all(text) if each["kind"] == kind]
    return found


# -- kubeadm, merge


@pytest.mark.parametrize(
    ("patch", "expected"),
    [
        ("maxPods: 42", {"maxPods": 42}),
        ("evictionHard: {nodefs.available: 5%}", {"evictionHard": {"nodefs.available": "5%", "imagefs.available": "0%"}}),
        ("evictionHard: {nodefs.available: null}", {"evictionHard": {"imagefs.available": "0%"}}),
        ("evictionHard: null", {"evictionHard": None}),
        ("evictionHard: 5", {"evictionHard": 5}),
        ("featureGates: {A: true, B: null}", {"featureGates": {"A": True}}),
        ("clusterDNS: [10.0.0.1]", {"clusterDNS": ["10.0.0.1"]}),
        ("kubeAPIQPS: 0.5", {"kubeAPIQPS": 0.5}),
        ("apiVersion: kubelet.config.k8s.io/v1beta1\nmaxPods: 42", {"maxPods": 42}),
        ("apiVersion: kubelet.config.k8s.io/v1\nmaxPods: 42", {"maxPods": None}),
    ],
)
def test_merge_patches_change_the_document_of_their_kind(patch: str, expected: dict[str, Any]) -> None:
    """RFC 7386: mappings merge, null removes, all else replaces; another version's patch does nothing."""
    patched = merge_kubeadm(DOCUMENTS, [f"kind: KubeletConfiguration\n{patch}"])

    kubelet = document(patched, "KubeletConfiguration")
    assert {name: kubelet.get(name) for name in expected} == expected
    assert kubelet["cgroupRoot"] == "/kubelet"
    assert document(patched, "ClusterConfiguration") == document(DOCUMENTS, "ClusterConfiguration")


@pytest.mark.parametrize(
    ("patch", "expected"),
    [
        ("[{name: v, value: '4'}]", [("runtime-config", ""), ("v", "4")]),
        ("{v: 4}", [("runtime-config", ""), ("v", "4")]),
        ("{event-ttl: 1.50, audit: yes}", [("runtime-config", ""), ("v", "2"), ("event-ttl", "1.50"), ("audit", "yes")]),
        ("{v: null}", [("runtime-config", "")]),
        ("[{name: v, value: null}]", [("runtime-config", "")]),
        ("[{name: v, value: a}, {name: v, value: b}]", [("runtime-config", ""), ("v", "a"), ("v", "b")]),
        ("{}", [("runtime-config", ""), ("v", "2")]),
        ("null", None),
    ],
)
def test_arguments_merge_by_name(patch: str, expected: list[tuple[str, str]] | None) -> None:
    """v1beta4's list and the mapping of older versions mean the same; values are the texts that were written."""
    patched = merge_kubeadm(DOCUMENTS, [f"kind: ClusterConfiguration\napiServer: {{extraArgs: {patch}}}"])

    arguments = document(patched, "ClusterConfiguration")["apiServer"].get("extraArgs")
    assert arguments == (None if expected is None else [{"name": name, "value": value} for name, value in expected])


def test_arguments_where_there_were_none() -> None:
    """They have the form of the document, not that of the patch."""
    patch = "kind: ClusterConfiguration\nscheduler: {extraArgs: {v: 4}}"
    listed = "kind: ClusterConfiguration\nscheduler: {extraArgs: [{name: v, value: 4}]}"

    assert document(merge_kubeadm(DOCUMENTS, [patch]), "ClusterConfiguration")["scheduler"] == {"extraArgs": [{"name": "v", "value": "4"}]}
    assert document(merge_kubeadm(OLD, [listed]), "ClusterConfiguration")["scheduler"] == {"extraArgs": {"v": "4"}}
    assert document(merge_kubeadm(OLD, [patch]), "ClusterConfiguration")["apiServer"]["extraArgs"] == {"runtime-config": "", "v": "2"}


def test_names_of_the_certificate_add_up() -> None:
    """Without repeats: who asks for one more does not lose ours."""
    patched = merge_kubeadm(DOCUMENTS, ["kind: ClusterConfiguration\napiServer: {certSANs: [localhost, api.example, api.example]}"])

    assert document(patched, "ClusterConfiguration")["apiServer"]["certSANs"] == ["localhost", "127.0.0.1", "api.example"]


def test_a_patch_may_hold_several_documents() -> None:
    """Each is a patch; later ones see what earlier ones did."""
    patched = merge_kubeadm(
        DOCUMENTS,
        ["kind: KubeletConfiguration\nmaxPods: 1\n---\nkind: ClusterConfiguration\nfoo: bar\n", "kind: KubeletConfiguration\nmaxPods: 2"],
    )

    assert document(patched, "KubeletConfiguration")["maxPods"] == 2
    assert document(patched, "ClusterConfiguration")["foo"] == "bar"


def test_times_and_dates_stay_texts() -> None:
    """As Go's YAML has them."""
    patched = merge_kubeadm(DOCUMENTS, ["kind: KubeletConfiguration\na: 12:30\nb: 2026-01-01\nc: '7'\nd: 0755"])

    kubelet = document(patched, "KubeletConfiguration")
    assert [kubelet[name] for name in "abcd"] == ["12:30", "2026-01-01", "7", 0o755]


# -- kubeadm, JSON


def merged(kind: str, text: str) -> ClusterConfig:
    """A configuration with one merge patch."""
    return ClusterConfig(kubeadm_config_patches=(f"kind: {kind}\n{text}",))


def kubelet_patch(operations: str, **target: str) -> PatchJson6902:
    """A JSON patch for the kubelet's document."""
    return PatchJson6902(
        **{"group": "kubelet.config.k8s.io", "version": "v1beta1", "kind": "KubeletConfiguration", **target}, patch=operations
    )


@pytest.mark.parametrize(
    ("operations", "expected"),
    [
        ([{"op": "add", "path": "/a~1b~0c", "value": 1}], {"a/b~c": 1}),
        ([{"op": "add", "path": "/list/-", "value": 3}], {"list": [1, 2, 3]}),
        ([{"op": "add", "path": "/list/0", "value": 3}], {"list": [3, 1, 2]}),
        ([{"op": "add", "path": "/list/2", "value": 3}], {"list": [1, 2, 3]}),
        ([{"op": "add", "path": "/new", "value": {"x": None}}], {"new": {"x": None}}),
        ([{"op": "remove", "path": "/list/0"}], {"list": [2]}),
        ([{"op": "remove", "path": "/list"}], {"list": None}),
        ([{"op": "replace", "path": "/list/1", "value": "x"}], {"list": [1, "x"]}),
        ([{"op": "move", "from": "/list/0", "path": "/list/1"}], {"list": [2, 1]}),
        ([{"op": "move", "from": "/list", "path": "/other"}], {"list": None, "other": [1, 2]}),
        ([{"op": "move", "from": "/list", "path": "/list"}], {"list": [1, 2]}),
        ([{"op": "copy", "from": "/list", "path": "/other"}, {"op": "remove", "path": "/list/0"}], {"list": [2], "other": [1, 2]}),
        ([{"op": "test", "path": "/list", "value": [1, 2.0]}], {"list": [1, 2]}),
    ],
)
def test_json_patches_do_what_rfc_6902_says(operations: list[Any], expected: dict[str, Any]) -> None:
    """As JSON and as YAML, and as a text that names its target."""
    documents = DOCUMENTS + "list: [1, 2]\n"
    target = {"group": "kubelet.config.k8s.io", "version": "v1beta1", "kind": "KubeletConfiguration"}
    forms: list[PatchJson6902 | str] = [
        kubelet_patch(json.dumps(operations)),
        kubelet_patch(yaml.safe_dump(operations)),
        json.dumps({**target, "patch": operations}),
        yaml.safe_dump({**target, "patch": json.dumps(operations)}),
    ]
    for patch in forms:
        kubelet = document(json6902_kubeadm(documents, [patch]), "KubeletConfiguration")

        assert {name: kubelet.get(name) for name in expected} == expected


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        ({"op": "add", "path": "/a/b", "value": 1}, 'add "/a/b": there is no "a"'),
        ({"op": "add", "path": "/cgroupRoot/b", "value": 1}, 'add "/cgroupRoot/b": there is nothing that could hold "b"'),
        ({"op": "add", "path": "/list/3", "value": 1}, 'add "/list/3": the list is shorter than 3'),
        ({"op": "add", "path": "/list/01", "value": 1}, 'add "/list/01": "01" is no index of a list'),
        ({"op": "remove", "path": "/a"}, 'remove "/a": there is no "a"'),
        ({"op": "remove", "path": "/list/-"}, 'remove "/list/-": "-" is no index of a list'),
        ({"op": "replace", "path": "/a", "value": 1}, 'replace "/a": there is no "a"'),
        ({"op": "move", "from": "/a", "path": "/b"}, 'move "/b" from "/a": there is no "a"'),
        ({"op": "move", "from": "/list", "path": "/list/0"}, 'move "/list/0" from "/list": it lies inside of what is moved'),
        ({"op": "copy", "from": "/a", "path": "/b"}, 'copy "/b" from "/a": there is no "a"'),
        ({"op": "test", "path": "/list", "value": [1]}, 'test "/list": there is another value'),
        ({"op": "test", "path": "/list/0", "value": True}, 'test "/list/0": there is another value'),
    ],
)
def test_an_operation_that_cannot_be_applied_is_an_error(operation: dict[str, Any], message: str) -> None:
    """It names the operation and its path, not what is there."""
    with pytest.raises(ConfigInvalid) as caught:
        json6902_kubeadm(DOCUMENTS + "list: [1, 2]\n", [kubelet_patch("[]"), kubelet_patch(json.dumps([operation]))])

    (problem,) = caught.value.problems
    assert problem.path == "patches[1].patch[0]"
    assert problem.message == f"cannot be applied: {message}"


@pytest.mark.parametrize(
    ("operation", "problem"),
    [
        ({"op": "remove", "path": "/kind"}, "patches[0].patch: changes kind: then it is another document"),
        ({"op": "replace", "path": "/apiVersion", "value": "v1"}, "patches[0].patch: changes apiVersion: then it is another document"),
        ({"op": "add", "path": "/nodeRegistration", "value": 3}, "patches[0].patch.nodeRegistration: must be a mapping"),
    ],
)
def test_what_json_patches_make_has_to_be_a_document_of_kubeadm(operation: dict[str, Any], problem: str) -> None:
    """As far as it is read here, too."""
    with pytest.raises(ConfigInvalid) as caught:
        json6902_kubeadm(DOCUMENTS, [kubelet_patch(json.dumps([operation]))])

    assert [*map(str, caught.value.problems)] == [problem]


def test_an_error_keeps_the_documents_to_itself() -> None:
    """They hold a token."""
    test = '[{"op": "test", "path": "/bootstrapTokens/0/token", "value": "guess"}]'
    with pytest.raises(ConfigInvalid) as caught:
        json6902_kubeadm(DOCUMENTS, [PatchJson6902(group="kubeadm.k8s.io", version="v1beta4", kind="InitConfiguration", patch=test)])

    assert "abcdef" not in str(caught.value)


# -- containerd

TOML = """\
version = 3
[plugins.'io.containerd.cri.v1.images']
snapshotter = "overlayfs"
[plugins.'io.containerd.cri.v1.images'.registry]
config_path = "/etc/containerd/certs.d"
"""


def test_containerd_merges_as_a_mapping() -> None:
    """What the patch does not name stays; a patch for another version of the format does nothing, and that is said."""
    other = 'version = 2\n[debug]\nlevel = "debug"'
    patched = merge_containerd(TOML, ["[plugins.'io.containerd.cri.v1.images']\nsnapshotter = 'native'", other])

    assert tomllib.loads(patched) == {
        "version": 3,
        "plugins": {"io.containerd.cri.v1.images": {"snapshotter": "native", "registry": {"config_path": "/etc/containerd/certs.d"}}},
    }
    kinds = '[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runsc]'
    assert list(map(str, unmatched_containerd(TOML, ["[debug]", other, kinds]))) == [
        "containerdConfigPatches[1]: is for version 2; here it is 3, so the patch has no effect",
        'containerdConfigPatches[2]: names "io.containerd.grpc.v1.cri", a table of version 2; here it is 3, so that has no effect',
    ]


@pytest.mark.parametrize(
    ("table", "has"),
    [
        ('[plugins."io.containerd.grpc.v1.cri".registry.mirrors."docker.io"]', True),
        ("[plugins.'io.containerd.cri.v1.images'.registry.mirrors.'docker.io']", True),
        ('[plugins."io.containerd.grpc.v1.cri".registry]', False),
        ("[plugins]\n'io.containerd.grpc.v1.cri' = {registry = 1}", False),
        ("version = 2", False),
    ],
)
def test_mirrors_of_containerds_own(table: str, has: bool) -> None:
    """With them it looks into no directory of registries."""
    assert has_mirrors(table) is has


def test_containerd_json_patches() -> None:
    """The same operations, on TOML."""
    operations = [
        {"op": "replace", "path": "/plugins/io.containerd.cri.v1.images/registry/config_path", "value": "/certs"},
        {"op": "add", "path": "/imports", "value": ["/etc/a.toml"]},
    ]

    assert tomllib.loads(json6902_containerd(TOML, [json.dumps(operations)])) == {
        "version": 3,
        "imports": ["/etc/a.toml"],
        "plugins": {"io.containerd.cri.v1.images": {"snapshotter": "overlayfs", "registry": {"config_path": "/certs"}}},
    }
    with pytest.raises(ConfigInvalid, match=r'patches\[0\]\[0\]: cannot be applied: remove "/nothing"'):
        json6902_containerd(TOML, ['[{"op": "remove", "path": "/nothing"}]'])


# -- what is no patch


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (ClusterConfig(kubeadm_config_patches=("kind: Kubelet",)), 'kubeadmConfigPatches[0].kind: there is no document "Kubelet"'),
        (ClusterConfig(kubeadm_config_patches=("maxPods: 1",)), "kubeadmConfigPatches[0].kind: is required"),
        (ClusterConfig(kubeadm_config_patches=("text",)), "kubeadmConfigPatches[0]: must be a YAML mapping"),
        (ClusterConfig(kubeadm_config_patches=("{",)), "kubeadmConfigPatches[0]: not YAML"),
        (ClusterConfig(nodes=(NodeConfig(kubeadm_config_patches=("kind: X",)),)), "nodes[0].kubeadmConfigPatches[0].kind: there is no"),
        (
            ClusterConfig(nodes=(NodeConfig(kubeadm_config_patches_json6902=(kubelet_patch("[]", kind=""),)),)),
            "nodes[0].kubeadmConfigPatchesJSON6902[0].kind: is required",
        ),
        (ClusterConfig(kubeadm_config_patches_json6902=(kubelet_patch("{"),)), "kubeadmConfigPatchesJSON6902[0].patch: not YAML"),
        (ClusterConfig(kubeadm_config_patches_json6902=(kubelet_patch("a: b"),)), "kubeadmConfigPatchesJSON6902[0].patch: must be a list"),
        (ClusterConfig(kubeadm_config_patches_json6902=(kubelet_patch("[1]"),)), "kubeadmConfigPatchesJSON6902[0].patch[0]: must be a map"),
        (
            ClusterConfig(kubeadm_config_patches_json6902=(kubelet_patch('[{"op": "put", "path": ""}]'),)),
            "kubeadmConfigPatchesJSON6902[0].patch[0].op: must be one of add, remove",
        ),
        (
            ClusterConfig(kubeadm_config_patches_json6902=(kubelet_patch('[{"op": "remove", "path": "a"}]'),)),
            "kubeadmConfigPatchesJSON6902[0].patch[0].path: is no JSON pointer",
        ),
        (
            ClusterConfig(kubeadm_config_patches_json6902=(kubelet_patch('[{"op": "move", "path": "/a"}]'),)),
            "kubeadmConfigPatchesJSON6902[0].patch[0].from: is required by move",
        ),
        (merged("InitConfiguration", "nodeRegistration: 3"), "kubeadmConfigPatches[0].nodeRegistration: must be a mapping"),
        (merged("ClusterConfiguration", "dns: [a]"), "kubeadmConfigPatches[0].dns: must be a mapping"),
        (merged("InitConfiguration", "skipPhases: 3"), "kubeadmConfigPatches[0].skipPhases: must be a list of texts"),
        (merged("InitConfiguration", "skipPhases: [3]"), "kubeadmConfigPatches[0].skipPhases: must be a list of texts"),
        (
            merged("JoinConfiguration", "nodeRegistration: {kubeletExtraArgs: [{name: x, value: y}, max-pods]}"),
            "kubeadmConfigPatches[0].nodeRegistration.kubeletExtraArgs: must be a list, each entry with name and value, or a mapping",
        ),
        (
            merged("ClusterConfiguration", "apiServer: {extraArgs: 3}"),
            "kubeadmConfigPatches[0].apiServer.extraArgs: must be a list, each entry with name and value, or a mapping",
        ),
        (ClusterConfig(containerd_config_patches=("a = ",)), "containerdConfigPatches[0]: not TOML: Invalid value"),
        (
            ClusterConfig(containerd_config_patches_json6902=('[{"op": "add", "path": "/a"}]',)),
            "containerdConfigPatchesJSON6902[0][0].value: is required by add",
        ),
        (
            ClusterConfig(containerd_config_patches_json6902=('[{"op": "add", "path": "/a", "value": {"b": null}}]',)),
            "containerdConfigPatchesJSON6902[0]: TOML has no null",
        ),
    ],
)
def test_what_is_no_patch_is_told_by_its_path(config: ClusterConfig, expected: str) -> None:
    """Before anything is made."""
    (problem,) = problems_of(config)

    assert str(problem).startswith(expected)


def test_all_problems_of_patches_are_told_at_once() -> None:
    """Together with those of everything else."""
    with pytest.raises(ConfigInvalid) as caught:
        load(
            "{kind: Cluster, apiVersion: kind.x-k8s.io/v1alpha4, name: UPPER, kubeadmConfigPatches: ['kind: A', '{'],"
            " containerdConfigPatches: ['=']}"
        )

    assert [problem.path for problem in caught.value.problems] == [
        "name",
        "kubeadmConfigPatches[0].kind",
        "kubeadmConfigPatches[1]",
        "containerdConfigPatches[0]",
    ]


def test_patches_without_effect_are_told() -> None:
    """Another version than the document's, and a document that a node has not."""
    problems = unmatched_kubeadm(
        DOCUMENTS,
        [
            "kind: ClusterConfiguration",
            "kind: InitConfiguration\napiVersion: kubeadm.k8s.io/v1beta3",
            "kind: JoinConfiguration",
            "kind: InitConfiguration\napiVersion: v1beta4",
        ],
        [kubelet_patch("[]", version="v1")],
        prefix="nodes[0].",
    )

    assert list(map(str, problems)) == [
        "nodes[0].kubeadmConfigPatches[1]: is for InitConfiguration of kubeadm.k8s.io/v1beta3; here it is kubeadm.k8s.io/v1beta4, so the patch has no effect",
        "nodes[0].kubeadmConfigPatches[2]: is for JoinConfiguration; this node has none of its own, so the patch has no effect here",
        "nodes[0].kubeadmConfigPatches[3]: is for InitConfiguration of v1beta4; here it is kubeadm.k8s.io/v1beta4, so the patch has no effect",
        "nodes[0].kubeadmConfigPatchesJSON6902[0].patch: is for KubeletConfiguration of kubelet.config.k8s.io/v1; here it is kubelet.config.k8s.io/v1beta1, so the patch has no effect",
    ]


# -- create

PATCHED = """
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
kubeadmConfigPatches: ["{kind: KubeletConfiguration, maxPods: 42, a: cluster}", "{kind: JoinConfiguration, a: cluster, b: cluster}"]
kubeadmConfigPatchesJSON6902:
- {group: "", version: "", kind: KubeletConfiguration, patch: '[{"op": "copy", "from": "/maxPods", "path": "/b"}]'}
containerdConfigPatches: ["[debug]\\nlevel = 'info'"]
containerdConfigPatchesJSON6902: ['[{"op": "add", "path": "/imports", "value": []}]']
nodes:
- role: worker
  kubeadmConfigPatches: ["{kind: JoinConfiguration, a: node}", "{kind: ClusterConfiguration, x: 1}"]
- role: control-plane
  kubeadmConfigPatches: ["{kind: KubeletConfiguration, a: node}"]
"""


@pytest.mark.anyio
async def test_create_puts_patched_files(fake: FakeEngine) -> None:
    """The cluster's patches first, then those of the node; one that has no effect on its node is a warning."""
    seen = Recording()

    await Cluster.create("demo", config=PATCHED, engine=fake.url, on_event=seen.keep)

    first, worker = fake.containers["demo-control-plane"].files, fake.containers["demo-worker"].files
    kubelet = document(first["/kind/kubeadm.conf"].decode(), "KubeletConfiguration")
    join = document(worker["/kind/kubeadm.conf"].decode(), "JoinConfiguration")
    assert (kubelet["maxPods"], kubelet["a"], kubelet["b"]) == (42, "node", 42)
    assert (join["a"], join["b"]) == ("node", "cluster")
    for files in (first, worker):
        assert tomllib.loads(files["/etc/containerd/config.toml"].decode()) == {"version": 3, "debug": {"level": "info"}, "imports": []}
    assert [(event.node, event.message.partition(":")[0]) for event in seen.of(told.Warned)] == [
        ("demo-worker", "nodes[0].kubeadmConfigPatches[1]")
    ]


@pytest.mark.anyio
async def test_what_kubelets_set_on_new_nodes_is_set_before_them(fake: FakeEngine) -> None:
    """They leave a Node as it is that is there; what of it cannot be had is a warning."""
    taint = {"key": "dedicated", "value": "db", "effect": "NoSchedule"}
    join = {"kind": "JoinConfiguration", "nodeRegistration": {"kubeletExtraArgs": {"node-labels": "tier=db"}, "taints": [taint]}}
    config = ClusterConfig(
        nodes=(NodeConfig(), NodeConfig(role=Role.WORKER, kubeadm_config_patches=(json.dumps(join),))),
        kubeadm_config_patches=(
            '{kind: ClusterConfiguration, controllerManager: {extraArgs: {node-cidr-mask-size: "26"}}, proxy: {disabled: true}}',
        ),
    )
    seen = Recording()

    await Cluster.create("demo", config=config, engine=fake.url, on_event=seen.keep)

    objects = fake.api_objects("demo-control-plane")
    (worker,) = [each for each in objects if each["kind"] == "Node" and each["metadata"]["name"] == "demo-worker"]
    assert worker["metadata"]["labels"]["tier"] == "db"
    assert taint in worker["spec"]["taints"]
    assert not [each for each in objects if each["kind"] == "DaemonSet" and each["metadata"]["name"] == "kube-proxy"]
    assert "node-cidr-mask-size has no effect" in seen.only(told.Warned).message


@pytest.mark.anyio
async def test_containerd_of_a_kind_image_is_restarted(fake: FakeEngine) -> None:
    """It has read its configuration before the files come."""
    files = dict(fake.images["kindasync/node:v1.37.2"].files)
    fake.images["kindest/node:v1.37.0"] = FakeImage(reference="kindest/node:v1.37.0", files=files)
    restarted = []

    def systemctl(container: Any, argv: Any, stdin: bytes) -> ProgramResult:
        restarted.append((container.name, *argv, b"[debug]" in container.files["/etc/containerd/config.toml"]))
        return ProgramResult()

    fake.node.programs["systemctl"] = systemctl
    config = ClusterConfig(containerd_config_patches=("[debug]",))

    await Cluster.create("demo", config=config, image="kindest/node:v1.37.0", engine=fake.url)

    assert restarted == [("demo-control-plane", "systemctl", "restart", "containerd", True)]


@pytest.mark.anyio
@pytest.mark.usefixtures("nobody_dies")
async def test_an_operation_that_fails_ends_the_create(fake: FakeEngine) -> None:
    """It names the patch, and nothing is left."""
    config = ClusterConfig(kubeadm_config_patches_json6902=(kubelet_patch('[{"op": "remove", "path": "/nothing"}]'),))

    with pytest.raises(ClusterError, match=r'kubeadmConfigPatchesJSON6902\[0\].patch\[0\]: cannot be applied: remove "/nothing"'):
        await Cluster.create("demo", config=config, engine=fake.url)

    assert fake.containers == {}
