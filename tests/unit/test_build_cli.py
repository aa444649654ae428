"""kindasync build node-image: what it prints, and where."""

from __future__ import annotations

import pytest

from kindasync.build import Options
from kindasync.build._build import plan_of
from kindasync.cli._main import main
from kindasync.testing import FakeEngine, FakeImage


@pytest.mark.parametrize(
    ("options", "out", "err"),
    [
        ((), "kindasync/node:built\n", "Building the node image …\n"),
        (("--events", "json"), "", "kindasync/node:built\n"),
    ],
)
def test_the_reference_is_all_that_stdout_has_unless_it_has_events(
    options: tuple[str, ...], out: str, err: str, fake: FakeEngine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --events json every line on stdout is JSON. Here the image was built before: there are no events."""
    monkeypatch.setenv("DOCKER_HOST", fake.url)
    plan = plan_of(Options(reference="kindasync/node:built"), default_architecture="amd64")
    fake.images[plan.reference] = FakeImage(reference=plan.reference, labels={"kindasync.key": plan.node_key})

    code = main(["build", "node-image", "--image", plan.reference, *options])

    assert (code, *capsys.readouterr()) == (0, out, err)
