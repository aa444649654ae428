"""Wait for: objects that are there, come, change, go; kinds and namespaces that are not there yet; and what a deadline says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import pytest

from kindasync import Cluster, NotReady
from kindasync.cluster._api import ClusterApi
from kindasync.cluster._conditions import parse
from kindasync.cluster._discovery import Reference
from kindasync.cluster._wait_for import wait_for
from kindasync.errors import ApiRefused, ClusterError, KindUnknown
from kindasync.testing import FakeEngine
from tests.unit.kubernetes import Kubernetes, definition

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("retries_at_once")]

PODS = "GET /api/v1/namespaces/default/pods"
RUNNING = "jsonpath={.status.phase}=Running"
Act = Callable[[], object]


def pod(name: str = "web", phase: str = "Running", **labels: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "status": {"phase": phase}}


def widget(name: str = "first") -> dict[str, Any]:
    return {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}}


async def waited(api: ClusterApi, reference: str, condition: Any, *, timeout_s: float = 10, **options: Any) -> list[str]:
    """The names of what was waited for."""
    awaited = Reference.parse(reference, **{"namespace": "default", **options})
    return [each["metadata"]["name"] for each in await wait_for(api, awaited, parse(condition), timeout_s=timeout_s)]


async def waits_until(
    kubernetes: Kubernetes, api: ClusterApi, reference: str, condition: Any, *, asks: str, then: Act, **options: Any
) -> None:
    """It has not ended when it watches `asks`, and ends after `then`."""
    ended = anyio.Event()

    async def wait() -> None:
        await waited(api, reference, condition, **options)
        ended.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await kubernetes.asked(f"{asks} watch")
        assert not ended.is_set()
        then()


@pytest.mark.parametrize("reference", ["pod/web", "pods/web", "po/web", "Pod/web"])
async def test_what_is_there_already_is_not_waited_for(kubernetes: Kubernetes, api: ClusterApi, reference: str) -> None:
    """By any name of its kind, and without a watch."""
    kubernetes.put(pod())

    assert await waited(api, reference, RUNNING) == ["web"]
    assert not any("watch" in request for request in kubernetes.requests)


@pytest.mark.parametrize("reference", ["deployment/web", "deploy/web", "deployments.apps/web", "deployments.v1.apps/web"])
async def test_kinds_are_found_in_all_groups(kubernetes: Kubernetes, api: ClusterApi, reference: str) -> None:
    """By the API's own discovery."""
    kubernetes.put({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}})

    assert await waited(api, reference, "exists") == ["web"]


async def test_an_object_that_comes(kubernetes: Kubernetes, api: ClusterApi) -> None:
    """Others do not count."""
    kubernetes.put(pod("other"))

    await waits_until(kubernetes, api, "pod/web", "exists", asks=PODS, then=lambda: kubernetes.put(pod()))


async def test_an_object_that_changes(kubernetes: Kubernetes, api: ClusterApi) -> None:
    """To what is wanted."""
    kubernetes.put(pod(phase="Pending"))

    await waits_until(kubernetes, api, "pod/web", RUNNING, asks=PODS, then=lambda: kubernetes.put(pod()))


async def test_an_object_that_goes(kubernetes: Kubernetes, api: ClusterApi) -> None:
    """And one that is not there counts as gone."""
    kubernetes.put(pod())

    await waits_until(kubernetes, api, "pod/web", "delete", asks=PODS, then=lambda: kubernetes.remove(pod()))

    assert await waited(api, "pod/web", "delete") == []


async def test_objects_by_their_labels(kubernetes: Kubernetes, api: ClusterApi) -> None:
    """All of them have to meet the condition."""
    kubernetes.put(pod("one", app="web"))
    kubernetes.put(pod("two", "Pending", app="web"))
    kubernetes.put(pod("other", "Pending", app="db"))

    await waits_until(kubernetes, api, "pod", RUNNING, asks=PODS, then=lambda: kubernetes.put(pod("two", app="web")), selector="app=web")

    assert await waited(api, "pod", RUNNING, selector="app=web") == ["one", "two"]


async def test_all_namespaces(kubernetes: Kubernetes, api: ClusterApi) -> None:
    """Where the namespace is None."""
    kubernetes.put(pod("one"), "first")
    kubernetes.put(pod("two"), "second")

    assert await waited(api, "pod", RUNNING, namespace=None) == ["one", "two"]


async def test_a_kind_that_comes(kubernetes: Kubernetes, api: ClusterApi) -> None:
    """By a watch of definitions; established ones alone count."""

    def define() -> None:
        kubernetes.put(definition())
        kubernetes.establish(definition())
        kubernetes.put(widget())

    definitions = "GET /apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    await waits_until(kubernetes, api, "widgets.example.com/first", "exists", asks=definitions, then=define)


async def test_a_deleted_object_of_an_unknown_kind_is_an_error(api: ClusterApi) -> None:
    """A word that is misspelt would be gone at once."""
    with pytest.raises(KindUnknown, match='no kind "deploymnt"'):
        await waited(api, "deploymnt/web", "delete")


async def test_what_happens_between_two_watches_is_not_missed(kubernetes: Kubernetes, api: ClusterApi) -> None:
    """Deletions, too: after a watch has ended, the objects are listed anew."""
    kubernetes.put(pod())

    def end() -> None:
        kubernetes.remove(pod())
        kubernetes.forget()

    kubernetes.refuses[f"{PODS} watch"] = [(410, "too old")]
    await waits_until(kubernetes, api, "pod/web", "delete", asks=PODS, then=end)


