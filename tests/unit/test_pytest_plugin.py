"""The pytest plugin, as users' suites have it: a cluster for the session, a namespace for each test."""

from __future__ import annotations

import subprocess
import sys

import anyio
import pytest

from kindasync import Cluster, pytest_plugin
from kindasync.cluster import (
    _control_plane,  # noqa: F401 (pytester forgets what is imported only while it runs: seconds, each time)
    _namespaces,
)
from kindasync.testing import FakeEngine
from tests.unit.leftovers import nothing_left

OPTIONS = ("-p", "no:cacheprovider", "-p", "no:randomly")
LOOP_SCOPE = ("-o", "asyncio_default_fixture_loop_scope=function")  # without it, pytest-asyncio warns
WITHOUT_PYTEST_ASYNCIO = (*OPTIONS, "-p", "no:asyncio")
DELETE_IT = "*try: kindasync delete cluster --name pytest*"


@pytest.fixture(autouse=True)
def engine(fake: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    """What users' environments name."""
    monkeypatch.setenv("DOCKER_HOST", fake.url)
    return fake


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    """The suite, in this process. Every warning is an error."""
    return pytester.runpytest_inprocess("-W", "error", *arguments)


def start(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    """The suite, in a process of its own."""
    return pytester.runpytest_subprocess("-W", "error", *arguments)


def test_a_suite_for_anyios_plugin(pytester: pytest.Pytester, fake: FakeEngine) -> None:
    """The fixture is a value, made in another event loop: that makes no difference."""
    pytester.makepyfile(
        """
        import pytest

        pytestmark = pytest.mark.anyio

        @pytest.fixture(scope="session")
        def anyio_backend():
            return "asyncio"

        async def test_a_program(kind_cluster):
            assert (await kind_cluster.nodes[0].exec(["echo", "hello"])).text == "hello\\n"

        async def test_a_client(kind_cluster, kind_namespace):
            async with kind_cluster.client() as api:
                assert api.configuration.host.startswith("https://127.0.0.1:")
        """
    )

    with nothing_left(fake, pytester.path / ".local"):
        result = start(pytester, *WITHOUT_PYTEST_ASYNCIO)

    result.assert_outcomes(passed=2)
    assert len(fake.requests_of("ContainerStart")) == 1


def test_a_suite_for_pytest_asyncio(pytester: pytest.Pytester, fake: FakeEngine) -> None:
    """In its strict mode, with marks, and in its automatic mode."""
    pytester.makepyfile(
        test_strict="""
        import pytest

        @pytest.mark.asyncio
        async def test_a_program(kind_cluster, kind_namespace):
            assert (await kind_cluster.nodes[0].exec(["echo", "hello"])).text == "hello\\n"
        """,
        test_auto="""
        async def test_a_program(kind_cluster):
            assert (await kind_cluster.nodes[0].exec(["echo", "hello"])).text == "hello\\n"
        """,
    )

    with nothing_left(fake, pytester.path / ".local"):
        strict = start(pytester, *OPTIONS, "-o", "asyncio_mode=strict", *LOOP_SCOPE, "test_strict.py")
        auto = start(pytester, *OPTIONS, "-o", "asyncio_mode=auto", *LOOP_SCOPE, "test_auto.py")

    strict.assert_outcomes(passed=1)
    auto.assert_outcomes(passed=1)


def test_a_suite_of_plain_functions(pytester: pytest.Pytester, fake: FakeEngine) -> None:
    """With the kubeconfig as a file for other programs, and a namespace for each test."""
    pytester.makepyfile(
        """
        import json
        from pathlib import Path

        namespaces = []

        def test_kubeconfig(kind_cluster):
            assert kind_cluster.kubeconfig_path.exists()
            assert kind_cluster.kubeconfig["current-context"] == f"kind-{kind_cluster.name}"
            assert kind_cluster.name.startswith("pytest-")

        def test_One(kind_namespace):
            namespaces.append(kind_namespace)

        def test_other(kind_namespace):
            namespaces.append(kind_namespace)
            assert [name.rpartition("-")[0] for name in namespaces] == ["test-one", "test-other"]
        """
    )

    with nothing_left(fake, pytester.path / ".local"):
        result = run(pytester, *WITHOUT_PYTEST_ASYNCIO)

    result.assert_outcomes(passed=3)


def test_namespaces_are_made_and_deleted(pytester: pytest.Pytester, fake: FakeEngine) -> None:
    """One for each test that asks for one."""
    pytester.makepyfile(
        """
        def test_one(kind_namespace):
            pass

        def test_two(kind_namespace):
            pass
        """
    )

    run(pytester, *WITHOUT_PYTEST_ASYNCIO, "--kind-reuse").assert_outcomes(passed=2)

    made = [each["metadata"]["name"] for each in fake.api_objects("pytest-control-plane") if each["kind"] == "Namespace"]
    deleted = [request for request in fake.api_requests("pytest-control-plane") if request.startswith("DELETE /api/v1/namespaces/test-")]
    assert [name.rpartition("-")[0] for name in made] == ["test-one", "test-two"]
    assert deleted == [f"DELETE /api/v1/namespaces/{name}" for name in made]


def test_a_test_that_fails_leaves_nothing(pytester: pytest.Pytester, fake: FakeEngine) -> None:
    """Neither does a session that is broken off."""
    pytester.makepyfile(
        """
        def test_fails(kind_cluster, kind_namespace):
            assert False

        def test_is_interrupted(kind_cluster):
            raise KeyboardInterrupt
        """
    )

    with nothing_left(fake, pytester.path / ".local"):
        result = start(pytester, *WITHOUT_PYTEST_ASYNCIO)

    result.assert_outcomes(failed=1)
    assert result.ret == pytest.ExitCode.INTERRUPTED


def test_a_cluster_that_cannot_be_made_is_an_error_of_the_test(pytester: pytest.Pytester, fake: FakeEngine) -> None:
    """With what failed, why, and what to do."""
    fake.fail("ContainerStart", message="no space left on device")
    pytester.makepyfile("def test_needs_one(kind_cluster): pass")

    with nothing_left(fake, pytester.path / ".local"):
        result = run(pytester, *WITHOUT_PYTEST_ASYNCIO)

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*StepFailed: cannot start node*", "*no space left on device*", "*free disk space*"])


def test_reuse_creates_once_and_keeps(pytester: pytest.Pytester, fake: FakeEngine) -> None:
    """The second session finds what the first one made."""
    pytester.makepyfile("def test_name(kind_cluster): assert kind_cluster.name == 'pytest'")

    for _ in range(2):
        start(pytester, *WITHOUT_PYTEST_ASYNCIO, "--kind-reuse").assert_outcomes(passed=1)

    assert list(fake.containers) == ["pytest-control-plane"]
    assert len(fake.requests_of("ContainerStart")) == 1
    assert fake.requests_of("ContainerDelete") == []


def test_the_cluster_can_be_chosen(pytester: pytest.Pytester, fake: FakeEngine, host_ports: range) -> None:
    """Its name, image and configuration."""
    image = fake.images["kindasync/node:v1.37.2"]
    fake.images["mine:1"] = image
    port = host_ports[0]
    pytester.makefile(".yaml", cluster=f"kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnetworking:\n  apiServerPort: {port}\n")
    pytester.makepyfile(
        f"""
        def test_it(kind_cluster):
            assert kind_cluster.name == "mine"
            assert kind_cluster.kubeconfig["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:{port}"
        """
    )

    run(
        pytester, *WITHOUT_PYTEST_ASYNCIO, "--kind-name", "mine", "--kind-image", "mine:1", "--kind-config", "cluster.yaml"
    ).assert_outcomes(passed=1)

    assert fake.requests_of("ContainerCreate")[-1].json["Image"] == "mine:1"
    assert fake.containers == {}


def test_workers_of_xdist_have_clusters_of_their_own(pytester: pytest.Pytester, fake: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is a session: of one name, all but one would find it taken. A cluster that is reused, they share."""
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw1")
    pytester.makepyfile("def test_it(kind_cluster, request): assert kind_cluster.name == request.config.getini('expected')")
    pytester.makeconftest("def pytest_addoption(parser): parser.addini('expected', 'the name')")

    run(pytester, *WITHOUT_PYTEST_ASYNCIO, "--kind-name", "ci", "-o", "expected=ci-gw1").assert_outcomes(passed=1)
    run(pytester, *WITHOUT_PYTEST_ASYNCIO, "--kind-name", "ci", "--kind-reuse", "-o", "expected=ci").assert_outcomes(passed=1)


def test_a_namespace_that_is_not_ready_is_deleted_too(pytester: pytest.Pytester, fake: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test has an error; nothing of it stays in a cluster that others use."""
    monkeypatch.setattr(_namespaces, "SERVICE_ACCOUNT_S", 0.0)
    pytester.makepyfile("def test_one(kind_namespace): pass")

    result = run(pytester, *WITHOUT_PYTEST_ASYNCIO, "--kind-reuse")

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*waited 0 s in vain for the default ServiceAccount of namespace*"])
    (made,) = [each["metadata"]["name"] for each in fake.api_objects("pytest-control-plane") if each["kind"] == "Namespace"]
    assert f"DELETE /api/v1/namespaces/{made}" in fake.api_requests("pytest-control-plane")


def test_a_half_made_cluster_is_not_reused(pytester: pytest.Pytester, fake: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever made it may still be at work: it is waited for. If it does not become ready, the error says what to do."""
    monkeypatch.setattr(pytest_plugin, "READY_S", 0.2)
    fake.node.becomes_ready = False
    anyio.run(lambda: Cluster.create("pytest", engine=fake.url, wait_s=0))
    pytester.makepyfile("def test_it(kind_cluster): pass")

    early = run(pytester, *WITHOUT_PYTEST_ASYNCIO, "--kind-reuse")
    fake.node.becomes_ready = True
    later = run(pytester, *WITHOUT_PYTEST_ASYNCIO, "--kind-reuse")

    early.assert_outcomes(errors=1)
    early.stdout.fnmatch_lines(['*cluster "pytest" is there, but cannot be reused', "*node pytest-control-plane: not seen*", DELETE_IT])
    later.assert_outcomes(passed=1)


def test_a_cluster_without_a_kubeconfig_is_not_reused(pytester: pytest.Pytester, fake: FakeEngine) -> None:
    """Its maker died early."""
    labels = {"io.x-k8s.kind.cluster": "pytest", "io.x-k8s.kind.role": "control-plane"}
    fake.add_container("pytest-control-plane", "kindasync/node:v1.37.2", labels=labels)
    pytester.makepyfile("def test_it(kind_cluster): pass")

    result = run(pytester, *WITHOUT_PYTEST_ASYNCIO, "--kind-reuse")

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(['*cluster "pytest" is there, but cannot be reused', DELETE_IT])


def test_a_cluster_without_a_pod_network_can_be_reused(
    pytester: pytest.Pytester, fake: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its nodes become Ready when the suite has given it one: the configuration says so."""
    fake.node.has_network = False
    monkeypatch.setattr(pytest_plugin, "READY_S", 0.5)
    pytester.makefile(".yaml", cluster="kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnetworking:\n  disableDefaultCNI: true\n")
    pytester.makepyfile("def test_it(kind_cluster): pass")

    for _ in range(2):
        run(pytester, *WITHOUT_PYTEST_ASYNCIO, "--kind-reuse", "--kind-config", "cluster.yaml").assert_outcomes(passed=1)

    assert len(fake.requests_of("ContainerStart")) == 1


def test_the_plugin_imports_nothing_until_it_is_used(pytester: pytest.Pytester) -> None:
    """Every pytest run on the machine loads it: it must cost nothing."""
    pytester.makepyfile(
        """
        import sys

        def test_imports(request):
            assert request.config.pluginmanager.hasplugin("kindasync")
            assert not {"aiohttp", "kubernetes_asyncio", "pydantic", "click", "rich", "structlog", "yaml"} & set(sys.modules)
            assert not [name for name in sys.modules if name.startswith("kindasync.") and name != "kindasync.pytest_plugin"]
        """
    )

    # Without the plugins of this environment that import some of these themselves.
    start(pytester, *WITHOUT_PYTEST_ASYNCIO, "-p", "no:anyio").assert_outcomes(passed=1)


def test_importing_the_plugin_takes_no_time() -> None:
    """Nothing beyond pytest's own modules."""
    script = "import pytest, sys; before = set(sys.modules); import kindasync.pytest_plugin; print(*sorted(set(sys.modules) - before))"

    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert result.stdout.split() == ["kindasync", "kindasync.pytest_plugin"]
