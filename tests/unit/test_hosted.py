"""Hosted: work that goes on while a context is open; whose errors are raised, and where."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import anyio
import pytest

from kindasync._hosted import hosted

pytestmark = pytest.mark.anyio
Ready = Callable[[str], None]


async def test_work_is_cancelled_and_awaited(anyio_backend: str) -> None:
    """To its last clean-up."""
    told: list[str] = []

    async def work(ready: Ready) -> None:
        ready("here")
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.01)
            told.append("cleaned up")

    async with hosted(work) as value:
        assert value == "here"

    assert told == ["cleaned up"]


async def test_work_that_fails_before_it_is_ready(anyio_backend: str) -> None:
    """There is no context, then."""

    async def work(ready: Ready) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        async with hosted(work):
            raise AssertionError


async def test_work_that_fails_later(anyio_backend: str) -> None:
    """Is told when the context is left, unless there is something else to tell."""

    async def work(ready: Ready) -> None:
        ready("here")
        raise ValueError("later")

    with pytest.raises(ValueError, match="later"):
        async with hosted(work):
            await anyio.sleep(0)
    with pytest.raises(KeyError):
        async with hosted(work):
            raise KeyError


async def test_the_entering_may_be_cancelled(anyio_backend: str) -> None:
    """So is the work."""
    before = asyncio.all_tasks()

    async def work(ready: Ready) -> None:
        await anyio.sleep_forever()

    with anyio.move_on_after(0.01) as scope:
        async with hosted(work):
            raise AssertionError

    assert scope.cancelled_caught
    assert asyncio.all_tasks() == before
