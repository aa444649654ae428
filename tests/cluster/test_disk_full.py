"""A full disk. Run by `nox -s remote`, whose Engine has a small one of its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from kindasync import Cluster, Engine, events
from kindasync.docker.system import system_info
from kindasync.errors import StepFailed
from tests.cluster.conftest import look
from tests.unit.recording import Recording

pytestmark = [pytest.mark.anyio, pytest.mark.remote]
MIB = 1 << 20
SAID_S = 2.0  # from the cause to the failing event
END_S = 12.0


@pytest.fixture
async def leave_free(anyio_backend: str) -> AsyncIterator[Callable[[int], None]]:
    """Fills the Engine's disk but for so many MiB."""
    async with Engine.of(None).connect() as connection:
        filler = Path((await system_info(connection)).data_root) / "filler"

    def fill(mib: int) -> None:
        with filler.open("wb") as file:
            while (left := shutil.disk_usage(filler.parent).free - mib * MIB) > 0:
                with suppress(OSError):  # others write, too
                    os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), left)

    yield fill
    filler.unlink()


@pytest.mark.parametrize("mib", [0, 1, 100])
async def test_a_full_disk(leave_free: Callable[[int], None], own_home: Path, name: str, mib: int) -> None:
    """Said at once, with what to do, whichever step notices it; and everything is as before."""
    before = await look(own_home)
    leave_free(mib)

    seen = Recording()
    with anyio.fail_after(END_S), pytest.raises(StepFailed) as caught:
        await Cluster.create(name, on_event=seen.keep)

    assert seen.of(events.StepFailed)[0].monotonic_s < SAID_S
    assert "space" in str(caught.value)
    assert "free disk space" in caught.value.hint
    assert await look(own_home) == before
