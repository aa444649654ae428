"""Readable: the files of this machine that a configuration names, looked at before anything is made."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from kindasync.config import ClusterConfig
from kindasync.errors import Problem


def unreadable(config: ClusterConfig) -> Iterator[Problem]:
    """Those that cannot be read from here, as problems of the configuration."""
    for field, path in _files(config):
        if path and not (Path(path).is_file() and os.access(path, os.R_OK)):
            yield Problem(path=field, message=f'"{path}" is not a file that can be read')


def _files(config: ClusterConfig) -> Iterator[tuple[str, str]]:
    for index, path in enumerate(config.extras.preload):
        yield f"extras.preload[{index}]", path
    for index, mirror in enumerate(config.extras.registries.mirrors):
        yield f"extras.registries.mirrors[{index}].passwordFile", mirror.password_file
