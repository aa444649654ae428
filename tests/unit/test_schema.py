"""The JSON Schema of a configuration: its verdict is `load`'s, as far as shape goes, and it explains every field."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, get_args

import pytest
import yaml
from jsonschema import Draft7Validator

from kindasync.cli._main import main
from kindasync.config import load
from kindasync.config._decode import load_node
from kindasync.config._extras_models import ClusterExtras
from kindasync.config._models import Cluster, Model
from kindasync.config._schema import node_schema, schema
from kindasync.errors import ConfigInvalid
from tests.unit import test_config, test_extras

KIND, OURS = test_config.HEAD, test_config.HEAD + "---\n" + test_extras.OUR_HEAD


def validates(text: str) -> bool:
    """Whether every document is one of the two."""
    return all(Draft7Validator(schema()).is_valid(document) for document in yaml.safe_load_all(text))


def loads(text: str) -> bool:
    try:
        load(text)
    except ConfigInvalid:
        return False
    return True


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        (KIND, True),
        (OURS, True),
        (test_config.EVERYTHING, True),
        (test_extras.EVERYTHING, True),
        (KIND + "name: 1.30\nnodes: [{labels: {a: 1.30, b: true}}]\nruntimeConfig: {api/all: true}", True),
        (KIND + "nodes: [{extraPortMappings: [{containerPort: 80, protocol: udp}]}]", True),
        (OURS + "wait: 0\nnodes: [{cpus: 1.5}]", True),
        (OURS + "nodes: [{cpus: '1.5', labels: {a: 1}}]\nregistries: {local: {}}", True),
        ("kind: Pod\napiVersion: v1", False),
        (KIND.replace("v1alpha4", "v1alpha3"), False),
        (OURS.replace("kindasync/v1alpha1", "kindasync/v1"), False),
        (KIND + "extras: {}", False),
        (KIND + "nodes: {}", False),
        (KIND + "nodes: [{role: master}]", False),
        (KIND + "nodes: [{extraPortMappings: [{hostPort: 80}]}]", False),
        (KIND + "nodes: [{extraPortMappings: [{containerPort: '80'}]}]", False),
        (KIND + "nodes: [{extraPortMappings: [{containerPort: 80, protocol: icmp}]}]", False),
        (KIND + "nodes: [{extraMounts: [{hostPath: /a}]}]", False),
        (KIND + "networking: {disableDefaultCNI: 'true'}", False),
        (KIND + "featureGates: {A: 1}", False),
        (OURS + "foo: 1", False),
        (OURS + "nodes: [{cpus: true}]", False),
        (OURS + "preload: app.tar", False),
        (OURS + "registries: {mirrors: [{}]}", False),
    ],
)
def test_the_schema_is_of_one_mind_with_load(text: str, valid: bool) -> None:
    """What an editor marks is what a create would refuse."""
    assert (validates(text), loads(text)) == (valid, valid)


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("{}", True),
        ("image: kindasync/node:v1.37.2", True),
        ("role: control-plane\nextraPortMappings: [{containerPort: 80, hostPort: 8080}]", True),
        ("labels: {a: 1}\n---\ncpus: 1.5\nextraHosts: {a: host-gateway}", True),
        ("{}\n---\nmemory: 2Gi", True),
        ("role: master", False),
        ("nodes: [{}]", False),
        ("image: a\n---\ncpus: true", False),
        ("extraMounts: [{hostPath: /a}]", False),
        (KIND, False),
    ],
)
def test_the_schema_of_a_node(text: str, valid: bool) -> None:
    """Of one mind with what reads such a file."""
    validator = Draft7Validator(node_schema())
    try:
        load_node(text)
    except ConfigInvalid:
        loads = False
    else:
        loads = True
    assert (all(map(validator.is_valid, yaml.safe_load_all(text))), loads) == (valid, valid)
    assert node_schema()["definitions"]["Node"]["properties"]["role"]["default"] == load_node("{}").nodes[0].role


@pytest.mark.parametrize("of", [schema, node_schema])
def test_it_is_a_schema(of: Callable[[], Any]) -> None:
    """Of the draft that it names, and as JSON."""
    Draft7Validator.check_schema(json.loads(json.dumps(of())))


def models(model: type[Model]) -> Iterator[type[Model]]:
    """A model, and those of its fields."""
    yield model
    for field in model.model_fields.values():
        for part in (field.annotation, *get_args(field.annotation)):
            if isinstance(part, type) and issubclass(part, Model):
                yield from models(part)


@pytest.mark.parametrize("model", [*models(Cluster), *models(ClusterExtras)], ids=lambda model: model.__name__)
def test_every_field_is_explained(model: type[Model]) -> None:
    """A sentence for whoever points at it."""
    assert model.__doc__
    assert [name for name, field in model.model_fields.items() if not (field.description or "").endswith(".")] == []


@pytest.mark.parametrize(("arguments", "of"), [([], schema), (["--for", "cluster"], schema), (["--for", "node"], node_schema)])
def test_the_command_prints_it(arguments: list[str], of: Callable[[], Any], capsys: pytest.CaptureFixture[str]) -> None:
    """And nothing else."""
    assert main(["config", "schema", *arguments]) == 0
    assert json.loads(capsys.readouterr().out) == of()
