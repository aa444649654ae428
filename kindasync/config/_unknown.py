"""Unknown: the parts of a configuration that are broken, of which rules can say nothing."""

from __future__ import annotations

from collections.abc import Iterable


class Unknown:
    """Paths, such as "nodes[0].role". A path is in it if it, or something above it, is unknown."""

    def __init__(self, paths: Iterable[str] = ()) -> None:
        self._paths = frozenset(paths)

    def __contains__(self, path: str) -> bool:
        return any(path == each or path.startswith((f"{each}.", f"{each}[")) for each in self._paths)
