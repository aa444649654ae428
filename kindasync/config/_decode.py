"""Decoding: from YAML or data to the frozen configuration, strictly, with all problems at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from kindasync.config import _extras_models, _models
from kindasync.config._document import ClusterConfig, Role
from kindasync.config._extras import ClusterExtras
from kindasync.config._models import Loc
from kindasync.config._rules import problems_of
from kindasync.config._unknown import Unknown
from kindasync.config._yaml import Document, load_stream
from kindasync.errors import ConfigInvalid, Problem

Source = str | bytes | Path | Mapping[str, Any] | Sequence[Mapping[str, Any]]
Model = type[_models.Cluster] | type[_extras_models.ClusterExtras]
_NEEDED = f"kind: Cluster and apiVersion: {_models.Cluster.HEAD['apiVersion']}"


_FILLERS: tuple[object, ...] = ({}, "", None)


@dataclass(frozen=True, slots=True)
class _Part:
    """What one document says: `frozen` with defaults in the place of what is broken, whose paths are `unknown`; None if nothing is left of it."""

    frozen: Any = None
    problems: tuple[Problem, ...] = ()
    unknown: frozenset[str] = frozenset()


def load(source: Source, *, name: str = "") -> ClusterConfig:
    """Read a configuration: YAML text, a path to such a file, or the same as data, of one document or several. `name` wins over the one in it.

    Raises: ConfigInvalid with all problems of shape and, where the shape allows to look for them, of the rules; OSError for a file.
    """
    documents, problems = _documents(source)
    if name:
        documents = [
            each._replace(value={**each.value, "name": name}) if isinstance(each.value, Mapping) and _is(_models.Cluster, each) else each
            for each in documents
        ]
    return _decoded(documents, problems)


def load_node(source: Source, role: str = "") -> ClusterConfig:
    """Read what one more node of a cluster is to be, an entry of kind's `nodes`, or that and one of ClusterExtras': a configuration of this node.

    `role` wins over the node's; without either it is a worker. Raises: as `load`; its place is in paths: "nodes[0].image", "extras.nodes[0].cpus".
    """
    documents, problems = _documents(source)
    problems += [
        Problem(path=f"document {index}", message="an entry of kind's nodes and one of ClusterExtras' are a node; this would be ignored")
        for index in range(3, len(documents) + 1)
    ]
    node, extras = (*documents, Document({}, []), Document({}, []))[:2]
    if isinstance(node.value, Mapping):
        node = node._replace(value={**node.value, "role": role or node.value.get("role") or Role.WORKER.value})
    parts = [
        _in_nodes(_models.Cluster, node, {"role": Role.CONTROL_PLANE.value}),  # which a cluster that is there has
        _in_nodes(_extras_models.ClusterExtras, extras),
    ]
    config = _decoded(parts, problems)
    return replace(config, nodes=config.nodes[:1])


def _in_nodes(model: Model, node: Document, *others: Mapping[str, Any]) -> Document:
    """A document of `model` with this node as the first."""
    problems = [replace(each, path=f"nodes[0].{each.path}") for each in node.problems]
    return Document({**model.HEAD, "nodes": [node.value, *others]}, problems)


def _documents(source: Source) -> tuple[list[Document], list[Problem]]:
    if isinstance(source, Mapping):
        source = [source]
    if isinstance(source, Path):
        source = source.read_bytes()
    if isinstance(source, bytes):
        try:
            source = source.decode()
        except UnicodeDecodeError as error:
            raise ConfigInvalid([Problem(path="", message=f"not UTF-8: {error}")]) from error
    return load_stream(source) if isinstance(source, str) else ([Document(each, []) for each in source], [])


def _decoded(documents: Sequence[Document], problems: list[Problem]) -> ClusterConfig:
    """The configuration that these documents are; `problems`: of the stream that they were read from."""
    extras_document = next((each for each in documents if _is(_extras_models.ClusterExtras, each)), None)
    others = [each for each in documents if not _is(_extras_models.ClusterExtras, each)]
    cluster_document = next((each for each in others if _is(_models.Cluster, each)), others[0] if others else None)
    if not cluster_document and not problems:
        message = f"there is no {_NEEDED} beside it" if extras_document else f"empty: it needs at least {_NEEDED}"
        problems = [Problem(path="", message=message)]
    problems += [
        Problem(path=f"document {index}", message="one Cluster and one ClusterExtras are a configuration; this document would be ignored")
        for index, each in enumerate(documents, 1)
        if each is not cluster_document and each is not extras_document
    ]
    cluster, extras = _part(_models.Cluster, cluster_document), _part(_extras_models.ClusterExtras, extras_document)
    config = replace(cluster.frozen or ClusterConfig(), extras=extras.frozen or ClusterExtras())
    unknown = Unknown(cluster.unknown | extras.unknown)
    problems += [*cluster.problems, *extras.problems]
    problems += [problem for problem in problems_of(config, unknown) if problem.path not in unknown]
    if problems:
        raise ConfigInvalid(problems)
    return config


def _is(model: Model, candidate: Document) -> bool:
    """Whether a document says that it is one of `model`, be it with another version, or without one."""
    value, group = candidate.value, model.HEAD["apiVersion"].partition("/")[0]
    return isinstance(value, Mapping) and (value.get("kind") == model.HEAD["kind"] or str(value.get("apiVersion")).startswith(f"{group}/"))


def _part(model: Model, source: Document | None) -> _Part:
    if source is None:
        return _Part()
    problems = tuple(replace(each, path=f"{model.PREFIX}.{each.path}" if model.PREFIX else each.path) for each in source.problems)
    frozen, errors = _validated(model, source.value)
    problems += tuple(_problem(each, model) for each in errors)
    unknown = frozenset(_path(each["loc"], model.PREFIX) for each in errors)
    if not frozen:
        unknown |= {model.PREFIX} if model.PREFIX else {"nodes", "networking"}
    return _Part(frozen, problems, unknown)


def _validated(model: Model, value: object) -> tuple[Any, list[Any]]:
    """The frozen document, and pydantic's errors: what is broken is left out, and in lists filled in, by a mapping, or a text where that has to be one."""
    errors: list[Any] = []
    fillers: dict[Loc, object] = {}
    for filler in _FILLERS:
        filled = _filled(value, fillers)
        try:
            return model.model_validate({**model.HEAD, **filled} if errors and isinstance(filled, dict) else filled).frozen(), errors
        except ValidationError as error:
            errors = errors or list(error.errors())
            fillers |= {each["loc"]: filler for each in error.errors()}
    return None, errors


