"""Decoding: from YAML or data to the frozen configuration, strictly, with all problems at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_origin

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from kindasync.config import _document as document
from kindasync.config._rules import problems_of
from kindasync.config._yaml import Scalar, load_documents
from kindasync.errors import ConfigInvalid, Problem

API_VERSION = "kind.x-k8s.io/v1alpha4"


def _text(value: object) -> object:
    return str(value) if isinstance(value, Scalar) else value


def _number_or_truth(kind: str) -> BeforeValidator:
    """What YAML takes for `kind`; a text that looks like it stays a text, and so is refused."""

    def convert(value: object) -> object:
        if not isinstance(value, Scalar):
            return value
        return yaml.safe_load(str(value)) if value.kind == kind else str(value)

    return BeforeValidator(convert)


def _upper(value: object) -> object:
    return str(value).upper() if isinstance(value, str) else value


Text = Annotated[str, BeforeValidator(_text)]
Integer = Annotated[int, _number_or_truth("an integer")]
Boolean = Annotated[bool, _number_or_truth("true or false")]
OneOf = BeforeValidator(_text)
Loc = tuple[int | str, ...]


class _Model(BaseModel):
    """One level of the document: no unknown fields; null means not given, as for kind, and so does an empty one of several words."""

    model_config = ConfigDict(extra="forbid", strict=True, alias_generator=to_camel)

    @model_validator(mode="before")
    @classmethod
    def _without_what_is_not_given(cls, value: object) -> object:
        if not isinstance(value, Mapping):
            return value
        choices = {to_camel(name) for name, field in cls.model_fields.items() if get_origin(field.annotation) is Literal}
        return {key: item for key, item in value.items() if item is not None and not (key in choices and item == "")}


class _Mount(_Model):
    host_path: Text = ""
    container_path: Text = ""
    read_only: Boolean = False
    selinux_relabel: Boolean = False
    propagation: Annotated[Literal["None", "HostToContainer", "Bidirectional"], OneOf] = "None"

    def frozen(self) -> document.ExtraMount:
        return document.ExtraMount(**{**dict(self), "propagation": document.Propagation(self.propagation)})


class _Port(_Model):
    container_port: Integer = 0
    host_port: Integer = document.PICKED_BY_KINDASYNC
    listen_address: Text = ""
    protocol: Annotated[Literal["TCP", "UDP", "SCTP"], BeforeValidator(_upper)] = "TCP"

    def frozen(self) -> document.PortMapping:
        return document.PortMapping(**{**dict(self), "protocol": document.Protocol(self.protocol)})


class _Patch(_Model):
    group: Text = ""
    version: Text = ""
    kind: Text = ""
    patch: Text = ""

    def frozen(self) -> document.PatchJson6902:
        return document.PatchJson6902(**dict(self))


class _Node(_Model):
    role: Annotated[Literal["control-plane", "worker"], OneOf] = "control-plane"
    image: Text = ""
    labels: dict[str, Text] = {}
    extra_mounts: list[_Mount] = []
    extra_port_mappings: list[_Port] = []
    kubeadm_config_patches: list[Text] = []
    kubeadm_config_patches_json6902: list[_Patch] = Field([], alias="kubeadmConfigPatchesJSON6902")

    def frozen(self) -> document.NodeConfig:
        return document.NodeConfig(
            role=document.Role(self.role),
            image=self.image,
            labels=dict(self.labels),
            extra_mounts=tuple(mount.frozen() for mount in self.extra_mounts),
            extra_port_mappings=tuple(port.frozen() for port in self.extra_port_mappings),
            kubeadm_config_patches=tuple(self.kubeadm_config_patches),
            kubeadm_config_patches_json6902=tuple(patch.frozen() for patch in self.kubeadm_config_patches_json6902),
        )


class _Networking(_Model):
    ip_family: Annotated[Literal["ipv4", "ipv6", "dual"], OneOf] = "ipv4"
    api_server_port: Integer = document.PICKED_BY_KINDASYNC
    api_server_address: Text = ""
    pod_subnet: Text = ""
    service_subnet: Text = ""
    disable_default_cni: Boolean = Field(False, alias="disableDefaultCNI")
    kube_proxy_mode: Annotated[Literal["iptables", "ipvs", "nftables", "none"], OneOf] = "iptables"
    dns_search: list[Text] | None = None

    def frozen(self) -> document.Networking:
        return document.Networking(
            **{
                **dict(self),
                "ip_family": document.IPFamily(self.ip_family),
                "kube_proxy_mode": document.ProxyMode(self.kube_proxy_mode),
                "dns_search": None if self.dns_search is None else tuple(self.dns_search),
            }
        )


class _Cluster(_Model):
    kind: Annotated[Literal["Cluster"], OneOf]
    api_version: Annotated[Literal["kind.x-k8s.io/v1alpha4"], OneOf]
    name: Text = ""
    nodes: list[_Node] = Field(default_factory=lambda: [_Node.model_validate({})])
    networking: _Networking = Field(default_factory=lambda: _Networking.model_validate({}))
    feature_gates: dict[str, Boolean] = {}
    runtime_config: dict[str, Text] = {}
    kubeadm_config_patches: list[Text] = []
    kubeadm_config_patches_json6902: list[_Patch] = Field([], alias="kubeadmConfigPatchesJSON6902")
    containerd_config_patches: list[Text] = []
    containerd_config_patches_json6902: list[Text] = Field([], alias="containerdConfigPatchesJSON6902")

    def frozen(self) -> document.ClusterConfig:
        return document.ClusterConfig(
            name=self.name,
            nodes=tuple(node.frozen() for node in self.nodes) or (document.NodeConfig(),),
            networking=self.networking.frozen(),
            feature_gates=dict(self.feature_gates),
            runtime_config=dict(self.runtime_config),
            kubeadm_config_patches=tuple(self.kubeadm_config_patches),
            kubeadm_config_patches_json6902=tuple(patch.frozen() for patch in self.kubeadm_config_patches_json6902),
            containerd_config_patches=tuple(self.containerd_config_patches),
            containerd_config_patches_json6902=tuple(self.containerd_config_patches_json6902),
        )


def load(source: str | bytes | Path | Mapping[str, Any]) -> document.ClusterConfig:
    """Read a configuration: YAML text, a path to such a file, or the same as data.

    Raises: ConfigInvalid with all problems of shape and, where the shape allows to look for them, of the rules; OSError for a file.
    """
    if isinstance(source, Mapping):
        return _decoded(dict(source), [])
    if isinstance(source, Path):
        source = source.read_bytes()
    if isinstance(source, bytes):
        try:
            source = source.decode()
        except UnicodeDecodeError as error:
            raise ConfigInvalid([Problem(path="", message=f"not UTF-8: {error}")]) from error
    documents, problems = load_documents(source)
    if not documents and not problems:
        problems.append(Problem(path="", message=f"empty: it needs at least kind: Cluster and apiVersion: {API_VERSION}"))
    problems += [
        Problem(path=f"document {index}", message="one document per cluster; this one would be ignored")
        for index in range(2, len(documents) + 1)
    ]
    return _decoded(documents[0] if documents else None, problems)


def _decoded(value: object, problems: list[Problem]) -> document.ClusterConfig:
    config = None
    if value is not None or not problems:
        try:
            config = _Cluster.model_validate(value).frozen()
        except ValidationError as error:
            problems = problems + [_problem(item) for item in error.errors()] + _problems_beside(value, error.errors())
    if config:
        problems = problems + problems_of(config)
    if problems:
        raise ConfigInvalid(problems)
    assert config is not None
    return config


def _problems_beside(value: object, errors: Sequence[Any]) -> list[Problem]:
    """What the rules say about the parts of a document whose shape is right."""
    broken = {error["loc"] if error["type"] == "extra_forbidden" else _unit(error["loc"]) for error in errors}
    rest = _without(value, broken)
    if not isinstance(rest, dict):
        return []
    try:
        config = _Cluster.model_validate({"kind": "Cluster", "apiVersion": API_VERSION, **rest}).frozen()
    except ValidationError:
        return []
    left_out = tuple(_path(loc) for loc in broken)
    return [problem for problem in problems_of(config) if not problem.path.startswith(left_out)]


def _unit(loc: Loc) -> Loc:
    """What to leave out if `loc` is broken: all that the rules see together with it."""
    if loc[:1] != ("nodes",):
        return loc[:1]
    return loc[:4] if len(loc) > 2 and loc[2] in ("extraMounts", "extraPortMappings") else loc[:3]


def _without(value: object, broken: set[Loc], path: Loc = ()) -> object:
    if isinstance(value, Mapping):
        return {key: _without(item, broken, (*path, key)) for key, item in value.items() if (*path, key) not in broken}
    if isinstance(value, list):
        return [{} if (*path, index) in broken else _without(item, broken, (*path, index)) for index, item in enumerate(value)]
    return value


def _path(loc: Loc) -> str:
    path = ""
    for part in loc:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return path


def _problem(error: Any) -> Problem:
    path = _path(error["loc"])
    given = error.get("input")
    match error["type"]:
        case "extra_forbidden":
            message = "there is no such field"
        case "missing":
            message = "is required"
        case "literal_error":
            message = f"must be {error['ctx']['expected']}, not {_shown(given)}"
        case "model_type" | "dict_type":
            message = f"must be a mapping, not {_shown(given)}"
        case "list_type":
            message = f"must be a list, not {_shown(given)}"
        case "string_type":
            message = f"must be a text, not {_shown(given)}"
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
