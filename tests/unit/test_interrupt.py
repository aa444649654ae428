"""Ctrl-C in a program that uses the library: whatever `asyncio.run` does at the first and at the second, nothing is left behind.

The first cancels the main task. The second raises KeyboardInterrupt out of the event loop; `asyncio.run` then cancels every
task there is, those that clean up included, and waits for them all.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from threading import Timer
from typing import NoReturn

import pytest

from kindasync import Cluster
from kindasync import events as told
from kindasync._shielded import ATTEMPTS, carried_through
from kindasync.cluster import _lookup
from kindasync.events import Event
from kindasync.testing import FakeEngine
from tests.unit.leftovers import nothing_left


def interrupt() -> NoReturn:
    """What asyncio's handler of SIGINT does at the second one."""
    raise KeyboardInterrupt


async def create(fake: FakeEngine, operation: str, *, silent: bool = False) -> None:
    """A create with Ctrl-C when its node is paused, and again at a request of the clean-up, which may never be answered."""
    loop, main = asyncio.get_running_loop(), asyncio.current_task()
    assert main is not None

    async def listen(event: Event) -> None:
        if isinstance(event, told.NodePaused):
            fake.on(operation, lambda: loop.call_soon_threadsafe(interrupt))
            if silent:
                fake.hang(operation)
            main.cancel()

    await Cluster.create("demo", engine=fake.url, on_event=listen)


CLEAN_UP = ["ContainerList", "ContainerDelete", "NetworkList", "NetworkDelete"]


@pytest.mark.parametrize("silent", [False, True], ids=["answered", "silent"])
@pytest.mark.parametrize("operation", CLEAN_UP)
def test_a_second_ctrl_c_during_a_roll_back(
    fake: FakeEngine, home: Path, caplog: pytest.LogCaptureFixture, operation: str, silent: bool
) -> None:
    """It is begun again, and carried through, before the program ends; whether the Engine had done what it was at or not."""
    with nothing_left(fake, home), pytest.raises(KeyboardInterrupt):
        asyncio.run(create(fake, operation, silent=silent))

    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.mark.parametrize("operation", ["ContainerList", "ContainerDelete", "NetworkDelete"])
def test_a_second_ctrl_c_at_the_end_of_running(fake: FakeEngine, home: Path, operation: str) -> None:
    """A body that is interrupted still has its cluster deleted; so has one that came to its end."""

    async def main(*, fails: bool) -> None:
        loop = asyncio.get_running_loop()
        async with Cluster.running(name="demo", engine=fake.url):
            fake.on(operation, lambda: loop.call_soon_threadsafe(interrupt))
            if fails:
                raise asyncio.CancelledError

    for fails in (True, False):
        with nothing_left(fake, home), pytest.raises(KeyboardInterrupt):
            asyncio.run(main(fails=fails))


def test_ctrl_c_twice_before_anything_was_cleaned_up(fake: FakeEngine, home: Path) -> None:
    """The second one may be all that the create sees."""

    async def main() -> None:
        loop = asyncio.get_running_loop()

        async def listen(event: Event) -> None:
            if isinstance(event, told.NodePaused):
                loop.call_soon(interrupt)

        await Cluster.create("demo", engine=fake.url, on_event=listen)

    with nothing_left(fake, home), pytest.raises(KeyboardInterrupt):
        asyncio.run(main())


@pytest.mark.parametrize("operation", ["NetworkCreate", "ContainerCreate"])
def test_a_second_ctrl_c_while_the_engine_makes_something(
    fake: FakeEngine, home: Path, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    """The first waits for the answer; the second gives it up, and what comes to be then is removed, too."""
    monkeypatch.setattr(_lookup, "GIVEN_UP_S", 0.5)

    async def main() -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        release = fake.hold(operation)

        def ctrl_c_twice() -> None:
            task.cancel()
            loop.call_later(0.05, interrupt)
            Timer(0.2, release).start()

        fake.on(operation, lambda: loop.call_soon_threadsafe(ctrl_c_twice))
        await Cluster.create("demo", engine=fake.url)

    with nothing_left(fake, home), pytest.raises(KeyboardInterrupt):
        asyncio.run(main())

    assert fake.requests_of(operation)


# -- carried_through


@pytest.mark.parametrize("times", range(ATTEMPTS + 2))
def test_work_is_begun_again_when_every_task_is_cancelled(times: int) -> None:
    """ATTEMPTS times: whoever goes on cancelling wants to be rid of it. The caller learns of it after the work."""
    order: list[str] = []

    async def work() -> None:
        order.append("begun")
        if order.count("begun") <= times:
            for task in asyncio.all_tasks():
                task.cancel()
        await asyncio.sleep(0)
        order.append("done")

    async def main() -> None:
        try:
            await carried_through(work)
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            order.append("cancelled")

    asyncio.run(main())

    done = ["done"] if times <= ATTEMPTS else []
    assert order == ["begun"] * (min(times, ATTEMPTS) + 1) + done + (["cancelled"] if times else [])


def test_work_that_fails_is_not_begun_again() -> None:
    """Only cancellation is not its own."""
    begun: list[str] = []

    async def work() -> None:
        begun.append("begun")
        raise ZeroDivisionError

    async def main() -> None:
        await carried_through(work)

    with pytest.raises(ZeroDivisionError):
        asyncio.run(main())

    assert begun == ["begun"]
