"""A leftover, as gc tells of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """Something that a crashed run has left.

    Shape: `kind` "container"; "node", which is one of a cluster that goes on; "network"; or "directory", with its path as `name`.
    `cluster` may be empty; `why` it is a leftover.
    """

    kind: str
    name: str
    cluster: str
    why: str

    def to_json(self) -> dict[str, str]:
        """As a JSON object."""
        return asdict(self)
