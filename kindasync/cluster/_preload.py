"""Preload: the image archives that a configuration names, put into every node while it is paused."""

from __future__ import annotations

from kindasync.cluster._run import Hook
from kindasync.node import PausedNode


def preloading(archives: tuple[str, ...]) -> Hook:
    """A `before_boot` hook that puts archives into a node."""

    async def preload(node: PausedNode) -> None:
        for archive in archives:
            await node.preload(archive)

    preload.__qualname__ = "preload"  # by which events and errors call it
    return preload
