"""Assembly: what the nodes of one create wait for from each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import anyio

from kindasync.docker.containers import Container

Value = TypeVar("Value")


class Once(Generic[Value]):
    """A value that is there from some moment on; any number of tasks wait for it."""

    def __init__(self) -> None:
        self._there = anyio.Event()

    def set(self, value: Value) -> None:
        """Give the value, once."""
        self._value = value
        self._there.set()

    async def get(self) -> Value:
        """The value, as soon as it is there. No timeout: if it never comes, its maker has failed, and that ends the create."""
        await self._there.wait()
        return self._value


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """What the first control plane's kubeadm has made and others need: its kubeconfigs by file name, and keys by path; and from which documents."""

    confs: Mapping[str, Any]
    keys: Mapping[str, bytes] = field(repr=False)
    documents: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """What others are told of the cluster's registries: nodes by containerd's files, `hosts`, by path; tools by an object, `hosting`.

    Empty: there is nothing to be told.
    """

    hosts: Mapping[str, bytes | str] = field(default_factory=dict)
    hosting: str = ""


class Assembly:
    """What is there once: the first control plane's `authority`, while it is paused; `balancer`; `registry`;
    `registered`, when all nodes' objects are made; `accepting`, when nodes may join; `all_joined`; `finished`.

    `founders`: the control planes, if all of them are initialised at once; `members`: their addresses, when all have told theirs.
    Otherwise `etcd` is held by who joins as a control plane: it takes one new member at a time. `registry` None: it is still to come.
    """

    def __init__(self, joining: Iterable[str], *, founders: Iterable[str] = (), registry: Registry | None = Registry()) -> None:
        self.founders = frozenset(founders)
        self.members: Once[Mapping[str, str]] = Once()
        self._members: dict[str, str] = {}
        self.authority: Once[Authority] = Once()
        self.balancer: Once[Container] = Once()
        self.registry: Once[Registry] = Once()
        self.registered: Once[None] = Once()
        self.accepting: Once[None] = Once()
        self.all_joined: Once[None] = Once()
        self.finished: Once[None] = Once()
        self.etcd = anyio.Lock()
        self._documents: dict[str, Once[str]] = {}
        if registry:
            self.registry.set(registry)
        self._missing = set(joining)
        self._see_whether_all_joined()

    def founds(self, node: str, address: str) -> None:
        """Note where the etcd member of a founder will be."""
        self._members[node] = address
        if self._members.keys() == self.founders:
            self.members.set(self._members)

    def documents(self, node: str) -> Once[str]:
        """kubeadm's documents of a node, as it gets them."""
        return self._documents.setdefault(node, Once())

    def has_joined(self, node: str) -> None:
        """Note that a node is a member of the cluster."""
        self._missing.remove(node)
        self._see_whether_all_joined()

    def _see_whether_all_joined(self) -> None:
        if not self._missing:
            self.all_joined.set(None)
