"""The pytest plugin, as users' suites have it: a cluster for the session, a namespace for each test."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from kindasync import Cluster, pytest_plugin
from kindasync.cluster import (
    _control_plane,  # noqa: F401 (pytester forgets what is imported only while it runs: seconds, each time)
    _namespaces,
    delete,
    gc,
)
from kindasync.config import _decode  # noqa: F401 (the same; half of it forgotten does not know the other half)
from kindasync.testing import FakeEngine, ProgramResult
from tests.unit.leftovers import nothing_left

pytestmark = pytest.mark.plugin
OPTIONS = ("-p", "no:cacheprovider", "-p", "no:randomly")
LOOP_SCOPE = ("-o", "asyncio_default_fixture_loop_scope=function")  # without it, pytest-asyncio warns
WITHOUT_PYTEST_ASYNCIO = (*OPTIONS, "-p", "no:asyncio")
HEEDED = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # in the background, shells have Ctrl-C ignored
DELETE_IT = "*kindasync delete cluster --name pytest*"


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


def test_a_cluster_from_a_pool(pytester: pytest.Pytester, fake: FakeEngine) -> None:
    """Where one is parked, it is the run's, and ends with it; then one is created as always. Others that tests ask for are no pool's."""
    pytester.makepyfile(
        """
        def test_it(kind_cluster, kind_cluster_factory):
            print(f"it is {kind_cluster.name}, beside {kind_cluster_factory().name}")
        """
    )
    anyio.run(lambda: Cluster.fill_pool("ci", size=1, engine=fake.url))

    from_pool = run(pytester, *WITHOUT_PYTEST_ASYNCIO, "-s", "--kind-pool", "ci")
    left = {*fake.containers}
    made = run(pytester, *WITHOUT_PYTEST_ASYNCIO, "-s", "--kind-pool", "ci")

    from_pool.stdout.re_match_lines([r".*it is pool-ci-\w+, beside pytest-\w+"])
    made.stdout.re_match_lines([r".*it is pytest-\w+, beside pytest-\w+"])
    assert left == set()
    assert fake.containers == {}


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

    for process in (start, run):
        process(pytester, *WITHOUT_PYTEST_ASYNCIO, "--kind-reuse").assert_outcomes(passed=1)

    assert list(fake.containers) == ["pytest-control-plane"]
    assert len(fake.requests_of("ContainerStart")) == 1
    assert fake.requests_of("ContainerDelete") == []


@pytest.mark.parametrize(
    ("then", "told"),
    [
        ((), 0),  # any will do
        (("--kind-config", "cluster.yaml"), 0),
        (("--kind-config", "other.yaml"), 1),
        (("--kind-config", "cluster.yaml", "--kind-image", "mine:1"), 1),
    ],
)
def test_a_reused_cluster_of_another_configuration_is_told(
    pytester: pytest.Pytester, fake: FakeEngine, then: tuple[str, ...], told: int
) -> None:
    """It is used nevertheless: somebody may need what is in it."""
    head = "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\n"
    pytester.makefile(".yaml", cluster=head, other=f"{head}featureGates: {{Some: true}}\n")
    pytester.makepyfile("def test_it(kind_cluster): pass")
    start(pytester, *WITHOUT_PYTEST_ASYNCIO, "--kind-reuse", "--kind-config", "cluster.yaml").assert_outcomes(passed=1)

    result = run(pytester, *WITHOUT_PYTEST_ASYNCIO, "-W", "default", "--kind-reuse", *then)

    result.assert_outcomes(passed=1, warnings=told)
    if told:
        result.stdout.fnmatch_lines(
            ['*cluster "pytest" was made from another configuration or image*kindasync delete cluster --name pytest*']
        )
    assert len(fake.requests_of("ContainerStart")) == 1


def test_tests_in_forked_processes_share_the_cluster(pytester: pytest.Pytester, fake: FakeEngine) -> None:
    """As with pytest-forked: it ends with the run, whichever child has made it."""
    pytester.makeconftest(
        """
        import os
        import pytest
        from _pytest.runner import runtestprotocol

        @pytest.hookimpl(tryfirst=True)
        def pytest_runtest_protocol(item, nextitem):
            child = os.fork()
            if not child:
                reports = runtestprotocol(item, nextitem=nextitem, log=False)
                os._exit(not all(report.passed for report in reports))
            assert os.waitpid(child, 0)[1] == 0
            return True
        """
    )
    pytester.makepyfile("def test_a(kind_cluster): pass\ndef test_b(kind_cluster): pass")

    start(pytester, *WITHOUT_PYTEST_ASYNCIO)

    assert len(fake.requests_of("ContainerStart")) == 1
    assert fake.containers == {}


def test_a_name_stands_for_one_configuration(pytester: pytest.Pytester, fake: FakeEngine) -> None:
    """The one that it was made from first; who asks for another one is told."""
    pytester.makepyfile(
        """
        CONFIG = {"kind": "Cluster", "apiVersion": "kind.x-k8s.io/v1alpha4"}

        def test_it(kind_cluster_factory):
            assert kind_cluster_factory(CONFIG, name="one") == kind_cluster_factory({**CONFIG, "featureGates": {"A": True}}, name="one")
        """
    )

    result = run(pytester, *WITHOUT_PYTEST_ASYNCIO, "-W", "default")

    result.assert_outcomes(passed=1, warnings=1)


def test_what_nothing_came_of_leaves_nothing(pytester: pytest.Pytester, fake: FakeEngine, home: Path) -> None:
    """Of a name that can be none."""
    pytester.makepyfile("def test_it(kind_cluster): pass")

    result = run(pytester, *WITHOUT_PYTEST_ASYNCIO, "--kind-name", "Bad_Name")

    result.assert_outcomes(errors=1)
    assert "Kubernetes clusters" not in result.stdout.str()
    assert list(home.rglob("*.json")) == []


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
    """Every pytest run on the machine loads it: it must cost nothing, to its very end, nor do the controller and workers of pytest-xdist."""
    pytester.makepyfile("def test_it(request): assert request.config.pluginmanager.hasplugin('kindasync')")
    pytester.makeconftest(
        """
        import sys

        def pytest_unconfigure():
            assert not {"aiohttp", "kubernetes_asyncio", "pydantic", "click", "rich", "structlog", "yaml"} & set(sys.modules)
            assert not [name for name in sys.modules if name.startswith("kindasync.") and name != "kindasync.pytest_plugin"]
        """
    )

    # Without the plugins of this environment that import some of these themselves.
    for options in ((), ("-n", "1")):
        result = start(pytester, *WITHOUT_PYTEST_ASYNCIO, "-p", "no:anyio", *options)
        result.assert_outcomes(passed=1)
        assert result.ret == pytest.ExitCode.OK


def test_importing_the_plugin_takes_no_time() -> None:
    """Nothing beyond pytest's own modules."""
    script = "import pytest, sys; before = set(sys.modules); import kindasync.pytest_plugin; print(*sorted(set(sys.modules) - before))"

    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert result.stdout.split() == ["kindasync", "kindasync.pytest_plugin"]


