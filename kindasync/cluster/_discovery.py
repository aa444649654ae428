"""Discovery: the resources that an API server serves, and how users refer to them and their objects."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import quote, urlencode

from kindasync.errors import ClusterError

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_VERSION = re.compile(r"v\d+((alpha|beta)\d+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A kind of objects and its place in the API. Shape: `api_version` "apps/v1"; `names`, in small letters, all that it may be called."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool
    names: frozenset[str]

    @classmethod
    def of_list(cls, api_version: str, item: Mapping[str, Any]) -> Self:
        """From an item of an APIResourceList."""
        return cls._of(api_version, {**item, "plural": item["name"], "singular": item.get("singularName")}, item["namespaced"])

    @classmethod
    def of_definition(cls, definition: Mapping[str, Any]) -> list[Self]:
        """From a CustomResourceDefinition, one for each version that it serves, the one that is stored first."""
        spec = definition["spec"]
        served = sorted((each for each in spec["versions"] if each["served"]), key=lambda each: not each["storage"])
        return [cls._of(f"{spec['group']}/{each['name']}", spec["names"], spec["scope"] == "Namespaced") for each in served]

    @classmethod
    def _of(cls, api_version: str, names: Mapping[str, Any], namespaced: bool) -> Self:
        kind, plural = names["kind"], names["plural"]
        every = (kind, plural, names.get("singular") or kind, *(names.get("shortNames") or ()))
        return cls(api_version=api_version, kind=kind, plural=plural, namespaced=namespaced, names=frozenset(map(str.lower, every)))

    def path(self, namespace: str | None, name: str = "") -> str:
        """The path of a collection, or of one object in it. `namespace` None: all of them."""
        within = f"/namespaces/{quote(namespace, safe='')}" if self.namespaced and namespace is not None else ""
        return f"{root(self.api_version)}{within}/{self.plural}" + (f"/{quote(name, safe='')}" if name else "")

    def label(self, document: Mapping[str, Any], namespace: str = "") -> str:
        """How errors call an object: "Deployment default/web"."""
        metadata = document["metadata"]
        within = metadata.get("namespace") or namespace
        return f"{self.kind} {within}/{metadata['name']}" if self.namespaced and within else f"{self.kind} {metadata['name']}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Called:
    """What a user calls a resource, as kubectl takes it: "deployment", "deployments.apps", "widgets.v1.example.com". Empty fields: any."""

    name: str
    version: str = ""
    group: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        name, _, group = text.lower().partition(".")
        version, _, rest = group.partition(".")
        if _VERSION.fullmatch(version):
            return cls(name=name, version=version, group=rest)
        return cls(name=name, group=group)

    def means(self, resource: Resource) -> bool:
        """Whether it is that resource."""
        group, _, version = resource.api_version.rpartition("/")
        return self.name in resource.names and self.group in ("", group) and self.version in ("", version)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Objects as a user refers to them. Shape: `name` empty: all of the kind that have the labels of `selector`; `namespace` None: any."""

    text: str
    called: Called
    name: str
    namespace: str | None
    selector: str = ""

    @classmethod
    def parse(cls, text: str, *, namespace: str | None, selector: str = "") -> Self:
        """From "deployment/web", "widgets.example.com/first", or "pod" for all. Raises: ClusterError."""
        kind, slash, name = text.partition("/")
        if not kind or (slash and not name) or "/" in name or (name and selector):
            raise ClusterError(
                f'"{text}" refers to no object' + (f' with selector "{selector}"' if selector else ""),
                hint='forms: "deployment/web", "widgets.example.com/first"; "pod" for all, or for those of a selector',
            )
        return cls(text=text, called=Called.parse(kind), name=name, namespace=namespace, selector=selector)

    def __str__(self) -> str:
        which = self.text if self.name else f"every {self.text}" + (f" with {self.selector}" if self.selector else "")
        return which + (f" in namespace {self.namespace}" if self.namespace else "")

    @property
    def query(self) -> str:
        """What selects the objects of a collection."""
        selectors = {"fieldSelector": f"metadata.name={self.name}" if self.name else "", "labelSelector": self.selector}
        return urlencode({name: value for name, value in selectors.items() if value})


def root(api_version: str) -> str:
    """The path of a group and version."""
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
