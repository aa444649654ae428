"""Apply: what a manifest is, in which order its objects go, and what is said of those that are refused."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import anyio
import pytest

from kindasync import Cluster
from kindasync.cluster._api import ClusterApi
from kindasync.cluster._apply import Manifest, apply, read
from kindasync.errors import ClusterError, NotReady, StepFailed
from kindasync.testing import FakeEngine
from tests.unit.kubernetes import Kubernetes, definition

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("retries_at_once")]

NAMESPACE = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}
WIDGET = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "first", "namespace": "shop"}}
WIDGETS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def config_map(name: str, **metadata: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **metadata}}


async def applied(api: ClusterApi, manifest: Manifest, *, timeout_s: float = 10) -> list[dict[str, Any]]:
    return await apply(api, "demo", read(manifest), namespace="default", timeout_s=timeout_s)


# -- manifests

TEXT = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: one, annotations: {day: 2026-11-26, time: 2026-11-26T10:00:00Z}}
---
# nothing
---
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: ConfigMap, metadata: {name: two}}
- {apiVersion: v1, kind: ConfigMap, metadata: {name: three}}
"""


def names(manifest: Manifest) -> list[str]:
    return [each["metadata"]["name"] for each in read(manifest)]


def test_text_may_hold_several_objects_and_lists() -> None:
    """Empty documents are none; what looks like a time stays what it is."""
    assert names(TEXT) == ["one", "two", "three"]
    assert read(TEXT)[0]["metadata"]["annotations"] == {"day": "2026-11-26", "time": "2026-11-26T10:00:00Z"}


def test_objects_are_taken_as_they_are() -> None:
    """One, several, or none of ours that we would change."""
    assert read(NAMESPACE) == [NAMESPACE]
    assert read([NAMESPACE, WIDGET]) == [NAMESPACE, WIDGET]
    assert read(TEXT.encode()) == read(TEXT)