# -- more clusters


def test_a_factory_makes_more(pytester: pytest.Pytester, fake: FakeEngine) -> None:
    """In coroutines and elsewhere; one for each call, or by name. All are deleted at the end."""
    pytester.makepyfile(
        """
        import pytest

        WORKER = {"kind": "Cluster", "apiVersion": "kind.x-k8s.io/v1alpha4", "nodes": [{"role": "control-plane"}, {"role": "worker"}]}

        def test_by_a_call(kind_cluster_factory):
            one, two = kind_cluster_factory(WORKER), kind_cluster_factory(name="two")
            assert (len(one.nodes), len(two.nodes), two.name) == (2, 1, "two")
            assert kind_cluster_factory(name="two") == two

        @pytest.mark.anyio
        @pytest.mark.parametrize("anyio_backend", ["asyncio"])
        async def test_in_a_coroutine(kind_cluster_factory, kind_cluster):
            assert (await kind_cluster_factory.create()).name != kind_cluster.name
        """
    )

    with nothing_left(fake, pytester.path / ".local"):
        result = run(pytester, *WITHOUT_PYTEST_ASYNCIO)

    result.assert_outcomes(passed=2)
    assert len(fake.requests_of("ContainerStart")) == 5


# -- what is kept, and what is said of failed tests


