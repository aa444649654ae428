"""The shape of kind's document: its fields, their types and defaults, and what they mean.

Source: kind's configuration, apiVersion kind.x-k8s.io/v1alpha4. The descriptions are for people, in their editors (`_schema`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic.alias_generators import to_camel

from kindasync.config import _document as document
from kindasync.config._yaml import Scalar

Loc = tuple[int | str, ...]


def _text(value: object) -> object:
    return str(value) if isinstance(value, Scalar) else value


def _value(value: object) -> object:
    return "" if value is None else _text(value)


def _amount(value: object) -> object:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else _text(value)


def _upper(value: object) -> object:
    return str(value).upper() if isinstance(value, str) else value


def _number_or_truth(kind: str) -> BeforeValidator:
    """What YAML takes for `kind`; a text that looks like it stays a text, and so is refused."""

    def convert(value: object) -> object:
        if not isinstance(value, Scalar):
            return value
        return value.value if value.kind == kind else str(value)

    return BeforeValidator(convert)


# Where a text is wanted, what YAML takes for a number stands for its spelling; and so does true, and nothing for an empty one, which only values of mappings may well be.
Text = Annotated[str, BeforeValidator(_text), WithJsonSchema({"type": ["string", "number"]})]
Value = Annotated[str, BeforeValidator(_value), WithJsonSchema({"type": ["string", "number", "boolean", "null"]})]
Amount = Annotated[str, BeforeValidator(_amount), WithJsonSchema({"type": ["string", "number"]})]
Integer = Annotated[int, _number_or_truth("an integer")]
Boolean = Annotated[bool, _number_or_truth("true or false")]
OneOf = BeforeValidator(_text)
Upper = Annotated[
    Literal["TCP", "UDP", "SCTP"],
    BeforeValidator(_upper),
    WithJsonSchema({"anyOf": [{"enum": ["TCP", "UDP", "SCTP"]}, {"pattern": "^([Tt][Cc][Pp]|[Uu][Dd][Pp]|[Ss][Cc][Tt][Pp])$"}]}),
]


def required(*fields: str) -> ConfigDict:
    """For fields that rules ask for, so that what is missing is told beside what is wrong."""
    return ConfigDict(json_schema_extra={"required": list(fields)})


class Model(BaseModel):
    """One level of a document: no unknown fields; null means not given, as for kind, and so does an empty one of several words."""

    model_config = ConfigDict(extra="forbid", strict=True, alias_generator=to_camel)

    @model_validator(mode="before")
    @classmethod
    def _without_what_is_not_given(cls, value: object) -> object:
        if not isinstance(value, Mapping):
            return value
        fields = {field.alias: get_origin(field.annotation) is Literal for field in cls.model_fields.values()}
        return {key: item for key, item in value.items() if key not in fields or not (item is None or (fields[key] and item == ""))}


class Mount(Model):
    """A file or directory of the Engine's host in the node."""

    model_config = required("hostPath", "containerPath")
    host_path: Text = Field("", description="The path on the Engine's host; a relative one is below the working directory.")
    container_path: Text = Field("", description="The path in the node, absolute.")
    read_only: Boolean = Field(False, description="The node cannot write to it.")
    selinux_relabel: Boolean = Field(False, description="Give it the SELinux label that containers may use.")
    propagation: Annotated[Literal["None", "HostToContainer", "Bidirectional"], OneOf] = Field(
        "None", description="Which mounts made below it later are seen on the other side."
    )

    def frozen(self) -> document.ExtraMount:
        return document.ExtraMount(**{**dict(self), "propagation": document.Propagation(self.propagation)})


class Port(Model):
    """A port of the node, published on the Engine's host."""

    model_config = required("containerPort")
    container_port: Integer = Field(0, description="The port in the node, 1 to 65535: that of a NodePort Service, or a hostPort of a pod.")
    host_port: Integer = Field(
        document.PICKED_BY_KINDASYNC,
        description="The port on the Engine's host. 0: picked when the cluster is created; -1: by the Engine, at every start.",
    )
    listen_address: Text = Field("", description="The address on the Engine's host; 0.0.0.0 by default.")
    protocol: Upper = Field("TCP", description="TCP, UDP or SCTP.")

    def frozen(self) -> document.PortMapping:
        return document.PortMapping(**{**dict(self), "protocol": document.Protocol(self.protocol)})


