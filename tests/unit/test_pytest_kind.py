"""A suite that was written for pytest-kind: one line of its conftest.py is another one."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from kindasync.pytest_kind import _namespace
from kindasync.testing import FakeContainer, FakeEngine, ProgramResult
from tests.unit.leftovers import nothing_left

SUITE = """
    import subprocess

    import pytest

    def test_kubectl(kind_cluster, tmp_path):
        (tmp_path / "app.yaml").write_text("kind: Pod")
        assert kind_cluster.kubectl("apply", "-f", "app.yaml", cwd=tmp_path) == "apply: kind: Pod"

    def test_kubectl_that_fails(kind_cluster):
        with pytest.raises(subprocess.CalledProcessError):
            kind_cluster.kubectl("fail")

    def test_kubeconfig(kind_cluster):
        assert kind_cluster.kubeconfig_path.exists()
        assert kind_cluster.name == "ci"

    def test_namespace(kind_cluster, kind_namespace):
        assert kind_namespace.startswith("test-namespace-")
"""


def run_kubectl(container: FakeContainer, argv: Sequence[str], stdin: bytes) -> ProgramResult:
    """A kubectl that says what it read."""
    if argv[1] == "fail":
        return ProgramResult(exit_code=1, stderr=b"no such thing")
    return ProgramResult(stdout=f"{argv[1]}: ".encode() + container.files[argv[-1]])


@pytest.fixture(autouse=True)
def engine(fake: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    """What users' environments name."""
    monkeypatch.setenv("DOCKER_HOST", fake.url)
    fake.node.programs |= {"kubectl": run_kubectl, "rm": lambda *_: ProgramResult()}
    return fake


@pytest.mark.plugin
def test_a_suite_runs(pytester: pytest.Pytester, fake: FakeEngine) -> None:
    """With the options that it was called with; `--keep-cluster` keeps the cluster for the next run, as it does there."""
    pytester.makeconftest('pytest_plugins = ["kindasync.pytest_kind"]')
    pytester.makepyfile(SUITE)
    arguments = ("-p", "no:cacheprovider", "-p", "no:asyncio", "-W", "error", "--cluster-name", "ci")

    with nothing_left(fake, pytester.path / ".local"):
        once = pytester.runpytest_subprocess(*arguments)
    kept = pytester.runpytest_subprocess(*arguments, "--keep-cluster")

    once.assert_outcomes(passed=4)
    kept.assert_outcomes(passed=4)
    assert list(fake.containers) == ["ci-control-plane"]


@pytest.mark.parametrize(
    ("arguments", "namespace"), [((), "default"), (("-n", "a"), "a"), (("--namespace", "a"), "a"), (("--namespace=a",), "a")]
)
def test_the_namespace_of_a_port_forward(arguments: tuple[str, ...], namespace: str) -> None:
    """Is what suites give kubectl there; else there is nothing that it could mean."""
    assert _namespace(arguments) == namespace
    with pytest.raises(TypeError, match="not --address 0"):
        _namespace(("--address", "0"))