def test_clusters_can_be_kept(pytester: pytest.Pytester, fake: FakeEngine) -> None:
    """It is said how to look at them, and how to be rid of them."""
    pytester.makepyfile("def test_it(kind_cluster): pass")

    result = run(pytester, *WITHOUT_PYTEST_ASYNCIO, "--kind-keep", "--kind-name", "mine")

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(['cluster "mine" was kept; look at it: *; delete it: kindasync delete cluster --name mine'])
    assert list(fake.containers) == ["mine-control-plane"]
    assert not (pytester.path / ".local/state/kindasync/leases").exists()


def test_clusters_of_failed_tests_can_be_kept(pytester: pytest.Pytester, fake: FakeEngine) -> None:
    """Those alone that such a test had, whichever worker ran it, and as the ini file says; the report of the test says how to look at it."""
    pytester.makeini("[pytest]\nkind_keep_on_failure = true\nkind_name = mine\n")
    pytester.makepyfile(
        """
        def test_fails(kind_cluster, kind_namespace):
            assert False

        def test_passes(kind_cluster_factory):
            kind_cluster_factory(name="other")
        """
    )

    result = start(pytester, *WITHOUT_PYTEST_ASYNCIO, "-n", "2")

    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(["*- Kubernetes cluster mine -*", "it will be kept; *", "*/kind-logs/*", 'cluster "mine" was kept; *'])
    assert list(fake.containers) == ["mine-control-plane"]
    assert len([*(pytester.path / "kind-logs").glob("*test_fails/mine/mine-control-plane")]) == 1
    assert [request for request in fake.api_requests("mine-control-plane") if request.startswith("DELETE /api/v1/namespaces/test-")] == []


def test_a_namespace_of_a_cluster_that_is_gone(pytester: pytest.Pytester, fake: FakeEngine) -> None:
    """Its own test has passed, and has a warning; the next one's error is a few lines."""
    pytester.makepyfile(
        """
        import anyio

        def test_deletes(kind_cluster, kind_namespace):
            anyio.run(kind_cluster.delete)

        def test_next(kind_namespace):
            pass
        """
    )

    result = run(pytester, *WITHOUT_PYTEST_ASYNCIO, "-W", "default", "--kind-name", "mine")

    result.assert_outcomes(passed=1, errors=1, warnings=1)
    result.stdout.fnmatch_lines(["*ApiUnreachable: *", '*PytestWarning: namespace "test-deletes-*" was not removed: *'])
    assert len(result.outlines) < 60


def test_errors_of_kindasync_end_where_it_was_called(pytester: pytest.Pytester, fake: FakeEngine) -> None:
    """What they say is what there is to be read, not kindasync's own code; `--full-trace` shows that."""
    pytester.makepyfile(
        """
        def test_finds_none(kind_cluster):
            from kindasync.sync import Cluster

            Cluster.get("none")

        def test_reaches_none():
            from kindasync.sync import Cluster

            Cluster.get("none", engine="unix:///missing.sock")
        """
    )

    short = run(pytester, *WITHOUT_PYTEST_ASYNCIO)
    full = run(pytester, *WITHOUT_PYTEST_ASYNCIO, "--full-trace")

    short.stdout.fnmatch_lines([">*Cluster.get(*", "E*ClusterNotFound: there is no cluster*", "test_errors_*.py:4: ClusterNotFound"])
    for other in ("*_facade.py*", "*aiohttp*", "*FileNotFoundError*"):
        short.stdout.no_fnmatch_line(other)
    full.stdout.fnmatch_lines(["*_facade.py*"])


@pytest.mark.parametrize(
    "test",
    [
        "def test_fails(request): assert not request.getfixturevalue('kind_cluster')",
        """
        import pytest

        @pytest.fixture(scope="session")
        def app(request):
            return request.getfixturevalue("kind_cluster")

        def test_fails(app): assert not app
        """,
    ],
    ids=["in a test", "in a fixture"],
)
def test_clusters_that_are_asked_for_late_can_be_kept(pytester: pytest.Pytester, fake: FakeEngine, test: str) -> None:
    """Those of getfixturevalue() are a test's, too."""
    pytester.makepyfile(test)

    result = run(pytester, *WITHOUT_PYTEST_ASYNCIO, "--kind-keep-on-failure", "--kind-name", "mine")

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["it will be kept; *", 'cluster "mine" was kept; *'])
    assert list(fake.containers) == ["mine-control-plane"]


