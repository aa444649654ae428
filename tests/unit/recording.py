"""Recording: the events of one operation, kept to be asserted on."""

from __future__ import annotations

from typing import TypeVar

from kindasync.events import Event

Kind = TypeVar("Kind", bound=Event)


class Recording(list[Event]):
    """Give its `keep` as `on_event`."""

    async def keep(self, event: Event) -> None:
        self.append(event)

    @property
    def names(self) -> list[str]:
        return [type(event).__name__ for event in self]

    def of(self, kind: type[Kind]) -> list[Kind]:
        """The events of one class."""
        return [event for event in self if isinstance(event, kind)]

    def only(self, kind: type[Kind]) -> Kind:
        """The one event of that class."""
        (event,) = self.of(kind)
        return event
