"""Waits: each has a deadline, and one that expires says what it waited for, what was seen last, and what the kubelet said."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from pathlib import Path
from typing import Any

import anyio
import pytest

from kindasync import Cluster, NotReady
from kindasync import events as told
from kindasync.cluster import _control_plane, _kubelet, _provision, _static_pods
from kindasync.cluster._kubelet import LOG, telling
from kindasync.errors import StepFailed
from kindasync.node._contract import KUBELET_FAILED
from kindasync.testing import FakeContainer, FakeEngine, FakeImage, ProgramResult
from tests.unit.leftovers import nothing_left
from tests.unit.recording import Recording

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("nobody_dies"), pytest.mark.usefixtures("retries_at_once")]

NODE = "demo-control-plane"
NODE_IMAGE = "kindasync/node:v1.37.2"
KINDS_IMAGE = "kindest/node:v1.37.0"
KUBELET_SAID = "E1123 kubelet.go:1: node not found"
WITHOUT_CNI = {"kind": "Cluster", "apiVersion": "kind.x-k8s.io/v1alpha4", "networking": {"disableDefaultCNI": True}}


@pytest.fixture
def fake(elsewhere: FakeEngine) -> FakeEngine:
    """Evidence is of the cluster alone."""
    return elsewhere


@pytest.fixture(autouse=True)
def kubelet(fake: FakeEngine) -> None:
    """A kubelet with something to say."""
    fake.node.programs["journalctl"] = lambda *_: ProgramResult(stdout=f"{KUBELET_SAID}\n".encode())


async def create(fake: FakeEngine, name: str = "demo", **options: Any) -> Cluster:
    """A cluster on the fake."""
    with anyio.fail_after(15):
        return await Cluster.create(name, engine=fake.url, **options)


# -- kubeadm


@pytest.mark.parametrize("phase", ["files", "API", "all"])
async def test_kubeadm_that_never_ends_is_given_up(fake: FakeEngine, home: Path, monkeypatch: pytest.MonkeyPatch, phase: str) -> None:
    """After KUBEADM_S, whichever of its phases it is in, and in a node of kind's, where it runs all of them."""
    monkeypatch.setattr(_provision, "KUBEADM_S", 0.25)
    plain = fake.node.programs["kubeadm"]
    if phase == "all":
        fake.images[KINDS_IMAGE] = FakeImage(reference=KINDS_IMAGE, files=dict(fake.images[NODE_IMAGE].files))

    def kubeadm(container: FakeContainer, argv: Sequence[str], stdin: bytes) -> ProgramResult:
        talks = "upload-config" not in argv[-1] and "--print-manifest" not in argv  # one of the two runs that talk to the API server
        ends = phase == "API" and not (container.booted and talks)
        return plain(container, argv, stdin) if ends else ProgramResult(hangs=True)

    fake.node.programs["kubeadm"] = kubeadm
    seen = Recording()

    with nothing_left(fake, home), pytest.raises(NotReady, match=r"waited 0\.25 s in vain for \"kubeadm init") as raised:
        await create(fake, on_event=seen.keep, image=KINDS_IMAGE if phase == "all" else "")

    assert raised.value.awaited.endswith(f" in node {NODE}")
    assert raised.value.last_state == "it has not ended"
    assert "--retain" in raised.value.hint
    assert seen.names[-1] == "RolledBack"
    assert seen.names.count("StepFailed") == 1