async def test_an_api_server_that_is_away_for_a_moment(kubernetes: Kubernetes, api: ClusterApi) -> None:
    """Is asked again."""
    kubernetes.put(pod())
    kubernetes.refuses = {"GET /apis": [(503, "starting")] * 2, PODS: [(500, "starting"), (403, "no permissions yet")]}

    assert await waited(api, "pod/web", RUNNING) == ["web"]


async def test_an_api_server_that_does_not_know_yet_who_may_do_what(kubernetes: Kubernetes, api: ClusterApi) -> None:
    """After a start it refuses its administrator, too, for a moment."""
    forbidden = 'forbidden: User "kubernetes-admin" cannot get path "/apis"'
    kubernetes.refuses["GET /apis"] = [(403, forbidden)] * 2
    kubernetes.put(pod())

    assert await waited(api, "pod/web", "exists") == ["web"]


async def test_a_deadline_before_any_answer(api: ClusterApi) -> None:
    """Nothing is said of kinds."""
    with pytest.raises(NotReady) as raised:
        await waited(api, "pod/web", "exists", timeout_s=1e-9)

    assert raised.value.last_state == "no answer"


async def test_one_look(api: ClusterApi, kubernetes: Kubernetes) -> None:
    """Without any time: what is there is found, what is not is told."""
    with pytest.raises(NotReady) as raised:
        await waited(api, "pod/web", "exists", timeout_s=0)
    assert raised.value.last_state == "it is not there"

    kubernetes.put(pod())

    assert await waited(api, "pod/web", "exists", timeout_s=0) == ["web"]


async def test_a_selector_that_is_none_is_refused_at_once(kubernetes: Kubernetes, api: ClusterApi) -> None:
    """In the API server's words."""
    kubernetes.refuses[PODS] = [(400, "unable to parse requirement")]

    with pytest.raises(ApiRefused, match="unable to parse requirement"):
        await waited(api, "pod", "exists", selector="a=b")


@pytest.mark.parametrize(("reference", "selector"), [("", ""), ("/web", ""), ("pod/", ""), ("pod/a/b", ""), ("pod/web", "app=web")])
def test_what_refers_to_nothing_is_refused(reference: str, selector: str) -> None:
    """With the forms that there are."""
    with pytest.raises(ClusterError, match="refers to no object"):
        Reference.parse(reference, namespace="default", selector=selector)


# -- deadlines


async def late(api: ClusterApi, reference: str, condition: Any, **options: Any) -> NotReady:
    with pytest.raises(NotReady) as raised:
        await waited(api, reference, condition, timeout_s=0.5, **options)
    return raised.value


async def test_a_deadline_says_what_was_awaited_and_seen(kubernetes: Kubernetes, api: ClusterApi) -> None:
    """Of pods with why their containers wait."""
    waiting = {"name": "main", "state": {"waiting": {"reason": "ErrImageNeverPull", "message": "not present"}}}
    kubernetes.put({**pod(), "status": {"phase": "Pending", "containerStatuses": [waiting]}})

    error = await late(api, "pod/web", "condition=Ready")

    assert error.awaited == "condition=Ready of pod/web in namespace default"
    assert error.last_state == "web: no condition Ready; Pending; container main waits: ErrImageNeverPull: not present"


async def test_a_deadline_tells_of_those_that_are_not_as_wanted(kubernetes: Kubernetes, api: ClusterApi) -> None:
    """And of no others."""
    kubernetes.put(pod("one"))
    kubernetes.put(pod("two", "Pending"))

    error = await late(api, "pod", RUNNING, namespace=None)

    assert error.awaited == f"{RUNNING} of every pod"
    assert error.last_state == "two: .status.phase is Pending; Pending"


async def test_a_deadline_shows_the_pods_of_a_deployment(kubernetes: Kubernetes, api: ClusterApi) -> None:
    """It has no reason of its own."""
    spec = {"selector": {"matchLabels": {"app": "web"}}, "template": {}}
    kubernetes.put({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec}, "default")
    kubernetes.put(pod("web-1", "Pending", app="web"))

    error = await late(api, "deployment/web", "condition=Available")

    assert error.last_state == "web: no condition Available"
    assert error.evidence == "pod web-1: Pending"


@pytest.mark.parametrize(
    ("reference", "state", "evidence"),
    [
        ("pod/web", "it is not there", "404 Scripted: the server could not find the requested resource"),
        ("pod", "none is there", "404 Scripted: the server could not find the requested resource"),
        ("widgets.example.com/first", 'the cluster knows no kind "widgets"', ""),
    ],
)
async def test_a_deadline_tells_what_is_not_there(api: ClusterApi, reference: str, state: str, evidence: str) -> None:
    """The object, its namespace, or its kind."""
    error = await late(api, reference, "exists", namespace="nowhere")

    assert (error.last_state, error.evidence) == (state, evidence)


async def test_a_deadline_tells_that_nothing_answers(kubernetes: Kubernetes, api: ClusterApi) -> None:
    """Why the newest request failed."""
    kubernetes.refuses[PODS] = [(500, "etcd is away")] * 1000

    assert (await late(api, "pod/web", "exists")).last_state == "500 Scripted: etcd is away"


async def test_a_cluster_waits(fake: FakeEngine) -> None:
    """What users call."""
    cluster = await Cluster.create("demo", engine=fake.url)

    (node,) = await cluster.wait_for("node", "condition=Ready")

    assert node["metadata"]["name"] == "demo-control-plane"
    with pytest.raises(ClusterError, match="no condition"):
        await cluster.wait_for("node", "ready")
