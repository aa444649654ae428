"""Errors: what failed, why, what to do; one tree; and one error out of a group."""

from __future__ import annotations

import asyncio
import copy
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest

from kindasync import errors
from kindasync.errors import (
    AlreadyExists,
    ApiError,
    ApiRefused,
    ApiUnreachable,
    BootFailed,
    BuildFailed,
    ClusterError,
    ClusterNotFound,
    ConfigInvalid,
    Conflict,
    ConnectionLost,
    EngineError,
    EngineMissing,
    EnginePermissionDenied,
    EngineTimeout,
    EngineUnreachable,
    ExecFailed,
    ImageUnusable,
    KindasyncError,
    KindUnknown,
    LeftBehind,
    NodeError,
    NotFound,
    NotReady,
    PoolEmpty,
    Problem,
    StepFailed,
    StreamFailed,
    one_error,
)

TREE = {
    "KindasyncError": {
        "EngineError": {
            "EngineUnreachable": {"EngineMissing": {}, "EnginePermissionDenied": {}},
            "ConnectionLost": {},
            "EngineTimeout": {},
            "StreamFailed": {},
            "ApiError": {"NotFound": {}, "Conflict": {}},
        },
        "NodeError": {"ImageUnusable": {}, "ExecFailed": {}, "BootFailed": {}},
        "ClusterError": {
            "ConfigInvalid": {},
            "AlreadyExists": {},
            "ClusterNotFound": {},
            "PoolEmpty": {},
            "StepFailed": {},
            "NotReady": {},
            "ApiRefused": {},
            "ApiUnreachable": {},
            "KindUnknown": {},
            "LeftBehind": {},
        },
        "BuildFailed": {},
    }
}


def below(kind: type[BaseException]) -> dict[str, Any]:
    ours = [each for each in kind.__subclasses__() if each.__module__ == errors.__name__]
    return {each.__name__: below(each) for each in ours}


def test_the_tree() -> None:
    """Whoever catches a branch catches what is below it; nothing of ours is outside."""
    assert {"KindasyncError": below(KindasyncError)} == TREE


def every(kind: type[BaseException]) -> Iterator[type[BaseException]]:
    for each in kind.__subclasses__():
        if each.__module__ == errors.__name__:
            yield each
            yield from every(each)


@pytest.mark.parametrize("kind", [each for each in every(KindasyncError) if each not in (EngineError, NodeError, ClusterError)])
def test_what_to_do_is_documented(kind: type[BaseException]) -> None:
    """The documentation's page of errors takes it from there. What is only a branch has too many causes."""
    assert "\n    Try: " in (kind.__doc__ or "")


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ({}, "it failed"),
        ({"why": "because"}, "it failed\n  why: because"),
        ({"hint": "this"}, "it failed\n  try: this"),
        ({"evidence": "line"}, "it failed\n  seen: line"),
        (
            {"why": "one\ntwo\n", "hint": "do\nthis", "evidence": "last\nlines\n\n"},
            "it failed\n  why: one\n       two\n  try: do\n       this\n  seen: last\n       lines",
        ),
    ],
)
def test_rendering(parts: Mapping[str, str], text: str) -> None:
    """What failed comes first, then why, what to do, and what was seen; empty parts are left out, further lines indented."""
    error = KindasyncError("it failed", **parts)

    assert str(error) == text
    assert (error.what, error.why, error.hint, error.evidence) == (
        "it failed",
        *(parts.get(name, "") for name in ("why", "hint", "evidence")),
    )


