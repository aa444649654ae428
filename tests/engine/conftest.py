"""Fixtures of the contract: each test of it runs on every profile of the fake, and on the real Engine."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from kindasync.docker import Connection, Engine
from kindasync.testing import PROFILES, FakeEngine
from tests.engine.lab import REAL, REAL_ENGINE, Lab


@pytest.fixture(params=[*PROFILES, REAL_ENGINE])
async def lab(request: pytest.FixtureRequest, anyio_backend: str) -> AsyncIterator[Lab]:
    """The Engine under test."""
    if request.param == REAL:
        async with Engine.of(None).connect() as connection:
            real = Lab(connection, None, REAL)
            yield real
            await real.clean()
    else:
        with FakeEngine(request.param) as fake:
            async with Engine.of(fake.url).connect() as connection:
                yield Lab(connection, fake, request.param)


@pytest.fixture
async def connection(fake: FakeEngine, anyio_backend: str) -> AsyncIterator[Connection]:
    """A connection to the fake, for tests of what a real Engine does seldom."""
    async with Engine.of(fake.url).connect() as connection:
        yield connection
