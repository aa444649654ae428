"""Volumes: the Engine's operations on them, typed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from kindasync.docker._engine import Call, Connection, Labels, filters, required
from kindasync.errors import NotFound


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A volume in the Engine."""

    name: str
    labels: Mapping[str, str]


async def volume_create(connection: Connection, name: str, labels: Mapping[str, str]) -> None:
    """Make a named volume; one of that name that is there already is taken as it is.

    Source: Docker Engine API, VolumeCreate, POST /volumes/create. Cancellation: takes effect after the answer.
    """
    call = Call("VolumeCreate", "POST", "/volumes/create", f"volume {name}", json={"Name": name, "Labels": dict(labels)})
    await connection.request_shielded(call)


async def volume_list(connection: Connection, *, labels: Labels | None = None) -> tuple[Volume, ...]:
    """The volumes that have the labels (None: any value).

    Source: Docker Engine API, VolumeList, GET /volumes.
    """
    call = Call("VolumeList", "GET", "/volumes", params={"filters": filters(labels)})
    reply = await connection.request_json(call)
    return tuple(
        Volume(name=str(required("VolumeList", item, "Name")), labels=dict(item.get("Labels") or {})) for item in reply.get("Volumes") or []
    )


async def volume_remove(connection: Connection, name: str) -> None:
    """Remove a volume; one that is gone counts as removed.

    Source: Docker Engine API, VolumeDelete, DELETE /volumes/{name}. Raises: Conflict while a container has it.
    """
    try:
        await connection.request(Call("VolumeDelete", "DELETE", f"/volumes/{quote(name, safe='')}", f"volume {name}"))
    except NotFound:
        return
