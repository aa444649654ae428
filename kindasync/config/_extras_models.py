"""The shape of our own document, ClusterExtras: its fields, their types and defaults, and what they mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from kindasync.config import _extras as extras
from kindasync.config._models import Amount, Boolean, Integer, Model, OneOf, Text, Value, required


class NetworkExtras(Model):
    """The network of the nodes, on the Engine."""

    name: Text = Field(
        "", description="The Engine's network; made if it is not there. By default kind, or as KIND_EXPERIMENTAL_DOCKER_NETWORK says."
    )
    ipv4_subnet: Text = Field(
        "", description="Its IPv4 addresses (CIDR), when it is made; twice as many as the cluster has containers, and four."
    )
    ipv6_subnet: Text = Field("", description="Its IPv6 addresses (CIDR), when it is made.")

    def frozen(self) -> extras.NetworkExtras:
        return extras.NetworkExtras(**dict(self))


class NodeExtras(Model):
    """What the container of one node has beside kind's fields."""

    cpus: Amount = Field("", description="A limit of processors, such as 1.5 or 1500m; what the node offers to pods agrees with it.")
    memory: Amount = Field("", description="A limit of memory, such as 2Gi; what the node offers to pods agrees with it.")
    extra_hosts: dict[str, Text] = Field(
        {}, description="Addresses by host name, for the node's programs such as containerd; host-gateway: that of the Engine's host."
    )
    labels: dict[str, Value] = Field({}, description="Labels of the container.")

    def frozen(self) -> extras.NodeExtras:
        return extras.NodeExtras(cpus=self.cpus, memory=self.memory, extra_hosts=dict(self.extra_hosts), labels=dict(self.labels))


class LocalRegistry(Model):
    """A registry that the nodes and this machine reach."""

    name: Text = Field("", description="The name of its container.")
    host_port: Integer = Field(0, description="Its port on the Engine's host, on loopback. 0: picked.")

    def frozen(self) -> extras.LocalRegistry:
        return extras.LocalRegistry(**dict(self))


class RegistryMirror(Model):
    """A pull-through mirror of a registry."""

    model_config = required("host")
    host: Text = Field("", description="The registry, as image references name it: docker.io, registry.k8s.io, example.com:5000.")
    remote_url: Text = Field("", alias="remoteURL", description="Where the registry is, if not at https and its name.")
    username: Text = Field("", description="Who asks the registry; by default nobody. All pods can then pull what this user may.")
    password_file: Text = Field("", description="A file with the user's password or token, on the machine that creates the cluster.")

    def frozen(self) -> extras.RegistryMirror:
        return extras.RegistryMirror(**dict(self))


class Registries(Model):
    """Registries of the cluster's own."""

    local: LocalRegistry | None = Field(None, description="A registry to push to from this machine and pull from in the nodes.")
    mirrors: list[RegistryMirror] = Field([], description="Pull-through mirrors: images are fetched once, for all nodes.")

    def frozen(self) -> extras.Registries:
        return extras.Registries(
            local=self.local.frozen() if self.local else None, mirrors=tuple(mirror.frozen() for mirror in self.mirrors)
        )


class ClusterExtras(Model):
    """What kindasync can do beyond kind's configuration. It stands after kind's document, in the same file."""

    HEAD: ClassVar[Mapping[str, str]] = {"kind": "ClusterExtras", "apiVersion": "kindasync/v1alpha1"}
    PREFIX: ClassVar[str] = "extras"

    kind: Annotated[Literal["ClusterExtras"], OneOf] = Field(description="ClusterExtras: kindasync's document.")
    api_version: Annotated[Literal["kindasync/v1alpha1"], OneOf] = Field(description="The version of kindasync's format.")
    wait: Amount = Field(
        "", description="How long to wait until the cluster is ready, such as 90s or 1m30s; 0: not at all. --wait wins over it."
    )
    wait_for_dns: Boolean = Field(
        False, alias="waitForDNS", description="Wait for the cluster's DNS, too; but not where the default pod network is left out."
    )
    preload: list[Text] = Field(
        [], description="Image archives, loaded into each node before it boots; relative ones are below the working directory."
    )
    network: NetworkExtras = Field(default_factory=lambda: NetworkExtras.model_validate({}), description="The network of the nodes.")
    nodes: list[NodeExtras] = Field([], description="By position: the first is for the first of kind's nodes.")
    registries: Registries = Field(default_factory=lambda: Registries.model_validate({}), description="Registries of the cluster's own.")

    def frozen(self) -> extras.ClusterExtras:
        return extras.ClusterExtras(
            wait=self.wait,
            wait_for_dns=self.wait_for_dns,
            preload=tuple(self.preload),
            network=self.network.frozen(),
            nodes=tuple(node.frozen() for node in self.nodes),
            registries=self.registries.frozen(),
        )