@pytest.mark.parametrize("nth", [1, 2])
async def test_an_engine_that_never_answers_the_start_of_a_program_is_given_up(
    fake: FakeEngine, home: Path, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    """It cannot be told from a program that is silent."""
    monkeypatch.setattr(_provision, "KUBEADM_S", 0.25)
    fake.hang("ExecStart", nth)

    with nothing_left(fake, home), pytest.raises(NotReady, match="it has not ended"):
        await create(fake)


# -- the API server


@pytest.mark.parametrize("statuses", [[503], [500, 429, 0, 409, 503]], ids=["once", "often"])
@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
async def test_the_last_changes_are_tried_again(fake: FakeEngine, method: str, statuses: list[int]) -> None:
    """An API server that is busy, or gone for a moment, does not undo a cluster that is there."""
    fake.node.api_refuses[method] = iter(statuses)

    cluster = await create(fake)

    tried = [request for request in fake.api_requests(NODE) if request.startswith(method)]
    assert len(tried) >= len(statuses) + 1
    assert len(set(tried)) == 1
    assert cluster.kubeconfig_path.exists()


async def test_a_bootstrap_token_that_is_gone_already_is_no_error(fake: FakeEngine) -> None:
    """It was to be deleted."""
    fake.node.api_refuses["DELETE"] = iter([404])

    await create(fake)


@pytest.mark.parametrize(("method", "status"), [("PATCH", 403), ("PATCH", 404), ("DELETE", 403)])
async def test_a_last_change_that_is_refused_for_good_is_a_failed_step(fake: FakeEngine, home: Path, method: str, status: int) -> None:
    """At once, in the API server's words."""
    fake.node.api_refuses[method] = iter([status])

    with nothing_left(fake, home), pytest.raises(StepFailed, match="finish the control plane") as raised:
        await create(fake)

    assert raised.value.failures[0].why == f"{status} Scripted: the API server refuses"


@pytest.mark.parametrize(
    ("method", "awaited"),
    [
        ("GET", "an answer from the API server at https://127.0.0.1:"),
        ("POST", "the API server to take "),
        ("PATCH", "the API server to take the last changes"),
        ("DELETE", "the API server to take the last changes"),
    ],
)
async def test_an_api_server_that_refuses_until_the_deadline(
    fake: FakeEngine, home: Path, monkeypatch: pytest.MonkeyPatch, method: str, awaited: str
) -> None:
    """Its last refusal is what was seen last, and the kubelet's last lines are the evidence."""
    monkeypatch.setattr(_control_plane, "API_UP_S", 0.5)
    fake.node.api_refuses[method] = repeat(503)

    with nothing_left(fake, home), pytest.raises(NotReady) as raised:
        await create(fake)

    assert raised.value.awaited.startswith(awaited)
    assert raised.value.last_state == "503 Scripted: the API server refuses"
    assert raised.value.evidence == KUBELET_SAID
    assert "--retain" in raised.value.hint


async def test_an_api_server_that_closes_every_connection(fake: FakeEngine, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is what was seen last then."""
    monkeypatch.setattr(_control_plane, "API_UP_S", 0.5)
    fake.node.api_refuses["GET"] = repeat(0)

    with nothing_left(fake, home), pytest.raises(NotReady) as raised:
        await create(fake)

    assert "disconnected" in raised.value.last_state.lower()


# -- evidence


async def test_a_wait_for_readiness_that_expires_shows_the_kubelets_last_lines(fake: FakeEngine, home: Path) -> None:
    """Read before the node is removed; ten of them."""
    fake.node.becomes_ready = False
    asked: list[Sequence[str]] = []

    def journalctl(container: FakeContainer, argv: Sequence[str], stdin: bytes) -> ProgramResult:
        asked.append(argv)
        return ProgramResult(stdout="".join(f"line {number}\n" for number in range(30)).encode())

    fake.node.programs["journalctl"] = journalctl

    with nothing_left(fake, home), pytest.raises(NotReady) as raised:
        await create(fake, wait_s=0.2)

    assert [tuple(argv) for argv in asked] == [LOG]
    assert raised.value.evidence.splitlines() == [f"line {number}" for number in range(20, 30)]
    assert "  seen: line 20\n" in str(raised.value)


@pytest.mark.parametrize(
    ("log", "told"),
    [
        (
            "I1127 a\npanic: unrecognized feature gate: X\ngoroutine 1\n" * 9 + "kubelet.service: restart 9\n",
            "panic: unrecognized feature gate: X",
        ),
        ("E1127 a\nI1127 b\nE1127 c\n", "E1127 a\nE1127 c"),
        ("E1127 14:00:00.1  1 a.go:1] lost\nE1127 b\nE1127 14:00:01.1  1 a.go:1] lost\n", "E1127 b\nE1127 14:00:01.1  1 a.go:1] lost"),
        ("a\nb\n", "a\nb"),
        ("", ""),
    ],
)
def test_of_a_log_its_errors_are_shown(log: str, told: str) -> None:
    """Each once, as it came last; of one without, its end."""
    assert telling(log) == told


async def test_a_kubelet_that_fails_again_and_again_ends_the_create(fake: FakeEngine, home: Path) -> None:
    """Long before anybody gives up the API server that it does not start."""
    fake.node.becomes_ready = False
    fake.node.programs["journalctl"] = lambda *_: ProgramResult(stdout=b"panic: unrecognized feature gate: X\ngoroutine 1 [running]:\n")

    async def die(event: told.Event) -> None:
        if isinstance(event, told.RuntimeReady):
            fake.say(NODE, f"{KUBELET_FAILED}\n" * 10)

    with nothing_left(fake, home), pytest.raises(StepFailed, match="fails again and again") as raised:
        await create(fake, on_event=die)

    assert raised.value.why == "panic: unrecognized feature gate: X"


LOGS = "/var/log/pods/kube-system_kube-apiserver-demo-control-plane_1/kube-apiserver"
API_SERVER_LOGS = f"""==> {LOGS}/2.log <==
2026-11-27T14:00:00.1Z stderr F I1127 a
2026-11-27T14:00:00.2Z stderr F Error: unknown api group some

==> {LOGS}/3.log <==
"""


async def test_an_api_server_that_fails_again_and_again_ends_the_create(
    fake: FakeEngine, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In its own words, and long before anybody gives it up; not while it only takes its time."""
    monkeypatch.setattr(_static_pods, "LOOK_EVERY_S", 0.05)
    fake.node.api_refuses["GET"] = repeat(503)
    looks = iter(["", "", API_SERVER_LOGS])
    fake.node.programs["sh"] = lambda *_: ProgramResult(stdout=next(looks).encode())

    with nothing_left(fake, home), pytest.raises(StepFailed, match=f"kube-apiserver on node {NODE} fails again and again") as raised:
        await create(fake)

    assert raised.value.why == "Error: unknown api group some"
    assert raised.value.evidence == "I1127 a\nError: unknown api group some"


async def test_a_controller_manager_that_fails_again_and_again_ends_the_create(
    fake: FakeEngine, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API server answers, and no node becomes Ready. What only loses its place as leader, as on a busy machine, has time."""
    monkeypatch.setattr(_static_pods, "LOOK_EVERY_S", 0.05)
    fake.node.becomes_ready = False
    logs = API_SERVER_LOGS.replace("kube-apiserver", "kube-controller-manager")
    looks = iter([logs.replace("Error: unknown api group some", "leaderelection lost"), logs])
    fake.node.programs["sh"] = lambda *_: ProgramResult(stdout=next(looks).encode())

    with nothing_left(fake, home), pytest.raises(StepFailed, match=f"kube-controller-manager on node {NODE} fails again and again"):
        await create(fake)


UNPULLED = (
    r'E1127 18:55:01.1 300 pod_workers.go:1324] "Error syncing pod, skipping" err="failed to \"StartContainer\" for \"kube-apiserver\" with ErrImagePull: '
    r'\"failed to pull and unpack image \\\"example.com/kube-apiserver:v1\\\": no such host\"" pod="kube-system/kube-apiserver-demo"'
)


@pytest.mark.parametrize(("times", "fails"), [(2, False), (3, True)])
def test_an_image_that_cannot_be_pulled(times: int, fails: bool) -> None:
    """Kubelets try again; three times are enough."""
    failure = _static_pods._unpulled(NODE, f"{UNPULLED}\n" * times)

    assert bool(failure) is fails
    if failure:
        assert failure.what == f"the image of kube-apiserver cannot be pulled on node {NODE}"
        assert failure.why == 'failed to pull and unpack image "example.com/kube-apiserver:v1": no such host'


async def test_a_secret_that_the_kubelet_printed_is_withheld(fake: FakeEngine, home: Path) -> None:
    """As in any other evidence."""
    fake.node.becomes_ready = False
    fake.node.programs["journalctl"] = lambda *_: ProgramResult(stdout=b"token abcdef.0123456789abcdef is unknown\n")

    with pytest.raises(NotReady) as raised:
        await create(fake, wait_s=0.2)

    assert raised.value.evidence == "token (withheld) is unknown"


@pytest.mark.parametrize("trouble", ["silent", "refused", "gone"])
async def test_without_evidence_the_wait_is_told_nevertheless(
    fake: FakeEngine, home: Path, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    """Whatever becomes of the question: the first error stays the one that is raised."""
    monkeypatch.setattr(_kubelet, "LOG_S", 0.1)
    fake.node.becomes_ready = False
    match trouble:
        case "silent":
            fake.node.programs["journalctl"] = lambda *_: ProgramResult(hangs=True)
        case "gone":
            fake.node.programs["journalctl"] = lambda *_: ProgramResult()
        case "refused":
            begun = Recording()

            async def refuse(event: told.Event) -> None:
                await begun.keep(event)
                if isinstance(event, told.StepFailed):
                    fake.fail("ContainerExec", message="cannot exec")

    with nothing_left(fake, home), pytest.raises(NotReady, match="to be ready") as raised:
        await create(fake, wait_s=0.2, on_event=refuse if trouble == "refused" else None)

    assert raised.value.evidence == ""


# -- without a pod network


async def test_without_the_default_cni_nodes_have_to_be_registered(fake: FakeEngine) -> None:
    """They become Ready, and pods run, only once the user has installed a pod network; that is said."""
    fake.node.has_network = False
    seen = Recording()

    await create(fake, config=WITHOUT_CNI, on_event=seen.keep)

    observed = {(event.subject, event.state) for event in seen.of(told.ReadinessObserved)}
    assert observed == {(f"node {NODE}", "cni plugin not initialized"), ("default ServiceAccount", "there")}
    assert "another pod network" in seen.only(told.Warned).message
    assert seen.names[-1] == "ClusterReady"
    assert not any("cni" in event.manifest for event in seen.of(told.ManifestApplied))


async def test_with_the_default_cni_nodes_have_to_be_ready(fake: FakeEngine, home: Path) -> None:
    """What is missing then is an error, and nobody is warned."""
    fake.node.has_network = False
    seen = Recording()

    with nothing_left(fake, home), pytest.raises(NotReady) as raised:
        await create(fake, wait_s=0.5, on_event=seen.keep)

    assert raised.value.last_state == f"node {NODE}: cni plugin not initialized; a scheduled pod: not seen"
    assert seen.of(told.Warned) == []


async def test_without_the_default_cni_nodes_that_do_not_register_are_waited_for(fake: FakeEngine, home: Path) -> None:
    """And so is the default ServiceAccount; a pod is not."""
    fake.node.becomes_ready = False

    with nothing_left(fake, home), pytest.raises(NotReady) as raised:
        await create(fake, config=WITHOUT_CNI, wait_s=0.2)

    assert raised.value.last_state == f"node {NODE}: not seen; default ServiceAccount: not seen"
