"""YAML with nothing lost: scalars keep their source spelling and what YAML would make of them, and no key comes twice.

`1.30` in a text field stays "1.30", `on` stays "on"; a port given as "80" is still seen to be a text.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import yaml

from kindasync import go_yaml
from kindasync.errors import Problem

MOST_NODES = 200_000
_KINDS = {
    "tag:yaml.org,2002:int": "an integer",
    "tag:yaml.org,2002:float": "a number",
    "tag:yaml.org,2002:bool": "true or false",
    "tag:yaml.org,2002:null": "null",
}


class Scalar(str):
    """A plain or quoted scalar as written; `kind` is what YAML takes it for, where that is not a text."""

    __slots__ = ("kind",)
    kind: str

    def __new__(cls, text: str, kind: str) -> Self:
        scalar = super().__new__(cls, text)
        scalar.kind = kind
        return scalar

    @property
    def value(self) -> Any:
        """What YAML makes of it; the text where that is none (`0x_`), or more than Python reads."""
        if not self.kind:
            return str(self)
        try:
            return yaml.safe_load(str(self))
        except (yaml.YAMLError, ValueError):
            return str(self)


class Document(NamedTuple):
    """A document that is not empty, as dicts and lists of `Scalar`; and what is wrong in it, by paths below it."""

    value: Any
    problems: list[Problem]


def load_stream(text: str) -> tuple[list[Document], list[Problem]]:
    """The documents of a YAML stream that are not empty; and what is wrong with the stream, from where on there are none."""
    problems: list[Problem] = []
    documents: list[Document] = []
    try:
        for node in yaml.compose_all(text, Loader=go_yaml.LOADER):
            inside: list[Problem] = []
            if node is not None and _size(node, {}) > MOST_NODES:
                raise yaml.YAMLError(f"its aliases make more than {MOST_NODES} values of it")
            value = None if node is None else _value(node, "", inside)
            if value is not None:
                documents.append(Document(value, inside))
    except RecursionError:  # by an alias, or by thousands of brackets
        problems.append(Problem(path="", message="not a configuration: it contains itself, or is nested without end"))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problems.append(Problem(path=where, message=f"not YAML: {getattr(error, 'problem', None) or error}"))
    return documents, problems


def load_documents(text: str) -> tuple[list[Any], list[Problem]]:
    """The documents of a YAML stream that are not empty; and all that is wrong with it."""
    documents, problems = load_stream(text)
    return [document.value for document in documents], [problem for document in documents for problem in document.problems] + problems


def _size(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values a node is, with all that aliases name. Raises: RecursionError."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in known:
        below = [each for pair in node.value for each in pair] if isinstance(node, yaml.MappingNode) else node.value
        known[id(node)] = 1 + sum(_size(each, known) for each in below)
    return known[id(node)]


def _value(node: yaml.Node, path: str, problems: list[Problem]) -> Any:
    if isinstance(node, yaml.ScalarNode):
        kind = (
            "" if ":" in node.value else _KINDS.get(node.tag, "")
        )  # 1:30 is text for programs in Go; for YAML 1.1 it would be a number of minutes
        return None if kind == "null" else Scalar(node.value, kind)
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, f"{path}[{index}]", problems) for index, item in enumerate(node.value)]
    result: dict[str, Any] = {}
    merged: dict[str, Any] = {}
    for key_node, value_node in node.value:
        if key_node.tag == "tag:yaml.org,2002:merge":  # <<: *other
            sources = value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
            for source in sources:
                merged = {**_mapping(source, path, problems), **merged}  # the first source that has a key wins
            continue
        key = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else str(key_node.tag)
        below = f"{path}.{key}" if path else key
        if key in result:
            problems.append(Problem(path=below, message=f"given twice, the second time in line {key_node.start_mark.line + 1}"))
        result[key] = _value(value_node, below, problems)
    return merged | result


def _mapping(node: yaml.Node, path: str, problems: list[Problem]) -> dict[str, Any]:
    value = _value(node, path, problems)
    if isinstance(value, dict):
        return value
    problems.append(Problem(path=f"{path}.<<" if path else "<<", message="must be a mapping, or a list of them"))
    return {}
