"""Preload: the image archives that a configuration names, put into every node while it is paused."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from kindasync.cluster._run import Hook
from kindasync.config import ClusterConfig
from kindasync.errors import Problem
from kindasync.node import PausedNode


def unreadable(config: ClusterConfig) -> Iterator[Problem]:
    """The archives that cannot be read from here, as problems of the configuration."""
    for index, path in enumerate(config.extras.preload):
        if path and not (Path(path).is_file() and os.access(path, os.R_OK)):
            yield Problem(path=f"extras.preload[{index}]", message=f'"{path}" is not a file that can be read')


def preloading(archives: tuple[str, ...]) -> Hook:
    """A `before_boot` hook that puts archives into a node."""

    async def preload(node: PausedNode) -> None:
        for archive in archives:
            await node.preload(archive)

    preload.__qualname__ = "preload"  # by which events and errors call it
    return preload
