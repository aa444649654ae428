"""YAML from and for programs written in Go, which take more plain words for something else than text than PyYAML does."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import yaml

# Words, and IPv4 addresses: text that is nothing else in YAML 1.1 and 1.2, as `y`, `1e3`, `0o7` and the like are for some.
_PLAIN = re.compile(r"(?!(?:y|n|yes|no|on|off|true|false|null)\Z)[A-Za-z/][\w./:@%+=, -]*|\d+(\.\d+){3}(/\d+)?", re.IGNORECASE)


# Ten times as fast, where PyYAML was built with libyaml; its wheels are.
_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class LOADER(_SafeLoader):  # type: ignore[misc]
    """As programs written in Go read: what looks like a time is a text."""


LOADER.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_SafeDumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Dumper(_SafeDumper):  # type: ignore[misc]
    """Quotes every text that any reader could take for something else."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if _PLAIN.fullmatch(text) else "'")


_Dumper.add_representer(str, _represent_text)


def load(text: str | bytes) -> Any:
    """The one document. Raises: yaml.YAMLError."""
    return yaml.load(text, Loader=LOADER)  # noqa: S506 (a safe one)


def load_all(text: str | bytes) -> Iterator[Any]:
    """Each document; None for one that is empty. Raises: yaml.YAMLError."""
    documents: Iterator[Any] = yaml.load_all(text, Loader=LOADER)
    return documents


def dump(document: object) -> str:
    """One document."""
    return dump_all([document])


def dump_all(documents: Iterable[object]) -> str:
    """Several documents, with `---` between them."""
    dumped: Any = yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    return str(dumped)
