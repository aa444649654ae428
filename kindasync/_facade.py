"""Facade: a class of the asynchronous API as one that blocks, derived from it member by member.

Each operation runs in an event loop of a thread of its own, so there may be a running one in the caller's, as in notebooks.
"""

from __future__ import annotations

import atexit
import functools
import inspect
import sys
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, AbstractContextManager, suppress
from types import TracebackType
from typing import Any, Generic, TypeVar
from weakref import WeakSet

import anyio
from anyio.from_thread import BlockingPortal, BlockingPortalProvider

from kindasync.errors import KindasyncError

Value = TypeVar("Value")
_portals = BlockingPortalProvider()  # the thread is there while something runs in it, and shared by what runs at the same time
_facades: dict[type, type[Facade]] = {}
_suspended: WeakSet[Any] = WeakSet()  # generators, and contexts that were entered, of which nobody has seen the end
_END = object()


class Facade:
    """A value of the asynchronous API, which is `asynchronous`. Equal to another one of an equal value."""

    _kind: type

    def __init__(self, asynchronous: Any = None) -> None:
        if not isinstance(asynchronous, self._kind):
            raise TypeError(f"a {self._kind.__name__} is not made so: Cluster.create(), get() and running() return what there is")
        self.asynchronous = asynchronous

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Facade) and bool(self.asynchronous == other.asynchronous)

    def __hash__(self) -> int:
        return hash(self.asynchronous)

    def __repr__(self) -> str:
        return f"sync.{self.asynchronous!r}"


def facade(kind: type, *, module: str, doc: str, without: Collection[str] = ()) -> Any:
    """The class `kind` with the same public members, but for those `without`: coroutines are run, asynchronous context managers become
    with-blocks, asynchronous generators generators.

    Values of `kind`, and of others that have a facade, are given as that, also in lists and tuples; and taken as that.
    """
    names = [name for name in dir(kind) if not name.startswith("_") and name not in without]
    members = {name: _member(inspect.getattr_static(kind, name), name) for name in names}
    made = type(kind.__name__, (Facade,), {**members, "_kind": kind, "__module__": module, "__doc__": doc})
    _facades[kind] = made
    return made


def _member(member: Any, name: str) -> Any:
    if isinstance(member, classmethod | staticmethod):
        return type(member)(_function(member.__func__))
    if inspect.isfunction(member):
        return _function(member)
    return property(lambda self: _given(getattr(self.asynchronous, name)), doc=inspect.getdoc(member))


def _function(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that blocks, of an asynchronous one."""

    @functools.wraps(function)
    def blocking(*args: Any, **kwargs: Any) -> Any:
        return _given(function(*map(_taken, args), **{name: _taken(value) for name, value in kwargs.items()}))

    return blocking


def _given(value: Any) -> Any:
    """A result, as the facade's user gets it."""
    if inspect.iscoroutine(value):
        try:
            return _given(run(lambda: value))
        finally:
            value.close()  # one that was never begun
    if isinstance(value, AbstractAsyncContextManager):
        return Entered(value)
    if inspect.isasyncgen(value):
        iterated = _iterated(value)
        _suspended.add(iterated)
        return iterated
    if type(value) in _facades:
        return _facades[type(value)](value)
    if type(value) in (list, tuple):
        return type(value)(map(_given, value))
    return value


def _taken(value: Any) -> Any:
    """An argument, as the asynchronous function wants it."""
    if isinstance(value, Facade):
        return value.asynchronous
    if isinstance(value, type) and issubclass(value, Facade):
        return value._kind  # noqa: SLF001 (of this module)
    return value


class _Task(Generic[Value]):
    """A coroutine function that runs in the portal's thread. An interrupt of who waits for it cancels it, and ends when it has cleaned up."""

    def __init__(self, portal: BlockingPortal, operation: Callable[[], Awaitable[Value]]) -> None:
        self._operation = operation
        self._ended = threading.Event()
        self._notes: list[str] = []
        try:
            self._future = portal.start_task_soon(self._work)
        except RuntimeError as error:
            raise KindasyncError(
                "kindasync.sync cannot be used by what runs in its own event loop",
                why="it would wait for itself",
                hint="in listeners and hooks that are coroutine functions, use the asynchronous API; or make the listener a plain function",
            ) from error

    async def _work(self) -> Value:
        try:
            return await self._operation()
        except BaseException as error:
            self._notes += getattr(error, "__notes__", [])
            raise
        finally:
            self._ended.set()

    def wait(self, future: Future[Any] | None = None) -> Any:
        """What it returns or raises; or, before that, what `future` gets."""
        try:
            return (future or self._future).result()
        except BaseException as error:
            self._future.cancel()
            while not self._ended.is_set():
                with suppress(KeyboardInterrupt):  # further ones change nothing about a clean-up that has begun
                    self._ended.wait()
            if isinstance(error, KeyboardInterrupt):
                for note in self._notes:
                    error.add_note(note)
            raise


def run(operation: Callable[[], Awaitable[Value]]) -> Value:
    """What `operation` returns or raises. KeyboardInterrupt cancels it, and is raised when it has cleaned up, with its notes."""
    if sys.is_finalizing():  # too late for an error of ours, too: what that imports is gone
        raise RuntimeError("kindasync.sync cannot be used any more: the interpreter ends, and no thread runs")
    with _portals as portal:
        result: Value = _Task(portal, operation).wait()
        return result


@atexit.register
def _end_suspended() -> None:
    """As the interpreter ends; when it throws them away, no thread runs that could end them."""
    for each in [*_suspended]:
        with suppress(Exception):
            each.close()


def _iterated(values: AsyncGenerator[Any, Any]) -> Iterator[Any]:
    with _portals:
        try:
            while (value := run(functools.partial(anext, values, _END))) is not _END:
                yield _given(value)
        finally:
            run(values.aclose)


class Entered(AbstractContextManager[Any]):
    """An asynchronous context manager, entered and left by one task of the portal."""

    def __init__(self, manager: AbstractAsyncContextManager[Any]) -> None:
        self._manager = manager

    def __enter__(self) -> Any:
        self._portal = _portals.__enter__()
        self._entered: Future[Any] = Future()
        self._task = _Task(self._portal, self._hold)
        try:
            value = _given(self._task.wait(self._entered))
        except BaseException as error:
            _portals.__exit__(type(error), error, error.__traceback__)
            raise
        _suspended.add(self)
        return value

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> bool:
        if self not in _suspended:  # it was ended as the interpreter did
            return False
        _suspended.discard(self)
        self._reason = kind, error, traceback
        self._portal.start_task_soon(self._left.set)
        try:
            return bool(self._task.wait())
        finally:
            _portals.__exit__(None, None, None)

    def close(self) -> None:
        """Leave it, as without an error."""
        self.__exit__(None, None, None)

    async def _hold(self) -> bool | None:
        self._left = anyio.Event()
        try:
            value = await self._manager.__aenter__()
        except BaseException as error:
            self._entered.set_exception(error)
            raise
        self._entered.set_result(value)
        try:
            await self._left.wait()
        except BaseException as error:  # an interrupt that came when it had just been entered
            await self._manager.__aexit__(type(error), error, error.__traceback__)
            raise
        return await self._manager.__aexit__(*self._reason)
