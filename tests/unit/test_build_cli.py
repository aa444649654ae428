"""kindasync build node-image: what it prints, and where."""

from __future__ import annotations

import tomllib

import pytest

from kindasync.build import Options
from kindasync.build._build import plan_of
from kindasync.build._sources import directory
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


PINNED = {minor: each["version"] for minor, each in tomllib.loads((directory() / "pins.toml").read_text())["kubernetes"].items()}


@pytest.mark.parametrize("minor", PINNED)
def test_a_pinned_version_stands_for_its_minor(minor: str, capsys: pytest.CaptureFixture[str]) -> None:
    """As the kind program is told a release."""
    by_minor = (main(["build", "node-image", "--dry-run", "--kubernetes", minor]), *capsys.readouterr())
    by_release = (main(["build", "node-image", "--dry-run", "--type", "release", PINNED[minor]]), *capsys.readouterr())

    assert by_minor == by_release
    assert f"kubernetes {PINNED[minor]}," in by_minor[1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["v1.2.3"], 'no node image can be built for Kubernetes "v1.2.3"'),
        (["v1.2.3"], f"there are pins for: {', '.join([*PINNED, *PINNED.values()])}"),
        (["--type", "source", "/go/src/k8s.io/kubernetes"], "'source' is not 'release'"),
        (["v1.37.2", "--kubernetes", "1.37"], "either VERSION or --kubernetes"),
    ],
)
def test_what_cannot_be_built(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Is said, with what can."""
    assert main(["build", "node-image", "--dry-run", *arguments]) == 1
    assert said in capsys.readouterr().err