@pytest.mark.parametrize(
    ("error", "fields", "text"),
    [
        (
            NotFound("ContainerInspect", "container demo-worker", 404, "No such container: demo-worker"),
            {
                "operation": "ContainerInspect",
                "subject": "container demo-worker",
                "status": 404,
                "message": "No such container: demo-worker",
            },
            'container inspect failed for container demo-worker\n  why: ContainerInspect replied 404, "No such container: demo-worker"',
        ),
        (
            ApiError("SystemInfo", "", 500, "boom", hint="see its log"),
            {"status": 500},
            'system info failed\n  why: SystemInfo replied 500, "boom"\n  try: see its log',
        ),
        (
            ExecFailed("demo-control-plane", ["kubeadm", "init"], 1, "[preflight]\nerror"),
            {"argv": ("kubeadm", "init"), "exit_code": 1, "output_tail": "[preflight]\nerror"},
            '"kubeadm init" failed in node demo-control-plane\n  why: it ended with exit code 1\n  seen: [preflight]\n       error',
        ),
        (
            NotReady('cluster "demo" to be ready', "node demo-worker: registered", after_s=120.0, hint="wait longer"),
            {"awaited": 'cluster "demo" to be ready', "last_state": "node demo-worker: registered"},
            'waited 120 s in vain for cluster "demo" to be ready\n  why: last seen: node demo-worker: registered\n  try: wait longer',
        ),
        (
            LeftBehind('cluster "demo" could not be deleted whole', ["container demo-worker"], why="busy"),
            {"objects": ("container demo-worker",)},
            'cluster "demo" could not be deleted whole\n  why: busy\n  try: run the same again, or remove them: container demo-worker',
        ),
        (
            BuildFailed("install packages", "it ended with exit code 100", "E: no route"),
            {"step": "install packages"},
            "cannot install packages\n  why: it ended with exit code 100\n  seen: E: no route",
        ),
    ],
)
def test_fields_and_words(error: KindasyncError, fields: Mapping[str, object], text: str) -> None:
    """An error holds what a program needs, and says what a person needs."""
    assert {name: getattr(error, name) for name in fields} == fields
    assert str(error) == text


@pytest.mark.parametrize(("count", "what"), [(1, "has 1 problem"), (2, "has 2 problems")])
def test_problems_of_a_configuration(count: int, what: str) -> None:
    """All of them, with their paths; one that concerns the whole has none."""
    problems = [Problem(path="", message="empty"), Problem(path="nodes[0].role", message="unknown")][-count:]

    error = ConfigInvalid(problems)

    assert error.problems == tuple(problems)
    assert error.what.endswith(what)
    assert error.why == "\n".join(["empty", "nodes[0].role: unknown"][-count:])


def test_a_failed_step_tells_of_all_nodes() -> None:
    """It is headed by the first failure, with its evidence and hint; the others are listed."""
    failures = [
        BootFailed("node demo-worker died", why="exit code 1", hint="see the log", evidence="Failed to allocate"),
        NodeError("node demo-worker2 died", why="exit code 2"),
    ]

    error = StepFailed("start nodes", "demo", failures)

    assert (error.step, error.failures) == ("start nodes", tuple(failures))
    assert str(error) == (
        'cannot start nodes of cluster "demo": node demo-worker died\n'
        "  why: exit code 1\n"
        "       node demo-worker2 died: exit code 2\n"
        "  try: see the log\n"
        "  seen: Failed to allocate"
    )


NODE_ERROR = NodeError("exec failed", why="the container does not run")
DEATH = BootFailed("node demo-worker died")
STEP_OF_DEATH = StepFailed("boot nodes", "demo", [DEATH])
BUG = ValueError("a bug")
CANCELLED = asyncio.CancelledError()


@pytest.mark.parametrize(
    ("group", "raised", "notes"),
    [
        ([NODE_ERROR], NODE_ERROR, 0),
        ([NODE_ERROR, DEATH], DEATH, 1),  # the death explains why the exec failed
        ([NODE_ERROR, STEP_OF_DEATH], STEP_OF_DEATH, 1),
        ([NODE_ERROR, AlreadyExists("taken")], NODE_ERROR, 1),  # else the first
        ([NODE_ERROR, NodeError("exec failed", why="the container does not run")], NODE_ERROR, 0),  # the same twice is no news
        ([NODE_ERROR, BUG], BUG, 1),  # a bug is never hidden
        ([NODE_ERROR, CANCELLED], CANCELLED, 1),  # nor is cancellation
    ],
)
def test_one_error_out_of_a_group(group: Sequence[BaseException], raised: BaseException, notes: int) -> None:
    """The one that explains the others, which become notes; however deep the groups are nested."""
    nested = BaseExceptionGroup("tasks", [BaseExceptionGroup("inner", [each]) for each in group])
    raised.__notes__ = []

    with pytest.raises(type(raised)) as caught, one_error():
        raise nested

    assert caught.value is raised
    assert len(raised.__notes__) == notes
    assert all(note.startswith("at the same time: ") for note in raised.__notes__)


