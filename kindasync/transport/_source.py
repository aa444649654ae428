"""Source: what a caller gives bytes from, and its end."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress

import anyio

CLOSE_S = 5.0


async def end(source: AsyncIterator[bytes]) -> None:
    """End a generator that was not read to its end: the Engine may have had enough before. Else what it holds open is left to chance.

    Cancellation: does not keep it from closing what it holds, for at most CLOSE_S.
    """
    if isinstance(source, AsyncGenerator):
        with anyio.move_on_after(CLOSE_S, shield=True), suppress(RuntimeError):  # it is being read: whoever does is cancelled, and ends it
            await source.aclose()