class Patch(Model):
    """A JSON patch (RFC 6902) for the kubeadm documents of one group, version and kind."""

    group: Text = Field("", description="The API group, such as kubeadm.k8s.io.")
    version: Text = Field("", description="The API version, such as v1beta4.")
    kind: Text = Field("", description="The kind, such as ClusterConfiguration.")
    patch: Text = Field("", description="The operations, a list in YAML or JSON, as a text.")

    def frozen(self) -> document.PatchJson6902:
        return document.PatchJson6902(**dict(self))


class Node(Model):
    """One node."""

    role: Annotated[Literal["control-plane", "worker"], OneOf] = Field(
        "control-plane", description="Several control planes get a balancer before them."
    )
    image: Text = Field("", description="The node image; its Kubernetes is the node's.")
    labels: dict[str, Value] = Field({}, description="Labels of the Node object.")
    extra_mounts: list[Mount] = Field([], description="Files and directories of the Engine's host.")
    extra_port_mappings: list[Port] = Field([], description="Ports published on the Engine's host.")
    kubeadm_config_patches: list[Text] = Field([], description="Merge patches for this node's kubeadm documents, after the cluster's.")
    kubeadm_config_patches_json6902: list[Patch] = Field(
        [], alias="kubeadmConfigPatchesJSON6902", description="JSON patches for this node's kubeadm documents, after all merge patches."
    )

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


class Networking(Model):
    """Addresses, and what serves them."""

    ip_family: Annotated[Literal["ipv4", "ipv6", "dual"], OneOf] = Field(
        "ipv4", description="Address families of nodes, pods and Services."
    )
    api_server_port: Integer = Field(
        document.PICKED_BY_KINDASYNC,
        description="The API server's port on the Engine's host. 0: picked when the cluster is created; -1: by the Engine, at every start.",
    )
    api_server_address: Text = Field("", description="The API server's address on the Engine's host; loopback by default.")
    pod_subnet: Text = Field("", description="The pods' addresses (CIDR); for dual, two with a comma. 10.244.0.0/16 by default.")
    service_subnet: Text = Field("", description="The Services' addresses (CIDR); for dual, two with a comma. 10.96.0.0/16 by default.")
    disable_default_cni: Boolean = Field(
        False, alias="disableDefaultCNI", description="Leave out the pod network; nodes are Ready once you have installed another."
    )
    kube_proxy_mode: Annotated[Literal["iptables", "ipvs", "nftables", "none"], OneOf] = Field(
        "iptables", description="How kube-proxy does its work; none: it is not installed."
    )
    dns_search: list[Text] | None = Field(None, description="The nodes' DNS search domains, instead of those of the Engine's host.")

    def frozen(self) -> document.Networking:
        return document.Networking(
            **{
                **dict(self),
                "ip_family": document.IPFamily(self.ip_family),
                "kube_proxy_mode": document.ProxyMode(self.kube_proxy_mode),
                "dns_search": None if self.dns_search is None else tuple(self.dns_search),
            }
        )


class Cluster(Model):
    """A cluster, as kind's configuration describes it."""

    HEAD: ClassVar[Mapping[str, str]] = {"kind": "Cluster", "apiVersion": "kind.x-k8s.io/v1alpha4"}
    PREFIX: ClassVar[str] = ""

    kind: Annotated[Literal["Cluster"], OneOf] = Field(description="Cluster: kind's document.")
    api_version: Annotated[Literal["kind.x-k8s.io/v1alpha4"], OneOf] = Field(description="The version of kind's format.")
    name: Text = Field("", description="The cluster's name; the command's --name and KIND_CLUSTER_NAME win over it.")
    nodes: list[Node] = Field(default_factory=lambda: [Node.model_validate({})], description="The nodes; one control plane by default.")
    networking: Networking = Field(
        default_factory=lambda: Networking.model_validate({}), description="Addresses, and what serves them: API server, pods, Services."
    )
    feature_gates: dict[str, Boolean] = Field({}, description="Kubernetes feature gates, for all components.")
    runtime_config: dict[str, Value] = Field(
        {}, description="APIs that the API server is to serve, as its --runtime-config: api/alpha: true."
    )
    kubeadm_config_patches: list[Text] = Field([], description="Merge patches for kubeadm's documents, each a YAML text with a kind.")
    kubeadm_config_patches_json6902: list[Patch] = Field(
        [], alias="kubeadmConfigPatchesJSON6902", description="JSON patches for kubeadm's documents."
    )
    containerd_config_patches: list[Text] = Field([], description="Merge patches for containerd's configuration, each a TOML text.")
    containerd_config_patches_json6902: list[Text] = Field(
        [], alias="containerdConfigPatchesJSON6902", description="JSON patches for containerd's configuration, each a text."
    )

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
