# Made by python -m tests.sync_stub.
import builtins
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal, overload

from kindasync import cluster, node
from kindasync.cluster._apply import Manifest
from kindasync.cluster._cluster import AnyNode, Objects
from kindasync.cluster._conditions import Predicate
from kindasync.cluster._pool import Pool
from kindasync.cluster._port_forward import Address
from kindasync.cluster._requests import AnyConfig
from kindasync.cluster._run import Hook
from kindasync.cluster._snapshots import Snapshot
from kindasync.config import Role
from kindasync.docker._engine import Engine
from kindasync.docker.execs import ExecResult, OnOutput, Sizes
from kindasync.errors import KindasyncError
from kindasync.events import Bus, Callback
from kindasync.node._files import File

class Node:
    @property
    def asynchronous(self) -> node.Node: ...
    @property
    def engine(self) -> Engine: ...
    @property
    def cluster(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def id(self) -> str: ...
    @property
    def role(self) -> Role: ...
    def exec(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = ...,
        stdin: bytes | AsyncIterator[bytes] | None = ...,
        check: bool = ...,
        on_output: OnOutput | None = ...,
        on_error: OnOutput | None = ...,
        sizes: Sizes | None = ...,
    ) -> ExecResult: ...
    def put(self, files: Mapping[str, bytes | str | File]) -> None: ...
    def get(self, path: str) -> bytes: ...
    def published(self, port: int, protocol: str = ...) -> str: ...
    @overload
    def logs(self, *, tail: str = ..., follow: Literal[False] = ...) -> str: ...
    @overload
    def logs(self, *, tail: str = ..., follow: Literal[True]) -> Iterator[str]: ...
    def paused(self, *, wait_s: float = ...) -> AbstractContextManager[None]: ...
    def killed(self, *, wait_s: float = ...) -> AbstractContextManager[None]: ...
    def disconnected(self, *, wait_s: float = ...) -> AbstractContextManager[None]: ...

class Cluster:
    @property
    def asynchronous(self) -> cluster.Cluster: ...
    @property
    def name(self) -> str: ...
    @property
    def engine(self) -> Engine: ...
    @property
    def kubeconfig(self) -> dict[str, Any]: ...
    @property
    def kubeconfig_path(self) -> Path: ...
    @property
    def nodes(self) -> tuple[Node, ...]: ...
    @property
    def internal_kubeconfig(self) -> dict[str, Any]: ...
    @classmethod
    def create(
        cls,
        name: str | None = ...,
        *,
        config: AnyConfig | None = ...,
        image: str = ...,
        wait_s: float | None = ...,
        on_event: Callback | Bus | None = ...,
        before_boot: Sequence[Hook] = ...,
        retain: bool = ...,
        engine: Engine | str | None = ...,
    ) -> Cluster: ...
    @classmethod
    def create_many(
        cls,
        configs: Iterable[AnyConfig | None],
        *,
        limit: int | None = ...,
        image: str = ...,
        wait_s: float | None = ...,
        on_event: Callback | Bus | None = ...,
        before_boot: Sequence[Hook] = ...,
        retain: bool = ...,
        engine: Engine | str | None = ...,
    ) -> builtins.list[Cluster | KindasyncError]: ...
    @classmethod
    def claim(
        cls, pool: str = ..., *, wait_s: float = ..., on_event: Callback | Bus | None = ..., engine: Engine | str | None = ...
    ) -> Cluster: ...
    @classmethod
    def fill_pool(
        cls,
        pool: str = ...,
        *,
        size: int,
        config: AnyConfig | None = ...,
        image: str = ...,
        wait_s: float | None = ...,
        limit: int | None = ...,
        on_event: Callback | Bus | None = ...,
        engine: Engine | str | None = ...,
    ) -> builtins.list[str]: ...
    @staticmethod
    def pools(*, engine: Engine | str | None = ...) -> builtins.list[Pool]: ...
    @staticmethod
    def delete_pool(pool: str = ..., *, on_event: Callback | Bus | None = ..., engine: Engine | str | None = ...) -> builtins.list[str]: ...
    @classmethod
    def get(cls, name: str, *, engine: Engine | str | None = ...) -> Cluster: ...
    @staticmethod
    def list(*, engine: Engine | str | None = ...) -> builtins.list[str]: ...
    def delete(self, *, on_event: Callback | Bus | None = ...) -> None: ...
    def load_image(self, *references: str, nodes: Sequence[str] | None = ..., on_event: Callback | Bus | None = ...) -> None: ...
    def load_archive(self, path: Path | str, *, nodes: Sequence[str] | None = ..., on_event: Callback | Bus | None = ...) -> None: ...
    def stop(self, *, on_event: Callback | Bus | None = ...) -> None: ...
    def start(self, *, wait_s: float = ..., on_event: Callback | Bus | None = ...) -> None: ...
    def reset(self, *, on_event: Callback | Bus | None = ...) -> None: ...
    def snapshot(self, name: str) -> Snapshot: ...
    def restore(self, name: str, *, on_event: Callback | Bus | None = ...) -> None: ...
    def snapshots(self) -> tuple[Snapshot, ...]: ...
    def delete_snapshot(self, name: str) -> None: ...
    def add_node(
        self,
        role: Role | str | None = ...,
        *,
        config: AnyNode | None = ...,
        image: str = ...,
        wait_s: float = ...,
        on_event: Callback | Bus | None = ...,
    ) -> Node: ...
    def remove_node(
        self, node: Node | str, *, timeout_s: float = ..., force: bool = ..., on_event: Callback | Bus | None = ...
    ) -> None: ...
    def export_logs(self, directory: Path | str, *, on_event: Callback | Bus | None = ...) -> None: ...
    @classmethod
    def running(
        cls,
        config: AnyConfig | None = ...,
        *,
        name: str | None = ...,
        image: str = ...,
        wait_s: float | None = ...,
        on_event: Callback | Bus | None = ...,
        before_boot: Sequence[Hook] = ...,
        retain: bool = ...,
        engine: Engine | str | None = ...,
    ) -> AbstractContextManager[Cluster]: ...
    def apply(self, manifest: Manifest, *, namespace: str = ..., timeout_s: float = ...) -> Objects: ...
    def wait_for(
        self, reference: str, condition: str | Predicate, *, selector: str = ..., namespace: str | None = ..., timeout_s: float = ...
    ) -> Objects: ...
    def events(self, *, namespace: str | None = ...) -> Iterator[dict[str, Any]]: ...
    def env(self) -> dict[str, str]: ...
    def exec(
        self,
        reference: str,
        argv: Sequence[str],
        *,
        container: str = ...,
        namespace: str = ...,
        stdin: bytes | AsyncIterator[bytes] | None = ...,
        check: bool = ...,
    ) -> ExecResult: ...
    def port_forward(
        self, reference: str, port: int | str, *, namespace: str = ..., local_port: int = ..., on_event: Callback | Bus | None = ...
    ) -> AbstractContextManager[Address]: ...

__all__ = ["Cluster", "Node"]
