"""Fixtures of the unit tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest

from kindasync.cluster import _api, _provision
from kindasync.cluster._api import ClusterApi
from kindasync.testing import PROFILES, FakeEngine
from tests.unit.kubernetes import Kubernetes


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


@pytest.fixture
def retries_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an API server refuses for the moment is asked again without a wait."""
    monkeypatch.setattr(_api, "RETRY_S", 0.01)


@pytest.fixture
async def kubernetes() -> Kubernetes:
    """An API server in which there is nothing; modules may have one of their own."""
    return Kubernetes()


@pytest.fixture
async def api(kubernetes: Kubernetes) -> AsyncIterator[ClusterApi]:
    """Requests to it."""
    async with kubernetes.serving() as api:
        yield api
