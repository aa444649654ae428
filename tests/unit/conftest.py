"""Fixtures of the unit tests."""

from __future__ import annotations

import pytest

from kindasync.cluster import _provision


@pytest.fixture
def nobody_dies(monkeypatch: pytest.MonkeyPatch) -> None:
    """For failures that are no node's death: a create does not wait long to see whether one comes to light."""
    monkeypatch.setattr(_provision, "DEATH_S", 0.01)
