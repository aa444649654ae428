"""Contract: volumes with a name."""

from __future__ import annotations

import pytest

from kindasync.docker.containers import Bind, container_remove
from kindasync.docker.volumes import Volume, volume_create, volume_list, volume_remove
from kindasync.errors import Conflict
from tests.engine.lab import Lab

pytestmark = pytest.mark.anyio


async def test_a_volume_has_its_labels(lab: Lab) -> None:
    """By which it is found; None takes any value."""
    await volume_create(lab.connection, lab.name("v"), {**lab.labels, "a": "b"})
    await volume_create(lab.connection, lab.name("other"), lab.labels)

    assert await volume_list(lab.connection, labels={**lab.labels, "a": "b"}) == (
        Volume(name=lab.name("v"), labels={**lab.labels, "a": "b"}),
    )
    assert {volume.name for volume in await volume_list(lab.connection, labels=lab.labels)} == {lab.name("v"), lab.name("other")}
    assert [volume.name for volume in await volume_list(lab.connection, labels={**lab.labels, "a": None})] == [lab.name("v")]


async def test_a_volume_that_is_there_is_taken_as_it_is(lab: Lab) -> None:
    """No error, and no change."""
    await volume_create(lab.connection, lab.name("v"), lab.labels)
    await volume_create(lab.connection, lab.name("v"), {**lab.labels, "more": "labels"})

    assert await volume_list(lab.connection, labels=lab.labels) == (Volume(name=lab.name("v"), labels=lab.labels),)


async def test_a_volume_in_use_cannot_be_removed(lab: Lab) -> None:
    """As long as a container of any state has it."""
    await volume_create(lab.connection, lab.name("v"), lab.labels)
    container_id = await lab.created(lab.spec(binds=(Bind(source=lab.name("v"), target="/data"),)))

    with pytest.raises(Conflict, match="in use") as caught:
        await volume_remove(lab.connection, lab.name("v"))
    assert caught.value.subject == f"volume {lab.name('v')}"

    await container_remove(lab.connection, container_id)
    await volume_remove(lab.connection, lab.name("v"))
    assert await volume_list(lab.connection, labels=lab.labels) == ()


async def test_remove_of_what_is_gone_is_no_error(lab: Lab) -> None:
    """It counts as removed."""
    await volume_remove(lab.connection, lab.name("none"))
