"""JSON Patch (RFC 6902): operations on a document of dicts, lists and scalars, with JSON pointers (RFC 6901).

Messages show a patch's own text, never what the document holds: that may be a secret.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from typing import Any

from kindasync.errors import Problem

_NEEDS = {
    "add": ("path", "value"),
    "remove": ("path",),
    "replace": ("path", "value"),
    "move": ("from", "path"),
    "copy": ("from", "path"),
    "test": ("path", "value"),
}
_POINTER = re.compile(r"(/([^~]|~[01])*)?")
_INDEX = re.compile(r"0|[1-9][0-9]*")


class OperationFailed(Exception):
    """An operation cannot be applied to this document."""


def operation_problems(operations: object, path: str) -> Iterator[Problem]:
    """What is wrong with the shape of a patch, whatever document it is for."""
    if not isinstance(operations, list):
        yield Problem(path=path, message="must be a list of operations")
        return
    for index, operation in enumerate(operations):
        below = f"{path}[{index}]"
        if not isinstance(operation, Mapping):
            yield Problem(path=below, message="must be a mapping with op and path")
            continue
        name = operation.get("op")
        if not isinstance(name, str) or name not in _NEEDS:
            yield Problem(path=f"{below}.op", message=f"must be one of {', '.join(_NEEDS)}" if "op" in operation else "is required")
            continue
        for field in _NEEDS[name]:
            if field not in operation:
                yield Problem(path=f"{below}.{field}", message=f"is required by {name}")
            elif field != "value" and not _is_pointer(operation[field]):
                message = 'is no JSON pointer: empty, or each part after a "/", with ~0 for "~" and ~1 for "/"'
                yield Problem(path=f"{below}.{field}", message=message)


def apply(document: Any, operation: Mapping[str, Any]) -> Any:
    """The document after one operation; the given one stays as it was. Raises: OperationFailed."""
    name, path = operation["op"], operation["path"]
    document = copy.deepcopy(document)
    try:
        match name:
            case "add":
                return _add(document, _parts(path), copy.deepcopy(operation["value"]))
            case "remove":
                return _remove(document, _parts(path))[0]
            case "replace":
                if not path:
                    return copy.deepcopy(operation["value"])
                return _replace(document, _parts(path), copy.deepcopy(operation["value"]))
            case "move":
                if path.startswith(f"{operation['from']}/"):
                    raise OperationFailed("it lies inside of what is moved")
                document, value = _remove(document, _parts(operation["from"])) if operation["from"] != path else (document, None)
                return document if operation["from"] == path else _add(document, _parts(path), value)
            case "copy":
                return _add(document, _parts(path), copy.deepcopy(_get(document, _parts(operation["from"]))))
            case _:
                if not _equal(_get(document, _parts(path)), operation["value"]):
                    raise OperationFailed("there is another value")
                return document
    except OperationFailed as error:
        source = f' from "{operation["from"]}"' if "from" in operation and name in ("move", "copy") else ""
        raise OperationFailed(f'{name} "{path}"{source}: {error}') from None


def _is_pointer(value: object) -> bool:
    return isinstance(value, str) and bool(_POINTER.fullmatch(value))


def _parts(pointer: str) -> list[str]:
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]


def _index(items: list[Any], part: str, *, end: bool = False) -> int:
    """The index that a part of a pointer means; with `end`, the one behind the last, too."""
    if end and part == "-":
        return len(items)
    if not _INDEX.fullmatch(part):
        raise OperationFailed(f'"{part}" is no index of a list')
    if not int(part) < len(items) + end:
        raise OperationFailed(f"the list is shorter than {part}")
    return int(part)


def _child(value: Any, part: str) -> Any:
    if isinstance(value, list):
        return value[_index(value, part)]
    if not isinstance(value, dict) or part not in value:
        raise OperationFailed(f'there is no "{part}"')
    return value[part]


def _get(document: Any, parts: list[str]) -> Any:
    for part in parts:
        document = _child(document, part)
    return document


def _add(document: Any, parts: list[str], value: Any) -> Any:
    if not parts:
        return value
    parent, last = _get(document, parts[:-1]), parts[-1]
    if isinstance(parent, list):
        parent.insert(_index(parent, last, end=True), value)
    elif isinstance(parent, dict):
        parent[last] = value
    else:
        raise OperationFailed(f'there is nothing that could hold "{last}"')
    return document


def _remove(document: Any, parts: list[str]) -> tuple[Any, Any]:
    if not parts:
        return None, document
    parent, last = _get(document, parts[:-1]), parts[-1]
    value = _child(parent, last)
    if isinstance(parent, list):
        del parent[_index(parent, last)]
    else:
        del parent[last]
    return document, value


def _replace(document: Any, parts: list[str], value: Any) -> Any:
    parent, last = _get(document, parts[:-1]), parts[-1]
    _child(parent, last)
    parent[_index(parent, last) if isinstance(parent, list) else last] = value
    return document


def _equal(one: Any, other: Any) -> bool:
    """As JSON has it: true is not 1."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return bool(one == other)
