"""The JSON Schema of a configuration, of a cluster or of a node that is added to one: what either of its documents may hold, for editors.

It is draft-07, which editors' YAML servers know best. What is as good as not given, null and the empty text in the place of one
of several words, is left out: an editor may well point at it.
"""

from __future__ import annotations

from typing import Any, get_type_hints

from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from kindasync.config._document import Role
from kindasync.config._extras_models import ClusterExtras, NodeExtras
from kindasync.config._models import Cluster, Model, Node


class _Terse(GenerateJsonSchema):
    """No titles for fields, which have their names; no defaults that are empty, for an editor would fill them in."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def default_schema(self, schema: Any) -> dict[str, Any]:
        result = super().default_schema(schema)
        return {key: value for key, value in result.items() if key != "default" or value not in ("", [], {}, None)}


def schema() -> dict[str, Any]:
    """The schema of one document: kind's or our own, told apart by apiVersion and kind."""
    return _schema(
        "oneOf",
        Cluster,
        ClusterExtras,
        text="A cluster: kind's configuration, and beside it, in a document of its own, what kindasync adds.",
    )


def node_schema() -> dict[str, Any]:
    """The schema of one document of `load_node`: an entry of kind's nodes or of our own, which only their places tell apart."""
    schema = _schema(
        "anyOf", Node, NodeExtras, text="A node: as an entry of kind's nodes, and in a second document as one of ClusterExtras'."
    )
    schema["definitions"]["Node"]["properties"]["role"]["default"] = Role.WORKER.value
    return schema


def _schema(choice: str, *models: type[Model], text: str) -> dict[str, Any]:
    _, definitions = models_json_schema(
        [(model, "validation") for model in models], ref_template="#/definitions/{model}", schema_generator=_Terse
    )
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "kindasync",
        "description": text,
        choice: [{"$ref": f"#/definitions/{model.__name__}"} for model in models],
        "definitions": definitions["$defs"],
    }


def descriptions() -> dict[type, dict[str, str]]:
    """What the fields of the frozen classes mean, in the schema's words, by class and name."""
    models = [model for model in Model.__subclasses__() if "frozen" in vars(model)]
    return {
        get_type_hints(model.__dict__["frozen"])["return"]: {name: field.description or "" for name, field in model.model_fields.items()}
        for model in models
    }