def _filled(value: object, fillers: Mapping[Loc, object], path: Loc = ()) -> Any:
    """`value` without the fields that are broken, and with fillers for items of lists: those behind them keep their places."""
    if isinstance(value, Mapping):
        return {key: _filled(item, fillers, (*path, key)) for key, item in value.items() if (*path, key) not in fillers}
    if isinstance(value, list):
        return [
            fillers[*path, index] if (*path, index) in fillers else _filled(item, fillers, (*path, index))
            for index, item in enumerate(value)
        ]
    return value


def _path(loc: Loc, path: str = "") -> str:
    for part in loc:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return path


def _fields(model: Model) -> set[str]:
    """The names of all fields in a document of this model."""
    schema = model.model_json_schema()
    return {name for each in (schema, *schema.get("$defs", {}).values()) for name in each.get("properties", ())}


def _problem(error: Any, model: Model) -> Problem:
    path = _path(error["loc"], model.PREFIX)
    given = error.get("input")
    match error["type"]:
        case "extra_forbidden":
            message = "there is no such field"
            fields = {name.lower(): name for name in _fields(model)}
            if meant := get_close_matches(str(error["loc"][-1]).lower(), fields, n=1, cutoff=0.8):
                message += f"; {fields[meant[0]]} is one"
        case "missing":
            message = "is required"
        case "literal_error":
            message = f"must be {error['ctx']['expected']}, not {_shown(given)}"
        case "model_type" | "dict_type":
            message = f"must be a mapping, not {_shown(given)}"
            if not path and isinstance(given, str) and given.endswith((".yaml", ".yml", ".json")):
                message += "; text is read as YAML, a path is a pathlib.Path"
        case "list_type":
            message = f"must be a list, not {_shown(given)}"
        case "string_type":
            message = f"must be a text{', as after a |' if isinstance(given, Mapping) else ''}, not {_shown(given)}"
        case "int_type":
            message = f"must be an integer, not {_shown(given)}"
        case "bool_type":
            message = f"must be true or false, not {_shown(given)}"
        case _:
            message = str(error["msg"])
    return Problem(path=path, message=message)


def _shown(value: object) -> str:
    text = f'"{value}"' if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
