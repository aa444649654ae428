"""What a conformance run came to, from ginkgo's reports and the list of known failures."""

from __future__ import annotations

import json
import re
import tarfile
import tomllib
from pathlib import Path

import pytest

from kindasync.build._oci import ImageRecord, Layer, LayerWriter, write_archive
from tests.conformance import _images, _results

ROOT = Path(__file__).parents[2]
REPORT = """<?xml version="1.0"?>
<testsuites><testsuite name="Kubernetes e2e suite">
  <testcase name="[SynchronizedBeforeSuite]" status="passed" time="1"></testcase>
  <testcase name="[It] pods run [Conformance]" status="passed" time="1"></testcase>
  <testcase name="[It] pods stop [Conformance]" status="failed" time="1"><failure message="still there&#10;after 5m">…</failure></testcase>
  <testcase name="[It] pods panic [Conformance]" status="panicked" time="1"><error message="nil map">…</error></testcase>
  <testcase name="[It] windows [Conformance]" status="skipped" time="0"><skipped message="skipped - not on linux"></skipped></testcase>
  <testcase name="[It] something else" status="skipped" time="0"><skipped message="skipped"></skipped></testcase>
</testsuite></testsuites>"""


def test_a_report_tells_what_was_selected() -> None:
    """Tests that were not selected, and set-up that passed, do not count; a failure keeps its reason."""
    results, report = _results.read([REPORT])

    assert results.passed == {"pods run [Conformance]"}
    assert results.failed == {"pods stop [Conformance]": "still there\nafter 5m", "pods panic [Conformance]": "nil map"}
    assert results.skipped == {"windows [Conformance]"}
    assert 'tests="4" failures="2" skipped="1"' in report
    assert "something else" not in report


def test_a_failed_set_up_is_a_failure() -> None:
    """A suite that never ran a test has not passed."""
    failed = REPORT.replace('name="[SynchronizedBeforeSuite]" status="passed"', 'name="[SynchronizedBeforeSuite]" status="timedout"')

    assert "[SynchronizedBeforeSuite]" in _results.read([failed])[0].failed


@pytest.mark.parametrize(
    ("known", "new", "mended"),
    [
        ((), {"pods stop [Conformance]", "pods panic [Conformance]"}, set()),
        (("pods stop [Conformance]", "pods panic [Conformance]"), set(), set()),
        (("pods stop [Conformance]", "pods run [Conformance]"), {"pods panic [Conformance]"}, {"pods run [Conformance]"}),
        (("of a test that was not selected",), {"pods stop [Conformance]", "pods panic [Conformance]"}, set()),
    ],
)
def test_failures_are_compared_with_those_known(known: tuple[str, ...], new: set[str], mended: set[str]) -> None:
    """A failure that is not listed counts, and so does a listed one that passes; what did not run says nothing."""
    verdict = _results.verdict(_results.read([REPORT])[0], frozenset(known))

    assert (set(verdict.new), set(verdict.mended)) == (new, mended)


def test_the_summary_names_failures() -> None:
    """Figures first, then each failure with the first line of its reason."""
    results, _ = _results.read([REPORT])
    text = _results.summary(results, _results.verdict(results, frozenset({"pods panic [Conformance]"})))

    assert text.splitlines() == [
        "1 passed, 2 failed, 1 skipped",
        "FAILED   pods stop [Conformance]",
        "         still there",
        "known    pods panic [Conformance]",
    ]


def test_every_known_failure_has_evidence() -> None:
    """The list reads, and an entry without evidence would not."""
    _results.known_failures((ROOT / "tests/conformance/known-failures.toml").read_text())
    with pytest.raises(KeyError):
        _results.known_failures('[[failure]]\nname = "x"\nevidence = "seen"')


def test_stand_ins_are_for_images_that_can_be_had_nowhere_else() -> None:
    """Of the listed images, those under the tests' own registry name that we make; not the private one, nor those every node has."""
    listed = [
        "registry.k8s.io/e2e-test-images/nginx:1.27.0-2",
        "gcr.io/k8s-authenticated-test/agnhost:2.6",
        "registry.k8s.io/pause:3.10.2",
        "registry.k8s.io/e2e-test-images/agnhost:2.66.1",
        "registry.k8s.io/e2e-test-images/volume/nfs:1.6.0",
    ]

    assert _images.stand_ins(listed) == [
        "registry.k8s.io/e2e-test-images/agnhost:2.66.1",
        "registry.k8s.io/e2e-test-images/nginx:1.27.0-2",
    ]


def test_the_mirror_answers_as_a_registry_does(tmp_path: Path) -> None:
    """Manifests by tag and by digest, and blobs, under the paths of the registry's API; what images share is there once."""
    with LayerWriter(tmp_path / "layer") as writer:
        writer.add_bytes("hello", b"hello")
    layer = Layer.of(tmp_path / "layer")
    images = [ImageRecord(reference=f"registry.test/e2e/hello:{tag}", architecture="amd64", layers=(layer,)) for tag in ("1", "2")]
    write_archive(tmp_path / "images.tar", images)

    with LayerWriter(tmp_path / "mirror") as writer:
        _images.fill_mirror(writer, tmp_path / "images.tar")

    with tarfile.open(tmp_path / "mirror") as tar:
        names, links = tar.getnames(), {member.name: member.linkname.lstrip("/") for member in tar if member.issym()}
        manifest = json.loads(tar.extractfile(links["registry/v2/e2e/hello/manifests/2"]).read())  # type: ignore[union-attr]
    assert len(names) == len(set(names))
    assert links["registry/v2/e2e/hello/manifests/1"] == links["registry/v2/e2e/hello/manifests/2"]
    assert manifest["layers"][0]["digest"] == layer.digest
    assert f"registry/v2/e2e/hello/blobs/{layer.digest}" in links
    assert set(links.values()) <= set(names)


def test_the_suite_is_of_the_default_kubernetes() -> None:
    """Its module's version is that of the pins."""
    pins = tomllib.loads((ROOT / "node-image/pins.toml").read_text())
    found = re.search(r"k8s.io/kubernetes (v\S+)", (ROOT / "tests/conformance/programs/e2e/go.mod").read_text())

    assert found is not None
    assert found[1] == pins["kubernetes"][pins["default"]]["version"]
