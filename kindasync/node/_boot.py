"""Boot: from a started container to one whose containerd answers, by the lines the node says. See design.md section 3."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import anyio

from kindasync.docker import Connection
from kindasync.docker.containers import Container, container_kill
from kindasync.errors import BootFailed, Conflict
from kindasync.node._console import Console
from kindasync.node._contract import BOOT_SIGNAL, BOOTING, IMPORT_FAILED, PAUSED, RUNTIME_READY, Contract, kind_booted

PAUSE_S = 60.0
BOOT_S = 60.0
IMPORT_S = 600.0  # preloaded images are imported before the runtime counts as ready
SIGNAL_INTERVAL_S = 0.5


async def wait_paused(console: Console) -> None:
    """Wait until the node waits for its boot signal. Raises: BootFailed when it dies, or after PAUSE_S."""
    with _deadline(console, PAUSE_S, "paused"):
        await console.wait_for(lambda line: line == PAUSED, "paused")


async def signal_boot(connection: Connection, container: Container, console: Console, *, report: Callable[[int], None]) -> None:
    """Send the boot signal until the node says that it boots: the kernel drops one that comes before its handler.

    `report` gets the number of each attempt. Raises: BootFailed when the node dies, or after BOOT_S.
    """

    def booting(line: str) -> bool:
        return line == BOOTING

    with _deadline(console, BOOT_S, "booting"):
        attempt = 0
        while not console.saw(booting):
            attempt += 1
            report(attempt)
            with suppress(Conflict):  # it does not run: waiting for the line finds out why
                await container_kill(connection, container.id, BOOT_SIGNAL)
            with anyio.move_on_after(SIGNAL_INTERVAL_S):
                await console.wait_for(booting, "booting")


async def wait_runtime(console: Console, contract: Contract) -> None:
    """Wait until containerd answers and preloaded images are imported. Raises: BootFailed when the node dies, or after BOOT_S (IMPORT_S for imports)."""
    if contract.pauses:
        with _deadline(console, IMPORT_S, "ready to run pods"):
            await console.wait_for(
                lambda line: line == RUNTIME_READY, "ready to run pods", fails=lambda line: line.startswith(IMPORT_FAILED)
            )
    else:
        with _deadline(console, BOOT_S, "booted"):
            await console.wait_for(kind_booted, "booted")


@contextmanager
def _deadline(console: Console, seconds: float, awaited: str) -> Iterator[None]:
    try:
        with anyio.fail_after(seconds):
            yield
    except TimeoutError as error:
        raise BootFailed(
            f"a node was not {awaited} after {seconds:g} s",
            why="the line that says so did not come",
            hint="its last lines say how far it got; kindasync doctor looks at what usually is the cause (inotify limits, disk)",
            evidence=console.tail,
        ) from error