def test_files_of_a_directory_go_by_their_names(tmp_path: Path) -> None:
    """As kubectl takes them; others are left out."""
    (tmp_path / "20.yaml").write_text(TEXT)
    (tmp_path / "10.json").write_text('{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "zero"}}')
    (tmp_path / "README.md").write_text("no manifest")

    assert names(tmp_path) == ["zero", "one", "two", "three"]
    assert names(tmp_path / "20.yaml") == ["one", "two", "three"]

    (tmp_path / "30.yaml").write_text("kind: Pod\nmetadata: {name: x}\n")
    with pytest.raises(ClusterError, match=r"30\.yaml: object 1: apiVersion is missing"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("manifest", "why"),
    [
        ("", "there is no object in it"),
        ("deploy.yaml", "object 1: it is no object, but str"),
        ([{"kind": "Pod"}, {"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "x-"}}], None),
        (
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "annotations": {"day": date(2026, 11, 27)}}},
            "object 1: it is no JSON: Object of type date is not JSON serializable",
        ),
        ("a: [", "did not find expected node content, in line 2"),
    ],
)
def test_what_is_no_manifest_is_refused_with_all_that_is_wrong(manifest: Manifest, why: str | None) -> None:
    """Before anything is applied."""
    why = why or (
        "object 1: apiVersion is missing, or no text\nobject 1: metadata.name is missing, or no text\n"
        "object 2: metadata.name is missing: what has a generateName can be created (by client()), not applied"
    )

    with pytest.raises(ClusterError) as raised:
        read(manifest)

    assert raised.value.why == why


# -- applying


async def test_namespaces_and_definitions_come_first(kubernetes: Kubernetes, api: ClusterApi) -> None:
    """Wherever they stand; what is returned is in the manifest's order, as the API server has it."""
    result = await applied(api, [WIDGET, config_map("settings"), definition(), NAMESPACE])

    assert [each["kind"] for each in kubernetes.bodies] == ["CustomResourceDefinition", "Namespace", "Widget", "ConfigMap"]
    assert [each["kind"] for each in result] == ["Widget", "ConfigMap", "CustomResourceDefinition", "Namespace"]
    assert all(each["metadata"]["resourceVersion"] for each in result)


async def test_objects_wait_until_their_definition_is_established(kubernetes: Kubernetes, api: ClusterApi) -> None:
    """Not only until it is there."""
    kubernetes.establishes = False

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(applied, api, [definition(), WIDGET])
        await kubernetes.asked(f"GET {WIDGETS} watch")
        assert [each["kind"] for each in kubernetes.bodies] == ["CustomResourceDefinition"]
        kubernetes.establish(definition())

    assert [each["kind"] for each in kubernetes.bodies] == ["CustomResourceDefinition", "Widget"]


async def test_discovery_may_be_a_moment_behind(kubernetes: Kubernetes, api: ClusterApi) -> None:
    """Of kinds that were defined just now; a kind that nobody defined is refused at once."""
    kubernetes.refuses["GET /apis/example.com/v1"] = [(404, "not found")] * 3

    await applied(api, [definition(), WIDGET])

    assert kubernetes.requests.count("GET /apis/example.com/v1") == 4


async def test_an_object_as_it_was_read_can_be_applied(kubernetes: Kubernetes, api: ClusterApi) -> None:
    """Who manages which of its fields is the API server's."""
    await applied(api, [config_map("one") | {"metadata": {"name": "one", "managedFields": [{"manager": "other"}]}}])

    assert [each["metadata"] for each in kubernetes.bodies] == [{"name": "one"}]


async def test_the_namespace_is_that_of_the_object_or_the_one_given(kubernetes: Kubernetes, api: ClusterApi) -> None:
    """Objects of the whole cluster have none."""
    objects = read([config_map("one"), config_map("two", namespace="other"), NAMESPACE])

    await apply(api, "demo", objects, namespace="given", timeout_s=10)

    assert [request for request in kubernetes.requests if request.startswith("PATCH")] == [
        "PATCH /api/v1/namespaces/shop",
        "PATCH /api/v1/namespaces/given/configmaps/one",
        "PATCH /api/v1/namespaces/other/configmaps/two",
    ]


async def test_all_refused_objects_are_named(kubernetes: Kubernetes, api: ClusterApi) -> None:
    """In one error, each with why; the others are applied."""
    kubernetes.refuses["PATCH /api/v1/namespaces/default/configmaps/two"] = [(422, "data: too long")]

    with pytest.raises(StepFailed) as raised:
        await applied(api, [config_map("one"), config_map("two"), WIDGET, config_map("three")])

    assert str(raised.value).splitlines() == [
        'cannot apply 2 of 4 objects of cluster "demo": ConfigMap default/two is refused',
        "  why: 422 Scripted: data: too long",
        '       Widget first is refused: the cluster knows no kind "Widget" in example.com/v1',
    ]
    assert len(raised.value.failures) == 2
    assert [each["metadata"]["name"] for each in kubernetes.bodies] == ["one", "three"]


@pytest.mark.parametrize("status", [429, 500, 503, 409])
async def test_what_passes_is_tried_again(kubernetes: Kubernetes, api: ClusterApi, status: int) -> None:
    """A webhook that is not up yet, an API server that has too much to do."""
    kubernetes.refuses["PATCH /api/v1/namespaces/default/configmaps/one"] = [(status, "not yet")] * 2

    (result,) = await applied(api, config_map("one"))

    assert result["metadata"]["name"] == "one"


async def test_an_internal_error_without_reason_is_tried_again_but_not_for_long(kubernetes: Kubernetes, api: ClusterApi) -> None:
    """It may be etcd's; so does the API server answer what does not fit a schema, too."""
    kubernetes.refuses["PATCH /api/v1/namespaces/default/configmaps/one"] = [(500, "no reason: etcd")] * 2
    kubernetes.refuses["PATCH /api/v1/namespaces/default/configmaps/two"] = [(500, "no reason: field not declared in schema")] * 1000

    with pytest.raises(StepFailed, match="field not declared in schema") as raised:
        await applied(api, [config_map("one"), config_map("two")])

    assert [failure.what for failure in raised.value.failures] == ["ConfigMap default/two is refused"]


async def test_a_deadline_names_what_was_awaited(kubernetes: Kubernetes, api: ClusterApi) -> None:
    """With the API server's last words, and what it refused before."""
    kubernetes.refuses["PATCH /api/v1/namespaces/default/configmaps/one"] = [(422, "data: too long")]
    kubernetes.refuses["PATCH /api/v1/namespaces/default/configmaps/two"] = [(500, "failed calling webhook")] * 1000

    with pytest.raises(NotReady) as raised:
        await applied(api, [config_map("one"), config_map("two")], timeout_s=0.5)

    assert raised.value.awaited == "ConfigMap default/two to be applied"
    assert raised.value.last_state == "500 Scripted: failed calling webhook"
    assert "data: too long" in raised.value.__notes__[0]


async def test_a_deadline_names_a_definition_that_is_not_established(kubernetes: Kubernetes, api: ClusterApi) -> None:
    """Its objects are not applied."""
    kubernetes.establishes = False

    with pytest.raises(NotReady, match=r"CustomResourceDefinition widgets\.example\.com to be established"):
        await applied(api, [definition(), WIDGET], timeout_s=0.5)


async def test_a_cluster_applies_manifests(fake: FakeEngine) -> None:
    """What users call; bad input is told before anything is sent."""
    cluster = await Cluster.create("demo", engine=fake.url)

    (made,) = await cluster.apply(config_map("one"))

    assert made["metadata"]["name"] == "one"
    assert fake.api_objects("demo-control-plane")[-1] == config_map("one")
    with pytest.raises(ClusterError, match="cannot be applied"):
        await cluster.apply([])
