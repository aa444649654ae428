"""The pytest plugin: clusters for a test session, a namespace for each test.

The fixtures are plain ones and give plain values, so tests may be async, by anyio's plugin or pytest-asyncio, or not. pytest-xdist's
workers share their clusters, which end with the run. Nothing but pytest is imported until a fixture is used.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Awaitable, Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

if TYPE_CHECKING:
    from kindasync.cluster import Cluster
    from kindasync.cluster._leases import Holder
    from kindasync.cluster._requests import AnyConfig

Result = TypeVar("Result")
REUSED_NAME = "pytest"
READY_S = 60.0
LOGS = "kind-logs"
TAIL_LINES = 20
KEPT = pytest.StashKey[bool]()
SIGNALS = {signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)}  # there is no SIGHUP on Windows


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options, in a group of their own; each may be in the ini file, too, as kind_reuse and so on."""
    group = parser.getgroup("kindasync", "Kubernetes clusters")

    def flag(name: str, text: str) -> None:
        group.addoption(f"--{name}", action="store_true", help=text)
        parser.addini(name.replace("-", "_"), f"as --{name}", type="bool", default=False)

    def value(name: str, metavar: str, text: str) -> None:
        group.addoption(f"--{name}", metavar=metavar, help=text)
        parser.addini(name.replace("-", "_"), f"as --{name}", default="")

    value("kind-name", "NAME", "the cluster's name; by default a new one for each run")
    value("kind-image", "REF", "the node image")
    value("kind-config", "FILE", "a configuration (kind.x-k8s.io/v1alpha4)")
    value("kind-pool", "POOL", "take kind_cluster from that pool, if a cluster is parked there; it is of the pool's configuration")
    flag("kind-reuse", f'use the cluster "{REUSED_NAME}" (or --kind-name), created if need be, and keep it for the next run')
    flag("kind-keep", "do not delete what clusters were created")
    flag("kind-keep-on-failure", "do not delete clusters with which a test has failed, and export their logs")
    value(
        "kind-logs",
        "DIR",
        f"export the nodes' logs to DIR/TEST/CLUSTER when a test fails, before its namespace is gone [--kind-keep-on-failure: {LOGS}]",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the options and the ini file ask for: `name`, `image`, `config`, `pool`, `reuse`, `keep`, `keep_on_failure` and `logs`. Paths are absolute; empty or None where nothing was said."""

    name: str
    image: str
    config: Path | None
    pool: str
    reuse: bool
    keep: bool
    keep_on_failure: bool
    logs: Path | None

    @classmethod
    def of(cls, config: pytest.Config) -> Settings:
        """Options win over the ini file, whose paths are relative to it."""

        def said(name: str) -> Any:
            return config.getoption(name) or config.getini(name)

        def path(name: str) -> Path | None:
            base = config.invocation_params.dir if config.getoption(name) else config.rootpath
            return base / said(name) if said(name) else None

        return cls(
            name=said("kind_name"),
            image=said("kind_image"),
            config=path("kind_config"),
            pool=said("kind_pool"),
            reuse=said("kind_reuse"),
            keep=said("kind_keep"),
            keep_on_failure=said("kind_keep_on_failure"),
            logs=path("kind_logs") or (config.rootpath / LOGS if said("kind_keep_on_failure") else None),
        )


SESSION = "kindasync-session"


def pytest_configure(config: pytest.Config) -> None:
    """What is known of the session's clusters lives as long as it does."""
    config.pluginmanager.register(ClusterSession(config), SESSION)


class ClusterSession:
    """The clusters of one session: that of a process alone, of a worker of pytest-xdist, or of the controller, with which the workers' clusters end."""

    def __init__(self, config: pytest.Config) -> None:
        self.settings = Settings.of(config)
        self._clusters: dict[str, Cluster] = {}  # what tests of this process were given
        self._failed: set[str] = set()  # with these a test has failed
        self._run = os.urandom(16).hex()  # now: tests may run in processes that are forked from this one
        self._holder_pid = os.getpid()
        self._is_worker = False
        self._lines: list[str] = []
        sent = getattr(config, "workerinput", {}).get(SESSION)
        if sent and sent["host"] == socket.gethostname():  # on another machine a worker is on its own
            self._run, self._holder_pid, self._is_worker = sent["run"], sent["pid"], True

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """In the controller: tell a worker with whose process the run ends."""
        self._run = node.workerinput["testrunuid"]
        self.heed_signals()
        node.workerinput[SESSION] = {"run": self._run, "host": socket.gethostname(), "pid": self._holder_pid}

    @property
    def holder(self) -> Holder:
        """Who holds the leases on this run's clusters."""
        from kindasync.cluster._leases import Holder
        from kindasync.cluster._owner import owner

        return Holder(run=self._run, process=owner(self._holder_pid))

    @property
    def name(self) -> str:
        """The name of `kind_cluster`, in all processes of the run."""
        from hashlib import sha256

        if self.settings.name or self.settings.reuse:
            return self.settings.name or REUSED_NAME
        return f"pytest-{sha256(repr(self.holder).encode()).hexdigest()[:8]}"

    async def cluster(self, config: AnyConfig | None, *, name: str, image: str) -> Cluster:
        """As `ClusterFactory.create`."""
        from secrets import token_hex

        from kindasync.cluster import Cluster, _leases
        from kindasync.errors import PoolEmpty

        chosen, image = name or f"pytest-{token_hex(4)}", image or self.settings.image

        async def create() -> Cluster:
            if self.settings.pool and name == self.name and not self.settings.reuse:
                with suppress(PoolEmpty):
                    return await Cluster.claim(self.settings.pool)
            return await Cluster.create(chosen, config=config, image=image)

        if self.settings.reuse and name:
            cluster = await _get_or_create(name, config, create)
        else:
            cluster = await _leases.lease(chosen, self.holder, create, keep=self.settings.keep)
        if name and (config is not None or image):
            from kindasync.cluster._reuse import is_of_another

            if await is_of_another(cluster, config, image):
                message = f'cluster "{name}" was made from another configuration or image than is asked for'
                warnings.warn(f"{message}; {_ways(name)}", pytest.PytestWarning, stacklevel=2)
        return self._clusters.setdefault(chosen, cluster)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Where a test has failed with a cluster: export logs now, before its namespace is gone, and say in the report where they are.

        The traceback of an error of kindasync, which says all that there is to say, ends where kindasync was called.
        """
        if call.excinfo and not item.config.option.fulltrace:
            _shorten(call.excinfo)
        report = yield
        request = getattr(item, "_request", item)  # which knows of getfixturevalue(), too
        if report.failed and "kind_cluster_factory" in getattr(request, "fixturenames", ()):
            item.stash[KEPT] = self.settings.keep_on_failure
            clusters = self._used_by(item)
            vars(report)["kind_clusters"] = [cluster.name for cluster in clusters]  # for the controller
            for cluster in clusters:
                lines = [f"it will be kept; {_ways(cluster.name)}"] if self.settings.keep_on_failure else []
                tails: list[tuple[str, str]] = []
                if self.settings.logs:
                    directory = self.settings.logs / re.sub(r"[^\w.-]+", "-", item.nodeid).strip("-") / cluster.name
                    if self.settings.logs.name == LOGS:  # nobody has chosen it
                        _leave_out(self.settings.logs)
                    said, tails = _export_logs(cluster, directory)
                    lines.append(said)
                if lines:
                    report.sections += [(f"Kubernetes cluster {cluster.name}", "\n".join(lines)), *tails]
        return report

    def _used_by(self, item: pytest.Item) -> list[Cluster]:
        """The clusters among a test's fixtures; where they are inside of those, all."""
        values = getattr(item, "funcargs", {}).values()
        clusters = [*self._clusters.values()]
        return [cluster for cluster in clusters if any(cluster is value for value in values)] or clusters

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """The controller gets those of all workers."""
        self._failed.update(getattr(report, "kind_clusters", ()))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """End the run: delete its clusters, whichever process made them. The controller's workers have ended, or were killed."""
        if self._is_worker or not _holds_leases(self._run):
            return
        from kindasync.cluster import _leases

        settings, holder = self.settings, self.holder
        kept = self._failed if settings.keep_on_failure else set()
        ended = run(lambda: _leases.end(holder, keep=lambda cluster: cluster in kept))
        self._lines += [f'cluster "{cluster}" was kept; {_ways(cluster)}' for cluster in ended.kept]
        self._lines += [str(error) for error in ended.failures]
        if ended.failures and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def heed_signals(self) -> None:
        """Have SIGTERM and SIGHUP end the run as Ctrl-C does, unless somebody else heeds them already: who is killed cannot delete a cluster."""
        if not self._is_worker and threading.current_thread() is threading.main_thread():  # Python lets no other
            for number in SIGNALS:
                if signal.getsignal(number) is signal.SIG_DFL:
                    signal.signal(number, _interrupt)

    def pytest_unconfigure(self) -> None:
        """Signals are as they were."""
        for number in SIGNALS:
            if signal.getsignal(number) is _interrupt:
                signal.signal(number, signal.SIG_DFL)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say what was kept, and what could not be deleted."""
        if self._lines:
            terminalreporter.section("Kubernetes clusters")
        for line in self._lines:
            terminalreporter.line(line)


class ClusterFactory:
    """Makes clusters for tests. They are deleted at the end of the run."""

    def __init__(self, session: ClusterSession) -> None:
        self._session = session

    def __call__(self, config: AnyConfig | None = None, *, name: str = "", image: str = "") -> Cluster:
        """As `create`, for fixtures and tests that are no coroutines."""
        return run(lambda: self.create(config, name=name, image=image))

    async def create(self, config: AnyConfig | None = None, *, name: str = "", image: str = "") -> Cluster:
        """A cluster, ready to be used.

        Shape: `config` and `image` as for Cluster.create; without `name` it is another one at each call. A name stands for one
        cluster in all workers of the run, made by whichever asks first; with --kind-reuse also in the next run.
        Raises: as Cluster.create. Cancellation: what was made is removed first.
        """
        return await self._session.cluster(config, name=name, image=image)


@pytest.fixture(scope="session")
def kind_cluster_factory(request: pytest.FixtureRequest) -> ClusterFactory:
    """Makes more clusters: `kind_cluster_factory(config)`, or `await kind_cluster_factory.create(config)`. They are deleted at the end of the run."""
    session = request.config.pluginmanager.get_plugin(SESSION)
    assert session is not None
    session.heed_signals()
    return ClusterFactory(session)


@pytest.fixture(scope="session")
def kind_cluster(kind_cluster_factory: ClusterFactory, request: pytest.FixtureRequest) -> Cluster:
    """The cluster of the run, ready to be used; pytest-xdist's workers share it. Deleted at the end, unless it is to be kept or reused."""
    from kindasync.errors import KindasyncError

    session = request.config.pluginmanager.get_plugin(SESSION)
    assert session is not None
    try:
        return kind_cluster_factory(session.settings.config, name=session.name)
    except (KindasyncError, OSError) as error:
        failure = f"{type(error).__name__}: {error}"
    pytest.fail(failure, pytrace=False)  # it says all that there is to say; each test that wants the cluster shows it


@pytest.fixture
def kind_namespace(kind_cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """A new namespace for one test, with its default ServiceAccount; deleted afterwards, without waiting for it. It stays if the test fails with --kind-keep-on-failure."""
    from secrets import token_hex

    from kindasync.cluster._namespaces import make_namespace, remove_namespace

    readable = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[:40].strip("-")
    name = f"{readable or 'test'}-{token_hex(3)}"
    failure = _failure(lambda: make_namespace(kind_cluster.kubeconfig, name))
    try:
        if failure:
            pytest.fail(failure, pytrace=False)
        yield name
    finally:
        kept = request.node.stash.get(KEPT, False)
        left = "" if kept else _failure(lambda: remove_namespace(kind_cluster.kubeconfig, name))
        if left and not failure:  # a test, perhaps, has stopped its cluster
            warnings.warn(f'namespace "{name}" was not removed: {left}', pytest.PytestWarning, stacklevel=1)


def _failure(operation: Callable[[], Awaitable[object]]) -> str:
    """Run an operation; what failed, empty if nothing did: it says all that there is to say."""
    from kindasync.errors import KindasyncError

    try:
        run(operation)
    except KindasyncError as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _interrupt(number: int, frame: object) -> None:
    if _are_leases():
        raise KeyboardInterrupt
    signal.signal(number, signal.SIG_DFL)  # there is nothing to delete: as without us
    signal.raise_signal(number)


def _shorten(failure: pytest.ExceptionInfo[BaseException]) -> None:
    errors = sys.modules.get("kindasync.errors")
    if not (errors and isinstance(failure.value, errors.KindasyncError)):
        return
    entry = failure.tb
    while following := entry.tb_next:
        if Path(__file__).parent in Path(following.tb_frame.f_code.co_filename).parents:
            entry.tb_next = None
            failure.value.__cause__, failure.value.__suppress_context__ = None, True  # which is of what was left out
            return
        entry = following


def _ways(cluster: str) -> str:
    return f"look at it: kindasync export kubeconfig --name {cluster}; delete it: kindasync delete cluster --name {cluster}"


def _export_logs(cluster: Cluster, directory: Path) -> tuple[str, list[tuple[str, str]]]:
    """Export the logs of all nodes; what to say of it, and the ends of those of the kubelets, each with its title."""
    from kindasync.errors import KindasyncError

    tails: list[tuple[str, str]] = []
    try:
        for path in directory.glob("*/kubelet.log"):  # of the run before
            path.unlink()
        run(lambda: cluster.export_logs(directory))
        tails += [(f"{path.parent.name}: {path.name}", _tail(path)) for path in sorted(directory.glob("*/kubelet.log"))]
    except (KindasyncError, OSError) as error:
        return f"not all logs are in {directory}: {error}", tails
    return f"logs: {directory}", tails


def _tail(path: Path) -> str:
    return "\n".join(path.read_text().splitlines()[-TAIL_LINES:])


def _leave_out(directory: Path) -> None:
    """Have git leave a directory out, as pytest's own cache does."""
    with suppress(OSError):
        directory.mkdir(parents=True, exist_ok=True)
        (directory / ".gitignore").write_text("*\n")


def _lease_dir() -> Path:
    from platformdirs import user_state_path

    return user_state_path("kindasync") / "leases"


def _are_leases() -> bool:
    """Whether there are any, or may be in a moment."""
    return _lease_dir().exists()


def _holds_leases(run: str) -> bool:
    """Whether a run does: told without the imports that it takes to end them."""
    for path in _lease_dir().glob("*/*.json"):
        with suppress(OSError):
            if run in path.read_text():
                return True
    return False


async def _get_or_create(name: str, config: AnyConfig | None, create: Callable[[], Awaitable[Cluster]]) -> Cluster:
    """The cluster of that name, ready. Processes that ask for it at once wait for the one that creates it."""
    from kindasync import Engine
    from kindasync.cluster import Cluster, _leases
    from kindasync.errors import ClusterNotFound

    url = Engine.of(None).url
    await _leases.sweep(url)
    async with _leases.alone(url, name):
        try:
            with _or_delete(name):
                cluster = await Cluster.get(name)
        except ClusterNotFound:
            return await create()
    from kindasync.cluster._reuse import wait_found  # half a second of imports, where nothing else in the session needs them

    with _or_delete(name):
        await wait_found(cluster, config, timeout_s=READY_S)
    return cluster


@contextmanager
def _or_delete(name: str) -> Iterator[None]:
    """Say of a cluster that cannot be used how to be rid of it."""
    from kindasync.errors import ClusterError, NodeError, NotReady

    try:
        yield
    except (NodeError, NotReady) as error:
        raise ClusterError(
            f'cluster "{name}" is there, but cannot be reused',
            why=f"{error.what}\n{error.why}",
            hint="; or ".join(
                filter(None, [error.hint, f"kindasync delete cluster --name {name}: the next session makes it anew"]),
            ),
        ) from error


def run(operation: Callable[[], Awaitable[Result]]) -> Result:
    """Run a coroutine function in an event loop of its own thread: there may be a running one in this. An interrupt cancels it, and waits until it has cleaned up."""
    from kindasync import _facade

    return _facade.run(operation)