@pytest.mark.parametrize("make", [lambda: NodeError("died"), lambda: ValueError("bug"), KeyboardInterrupt])
def test_one_error_leaves_a_single_one_alone(make: Callable[[], BaseException]) -> None:
    """With its cause."""
    cause, error = OSError("cause"), make()

    with pytest.raises(type(error)) as caught, one_error():
        raise error from cause

    assert caught.value is error
    assert caught.value.__cause__ is cause


def test_the_cause_survives_the_group() -> None:
    """`raise … from` inside a task is seen outside."""
    cause = OSError("cause")

    async def fail() -> None:
        raise NodeError("died") from cause

    async def operation() -> None:
        with one_error():
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(fail())

    with pytest.raises(NodeError) as caught:
        asyncio.run(operation())

    assert caught.value.__cause__ is cause


def test_no_error_is_no_error() -> None:
    """A body that ends well passes."""
    with one_error():
        pass


SEEN = {"why": "because", "hint": "do this", "evidence": "last lines"}
ONE_OF_EACH: list[KindasyncError] = [
    *(kind("it failed", **SEEN) for kind in (KindasyncError, EngineError, EngineUnreachable, EngineMissing, EnginePermissionDenied)),
    *(kind("it failed", **SEEN) for kind in (ConnectionLost, EngineTimeout, StreamFailed, NodeError, ImageUnusable, BootFailed)),
    *(kind("it failed", **SEEN) for kind in (ClusterError, AlreadyExists, ClusterNotFound, PoolEmpty, ApiUnreachable)),
    *(kind("ContainerInspect", "container demo", 404, "No such container", hint="none") for kind in (ApiError, NotFound, Conflict)),
    ExecFailed("demo-control-plane", ["kubeadm", "init"], 1, "[preflight]\nerror", hint="look"),
    ConfigInvalid([Problem(path="", message="empty"), Problem(path="nodes[0].role", message="unknown")]),
    StepFailed("start nodes", "demo", [BootFailed("node demo-worker died", **SEEN), ExecFailed("n", ["x"], 1, "tail")]),
    NotReady('cluster "demo" to be ready', "node demo-worker: registered", after_s=120.0, hint="wait longer"),
    LeftBehind('cluster "demo" could not be deleted whole', ["container demo-worker"], why="busy"),
    BuildFailed("install packages", "it ended with exit code 100", "E: no route", hint="look"),
    KindUnknown("Widget", "example.com/v1"),
    ApiRefused("GET", "/version", 503, '{"reason": "Starting", "message": "not yet"}'),
]


def everything_below(kind: type[KindasyncError]) -> set[type[KindasyncError]]:
    return {kind, *(each for child in kind.__subclasses__() for each in everything_below(child))}


def attributes(error: BaseException) -> dict[str, object]:
    """All that an error holds, and so do the errors in it."""
    named = {name: value for name, value in vars(error).items() if name != "failures"}
    return {**named, "args": error.args, "failures": [(type(each), attributes(each)) for each in getattr(error, "failures", ())]}


def test_none_is_forgotten_here() -> None:
    """One error of each class of the package."""
    ours = {kind for kind in everything_below(KindasyncError) if kind.__module__.startswith("kindasync.")}

    assert {type(error) for error in ONE_OF_EACH} == ours


@pytest.mark.parametrize(
    "copied", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy], ids=["pickle", "copy", "deep"]
)
@pytest.mark.parametrize("error", ONE_OF_EACH, ids=lambda error: type(error).__name__)
def test_errors_cross_processes(error: KindasyncError, copied: Callable[[KindasyncError], KindasyncError]) -> None:
    """As those of pytest-xdist, or of an executor: the same type, words, fields and notes arrive."""
    error.add_note("left behind: container demo")

    other = copied(error)

    assert type(other) is type(error)
    assert other is not error
    assert str(other) == str(error)
    assert attributes(other) == attributes(error)
    assert other.__notes__[-1] == "left behind: container demo"


def test_conflict_and_not_found_are_told_by_type() -> None:
    """Decisions are made on them, not on words."""
    assert issubclass(Conflict, ApiError)
    assert not issubclass(Conflict, NotFound)
