"""Run: one operation that makes or removes nodes, as all its steps know it."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import uuid4

from kindasync import events
from kindasync.cluster._addresses import host_ports
from kindasync.config import DEFAULT_NAME, ClusterConfig
from kindasync.docker import Connection
from kindasync.errors import AlreadyExists, ConfigInvalid, EngineUnreachable, ImageUnusable, KindasyncError, NotReady, StepFailed, redacted
from kindasync.events import Bus, Event
from kindasync.node import PausedNode

Hook = Callable[[PausedNode], Awaitable[None]]
AnyEvent = TypeVar("AnyEvent", bound=Event)

# These say all by themselves; any other error is said to have failed a step.
_WHOLE = (AlreadyExists, ConfigInvalid, EngineUnreachable, ImageUnusable, NotReady, StepFailed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What an operation is asked for. `wait_s` 0: return as soon as kubeadm is through; `scoped`: it ends with its process, as the context that it is made for; `labels` of the nodes' containers."""

    config: ClusterConfig
    image: str = ""
    wait_s: float = 120.0
    before_boot: Sequence[Hook] = ()
    retain: bool = False
    scoped: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def cluster(self) -> str:
        return self.config.name or DEFAULT_NAME


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One operation. `id` is on every object that it makes; `token` joins nodes while it lasts, and is shown nowhere."""

    connection: Connection
    bus: Bus
    request: Request
    network: str
    host_ports: range = field(default_factory=host_ports)
    id: str = field(default_factory=lambda: uuid4().hex)
    token: str = field(default_factory=lambda: f"{secrets.token_hex(3)}.{secrets.token_hex(8)}", repr=False)

    @property
    def cluster(self) -> str:
        return self.request.cluster

    def emit(self, kind: type[AnyEvent], *, node: str = "", since: float | None = None, **fields: Any) -> None:
        """Emit an event of this cluster; `since`: when the stage that it ends began."""
        if since is not None:
            fields["duration_s"] = self.bus.elapsed_s() - since
        self.bus.emit(kind(cluster=self.cluster, node=node, **fields))

    @contextmanager
    def step(self, step: str, *, node: str = "") -> Iterator[float]:
        """Whatever fails inside is said, at once, to have failed this step. Yields when it began.

        What is not a KindasyncError (of a user's hook, for example) is raised as it is.
        """
        try:
            yield self.bus.elapsed_s()
        except KindasyncError as error:
            if isinstance(error, StepFailed):
                raise
            self.emit(events.StepFailed, node=node, step=step, error=str(error))
            if isinstance(error, _WHOLE):
                raise
            raise StepFailed(step, self.cluster, [error]) from error
        except ExceptionGroup:
            raise  # of steps inside
        except Exception as error:
            self.emit(events.StepFailed, node=node, step=step, error=redacted(f"{type(error).__name__}: {error}"))
            raise
