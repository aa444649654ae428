"""The timeline: what is drawn where, that nothing in it can be more than text, and that it is written however an operation ends."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest

from kindasync.cli._main import main
from kindasync.cli._timeline import stacked, timeline
from kindasync.cli._timings import Span, aligned
from kindasync.events import BuildStepEnded, Event, KubeadmPhase, NodeBooted, NodeStarted, StepFailed, Warned
from kindasync.testing import FakeEngine

EVIL = "\"'></div><script>alert(1)</script>"


class Page(HTMLParser):
    """The elements of a page: `tags`, their attributes by class, and all text."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.bars: list[dict[str, str]] = []
        self.feed(document)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        of = {name: value or "" for name, value in attrs}
        if "bar" in of.get("class", "").split():
            self.bars.append(of)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return "\n".join(self.texts)


def at(event: Event, monotonic_s: float) -> Event:
    return replace(event, monotonic_s=monotonic_s)


def test_bars_are_where_their_stages_were() -> None:
    """To scale: the page is as wide as the operation was long. By node, in the order in which something began for each."""
    page = Page(
        timeline(
            "Creating",
            [
                at(NodeStarted(cluster="demo", node="b", duration_s=1.0), 2.0),
                at(NodeBooted(cluster="demo", node="a", duration_s=2.0), 4.0),
                at(KubeadmPhase(cluster="demo", node="b", duration_s=4.0, phase="certs"), 8.0),
            ],
        )
    )

    assert [bar["style"].partition(";--")[0] for bar in page.bars] == [
        "left:12.500%;width:12.500%",
        "left:50.000%;width:50.000%",
        "left:25.000%;width:25.000%",
    ]
    assert [bar["title"].partition(",")[0] for bar in page.bars] == ["container: NodeStarted", "kubeadm: certs", "boot: NodeBooted"]
    assert page.text.index("\nb\n") < page.text.index("\na\n")
    assert "8.0 s" in page.text


def test_clusters_side_by_side_are_on_one_scale() -> None:
    """Each has the times of its own create; where they stand is told by the clock."""
    noon = datetime(2026, 11, 26, 12, tzinfo=UTC)
    early = at(NodeStarted(cluster="early", node="a", duration_s=1.0, time=noon), 1.0)
    late = at(NodeStarted(cluster="late", node="b", duration_s=1.0, time=noon + timedelta(seconds=3)), 1.0)

    assert [event.monotonic_s for event in aligned([early, late])] == [1.0, 4.0]
    assert [bar["style"].partition(";width")[0] for bar in Page(timeline("Filling", [late, early])).bars] == ["left:0.000%", "left:75.000%"]


def span(began_s: float, took_s: float) -> Span:
    return Span(subject="n", stage="boot", until="NodeBooted", began_s=began_s, took_s=took_s)


@pytest.mark.parametrize(
    ("times", "tracks"),
    [
        ([], []),
        ([(0, 1), (1, 1)], [[(0, 1), (1, 1)]]),
        ([(0, 2), (1, 1), (2, 1)], [[(0, 2), (2, 1)], [(1, 1)]]),
        ([(0, 1), (0, 3)], [[(0, 3)], [(0, 1)]]),  # the whole above its parts
        ([(0.1, 0.2), (0.3, 1)], [[(0.1, 0.2), (0.3, 1)]]),  # though 0.1 + 0.2 is a little more than 0.3
    ],
)
def test_what_was_at_the_same_time_is_below_each_other(times: list[tuple[float, float]], tracks: list[list[tuple[float, float]]]) -> None:
    """In as few tracks as that takes."""
    assert [[(bar.began_s, bar.took_s) for bar in track] for track in stacked(span(*each) for each in times)] == tracks


def test_whatever_comes_from_outside_is_text() -> None:
    """Names, steps and errors: in no place can they become elements."""
    page = Page(
        timeline(
            EVIL,
            [
                at(NodeStarted(cluster=EVIL, node=EVIL, duration_s=1.0), 1.0),
                at(KubeadmPhase(cluster=EVIL, node=EVIL, duration_s=1.0, phase=EVIL), 2.0),
                at(BuildStepEnded(step=EVIL, duration_s=1.0), 3.0),
                at(StepFailed(cluster=EVIL, node=EVIL, step=EVIL, error=EVIL), 4.0),
                at(Warned(cluster=EVIL, message=EVIL), 4.0),
            ],
        )
    )

    assert "script" not in page.tags
    assert page.text.count(EVIL) >= 7
    assert set(page.bars[1]) == {"class", "style", "title"}
    assert page.bars[1]["title"].startswith(f"kubeadm: {EVIL}, 1.00 s")


def test_it_needs_no_other_file() -> None:
    """Nothing is fetched, and nothing runs."""
    document = timeline("Creating", [at(NodeStarted(duration_s=1.0), 1.0)])

    assert not set(Page(document).tags) & {"script", "link", "img", "iframe"}
    assert "://" not in document
    assert "url(" not in document


def test_of_nothing() -> None:
    """Nothing was told: a page all the same."""
    assert Page(timeline("Stopping", [])).bars == []


@pytest.fixture
def file(tmp_path: Path, fake: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where it is to be written."""
    monkeypatch.setenv("DOCKER_HOST", fake.url)
    return tmp_path / "timeline.html"


def test_of_a_create(fake: FakeEngine, file: Path) -> None:
    """A page, whichever way progress is shown."""
    assert main(["-q", "create", "cluster", "--name", "demo", "--timeline", str(file)]) == 0

    page = Page(file.read_text())
    assert 'Creating cluster "demo"' in page.texts
    assert {bar["title"].partition(":")[0] for bar in page.bars} >= {"container", "boot", "runtime", "control plane", "readiness"}


def test_of_a_create_that_fails(fake: FakeEngine, file: Path) -> None:
    """What there was until then, and what failed."""
    fake.fail("ContainerStart", message="no space left on device")

    assert main(["create", "cluster", "--name", "demo", "--timeline", str(file)]) == 1

    page = Page(file.read_text())
    assert "no space left on device" in page.text
    assert any("ContainerCreated" in bar["title"] for bar in page.bars)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no such device")
def test_a_disk_that_is_full_at_the_end(fake: FakeEngine, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Is told; the cluster has been made all the same."""
    assert main(["create", "cluster", "--name", "demo", "--timeline", "/dev/full"]) == 0

    assert "the timeline /dev/full was not written: No space left on device" in capsys.readouterr().err


def test_a_file_that_cannot_be_written(fake: FakeEngine, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Is said before anything is done."""
    assert main(["create", "cluster", "--name", "demo", "--timeline", str(file.parent / "missing" / "timeline.html")]) == 1

    assert "cannot write the timeline" in capsys.readouterr().err
    assert fake.requests_of("ContainerCreate") == []
