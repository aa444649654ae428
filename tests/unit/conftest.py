"""Fixtures of the unit tests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from kindasync.cluster import _provision
from kindasync.testing import PROFILES, FakeEngine


@pytest.fixture
def nobody_dies(monkeypatch: pytest.MonkeyPatch) -> None:
    """For failures that are no node's death: a create does not wait long to see whether one comes to light."""
    monkeypatch.setattr(_provision, "DEATH_S", 0.01)


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEngine]:
    """An Engine that is on no machine: doctor says nothing of this one, which may have problems of its own."""
    monkeypatch.setenv("KINDASYNC_HOST_OVERRIDE", "127.0.0.1")
    with FakeEngine(replace(PROFILES["docker-26"], info={"Name": "elsewhere"})) as engine:
        yield engine
