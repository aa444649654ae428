"""Together: one act on several containers at once, whose failures do not end each other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import anyio

from kindasync.docker.containers import Container
from kindasync.errors import KindasyncError, StepFailed

Target = TypeVar("Target")
AT_ONCE = 8  # requests that change containers that the Engine gets at the same time


async def together(containers: Iterable[Target], act: Callable[[Target], Awaitable[None]]) -> list[tuple[Target, KindasyncError]]:
    """Do it with all of them, AT_ONCE at a time; those with which it failed, and why."""
    failures: list[tuple[Target, KindasyncError]] = []
    limiter = anyio.CapacityLimiter(AT_ONCE)

    async def one(container: Target) -> None:
        async with limiter:
            try:
                await act(container)
            except KindasyncError as error:
                failures.append((container, error))

    async with anyio.create_task_group() as tasks:
        for container in containers:
            tasks.start_soon(one, container)
    return failures


async def all_together(step: str, cluster: str, containers: Iterable[Container], act: Callable[[Container], Awaitable[None]]) -> None:
    """As `together`, where each has to succeed. Raises: StepFailed with the failures, when all others are done."""
    if failures := await together(containers, act):
        raise StepFailed(step, cluster, [error for _, error in failures])