def test_logs_of_failed_tests(pytester: pytest.Pytester, fake: FakeEngine) -> None:
    """For each such test, and before its namespace is gone."""
    fake.on("ContainerKill", lambda: fake.containers["mine-control-plane"].files.update({"/var/log/pods/a/0.log": b"of the pod"}))
    lines = "".join(f"line {number} of the kubelet\n" for number in range(30))
    fake.node.programs["journalctl"] = lambda *_: ProgramResult(stdout=lines.encode())
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("letter", "ab")
        def test_fails(kind_cluster, kind_namespace, letter):
            assert letter == "b"
        """
    )

    result = run(pytester, *WITHOUT_PYTEST_ASYNCIO, "--kind-logs", "logs", "--kind-name", "mine")

    (directory,) = (pytester.path / "logs").iterdir()
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(["*- Kubernetes cluster mine -*", f"logs: {directory}/mine", "*- mine-control-plane: kubelet.log -*"])
    result.stdout.fnmatch_lines([f"line {number} of the kubelet" for number in range(10, 30)], consecutive=True)
    result.stdout.no_fnmatch_line("line 9 of the kubelet")
    assert directory.name == "test_logs_of_failed_tests.py-test_fails-a"
    assert (directory / "mine/mine-control-plane/pods/a/0.log").read_text() == "of the pod"
    assert fake.containers == {}


def test_a_cluster_that_cannot_be_deleted_fails_the_run(pytester: pytest.Pytester, fake: FakeEngine) -> None:
    """With what is left; the next run removes it."""
    fake.fail("ContainerDelete", message="no such luck")
    pytester.makepyfile("def test_it(kind_cluster): pass")

    with nothing_left(fake, pytester.path / ".local"):
        first = start(pytester, *WITHOUT_PYTEST_ASYNCIO, "--kind-name", "mine")
        second = run(pytester, *WITHOUT_PYTEST_ASYNCIO)

    first.stdout.fnmatch_lines(['cluster "mine" could not be deleted whole', "*no such luck*"])
    assert (first.ret, second.ret) == (pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.OK)


# -- pytest-xdist


def test_workers_share_one_cluster(pytester: pytest.Pytester, fake: FakeEngine) -> None:
    """Whichever asks first creates it. One that is killed, though it made it, leaves it to the others, and to the one in its place."""
    pytester.makepyfile(
        """
        import json, os, pathlib, pytest, signal

        @pytest.mark.parametrize("number", range(6))
        def test_it(kind_cluster, number):
            (lease,) = (pathlib.Path.home() / ".local/state/kindasync/leases").rglob("*.json")
            if json.loads(lease.read_text())["maker"].split("/")[-2] == str(os.getpid()):
                os.kill(os.getpid(), signal.SIGKILL)
        """
    )

    with nothing_left(fake, pytester.path / ".local"):
        result = start(pytester, *WITHOUT_PYTEST_ASYNCIO, "-n", "2")

    result.assert_outcomes(passed=5, failed=1)
    assert len(fake.requests_of("ContainerStart")) == 1


def test_a_worker_that_dies_while_it_creates(pytester: pytest.Pytester, fake: FakeEngine) -> None:
    """What it had made is removed, and the cluster made by another."""
    pytester.makepyfile("def test_one(kind_cluster): pass", "def test_two(kind_cluster): pass")
    fake.on("ContainerStart", lambda: os.kill(maker(pytester), signal.SIGKILL))
    fake.cut("ContainerStart")

    with nothing_left(fake, pytester.path / ".local"):
        result = start(pytester, *WITHOUT_PYTEST_ASYNCIO, "-n", "2")

    assert result.parseoutcomes()["failed"] == 1
    assert len(fake.requests_of("ContainerStart")) == 2


def maker(pytester: pytest.Pytester) -> int:
    """The process that makes the cluster."""
    (lease,) = (pytester.path / ".local/state/kindasync/leases").rglob("*.json")
    return int(json.loads(lease.read_text())["maker"].split("/")[-2])


@pytest.mark.parametrize("options", [(), ("-n", "2")], ids=["alone", "xdist"])
@pytest.mark.parametrize(("number", "kill"), [(signal.SIGINT, os.killpg), (signal.SIGTERM, os.kill)], ids=["Ctrl-C", "SIGTERM"])
def test_a_run_that_is_ended_leaves_nothing(
    pytester: pytest.Pytester, fake: FakeEngine, options: tuple[str, ...], number: int, kill: Callable[[int, int], None]
) -> None:
    """In the middle of tests: Ctrl-C in all processes at once, as a terminal does it; SIGTERM in the one that `timeout` or CI had started."""
    at_work = pytester.path / "at-work"
    os.mkfifo(at_work)
    pytester.makepyfile(
        f"""
        import signal

        def test_one(kind_cluster):
            open({str(at_work)!r}, "w").close()
            signal.pause()

        def test_two(kind_cluster):
            signal.pause()
        """
    )

    with nothing_left(fake, pytester.path / ".local"), running(pytester, *options) as process:
        at_work.read_text()
        kill(process.pid, number)
        process.communicate()

    assert process.returncode == pytest.ExitCode.INTERRUPTED


def test_a_signal_without_clusters_is_none_of_our_business(pytester: pytest.Pytester) -> None:
    """pytest dies of it, as it does without the plugin."""
    at_work = pytester.path / "at-work"
    os.mkfifo(at_work)
    pytester.makepyfile(f"import signal\ndef test_it():\n    open({str(at_work)!r}, 'w').close()\n    signal.pause()")

    with running(pytester, "-n", "1") as process:
        at_work.read_text()
        os.kill(process.pid, signal.SIGTERM)
        process.communicate()

    assert process.returncode == -signal.SIGTERM


def test_ctrl_c_during_a_create_leaves_nothing(pytester: pytest.Pytester, fake: FakeEngine) -> None:
    """What the Engine is at is awaited."""
    pytester.makepyfile("def test_one(kind_cluster): pass")
    answer = fake.hold("ContainerStart")

    with nothing_left(fake, pytester.path / ".local"), running(pytester) as process:
        fake.wait_request("ContainerStart")
        os.killpg(process.pid, signal.SIGINT)
        answer()
        process.communicate()

    assert process.returncode == pytest.ExitCode.INTERRUPTED


@pytest.mark.parametrize("remover", ["the next run", "the next run, which has a cluster", "gc"])
def test_what_a_killed_run_left_is_removed(pytester: pytest.Pytester, fake: FakeEngine, remover: str) -> None:
    """Nobody of it had time for anything."""
    at_work = pytester.path / "at-work"
    os.mkfifo(at_work)
    pytester.makepyfile(
        test_killed=f"""
        import signal

        def test_it(kind_cluster):
            open({str(at_work)!r}, "w").close()
            signal.pause()
        """,
        test_next="def test_it(kind_cluster): pass",
    )

    with nothing_left(fake, pytester.path / ".local"):
        with running(pytester, "test_killed.py") as process:
            at_work.read_text()
            os.killpg(process.pid, signal.SIGKILL)
        left = len(fake.containers)
        if remover == "gc":
            anyio.run(gc)
        else:
            reuse = ["--kind-reuse"] if "has a cluster" in remover else []
            run(pytester, *WITHOUT_PYTEST_ASYNCIO, *reuse, "test_next.py").assert_outcomes(passed=1)
            assert [*fake.containers] == ["pytest-control-plane"] * len(reuse)
            anyio.run(delete, "pytest")

    assert left == 1


@contextmanager
def running(pytester: pytest.Pytester, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """The suite, in a group of processes of its own, while the body runs."""
    pytester.makeconftest(HEEDED)
    command = [sys.executable, "-m", "pytest", *WITHOUT_PYTEST_ASYNCIO, *arguments]
    with subprocess.Popen(command, cwd=pytester.path, start_new_session=True) as process:
        yield process
