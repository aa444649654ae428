"""Events: what happened, one frozen class per fact, and the bus that carries them to listeners.

Names and fields are part of the public API. As JSON (`to_json`): `event`, `cluster`, `node`, `stage`, `time` (RFC 3339, UTC),
`monotonic_s` (seconds since the operation began), then the fields of the class, without those that are None or an empty text.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any, ClassVar

import anyio

_NOT_YET = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """The base of all events. `stage`, of the class: what it is a part of; `cluster` and `node`: the names, empty for none. The bus fills in `time` and `monotonic_s`."""

    stage: ClassVar[str] = ""
    cluster: str = ""
    node: str = ""
    time: datetime = _NOT_YET
    monotonic_s: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """The event as JSON-serialisable data, in the order that the module says."""
        common = {
            "event": type(self).__name__,
            "cluster": self.cluster,
            "node": self.node,
            "stage": self.stage,
            "time": self.time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "monotonic_s": round(self.monotonic_s, 3),
        }
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        for name, value in own.items():
            if name in common or value is None or value == "":
                continue
            common[name] = round(value, 3) if isinstance(value, float) else value
        return common


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed(Event):
    """A stage that ended. `duration_s`: seconds the stage took."""

    duration_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress(Event):
    """How far a stage is: `current` of `total` (None: not known), in `unit`. A listener that is slow gets the newest of each `subject` only."""

    subject: str = ""
    current: int
    total: int | None = None
    unit: str = "bytes"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePullProgress(Progress):
    """Bytes of an image that have arrived; `subject` is the layer."""

    stage: ClassVar[str] = "image"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePulled(Timed):
    """The node image, `image`, was pulled."""

    stage: ClassVar[str] = "image"
    image: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkCreated(Timed):
    """The network that the nodes share, `network`, was made; `subnets`: those asked for, in CIDR form."""

    stage: ClassVar[str] = "network"
    network: str
    subnets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkRemoved(Event):
    """A network that we made, `network`, and that no container names any more, was removed."""

    stage: ClassVar[str] = "network"
    network: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryStarted(Timed):
    """The cluster's registry serves. `host`: how references to images that are pushed to it begin; `mirrors`: whose images it caches."""

    stage: ClassVar[str] = "registry"
    host: str = ""
    mirrors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerCreated(Timed):
    """A node's container was created from `image`: the name is claimed, nothing runs yet. `address`: the one it is to have, if it is fixed."""

    stage: ClassVar[str] = "container"
    image: str
    address: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStarted(Timed):
    """A node's container was started."""

    stage: ClassVar[str] = "container"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePaused(Timed):
    """The node waits before its boot: exec works, systemd does not run."""

    stage: ClassVar[str] = "paused"


@dataclass(frozen=True, slots=True, kw_only=True)
class HookEnded(Timed):
    """One `before_boot` hook has run on one paused node; `hook` is its function's name."""

    stage: ClassVar[str] = "hooks"
    hook: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PreloadProgress(Progress):
    """Bytes of an image archive that are in a paused node; `subject` is the archive."""

    stage: ClassVar[str] = "preload"


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesPut(Timed):
    """All files that a node needs before its boot are in it: configuration, and what kubeadm makes from it."""

    stage: ClassVar[str] = "files"


@dataclass(frozen=True, slots=True, kw_only=True)
class BootSignalled(Event):
    """SIGUSR1 was sent to a paused node. `attempt` counts from 1: it is repeated until the node answers."""

    stage: ClassVar[str] = "boot"
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeBooted(Timed):
    """The node took the signal and hands over to systemd."""

    stage: ClassVar[str] = "boot"


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeReady(Timed):
    """containerd answers and preloaded images are imported."""

    stage: ClassVar[str] = "runtime"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiServerUp(Timed):
    """The API server answers where the kubeconfig says: at `server`, a URL."""

    stage: ClassVar[str] = "control plane"
    server: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KubeadmPhase(Timed):
    """A phase of kubeadm, `phase`, has ended: it prints the name of another one, or has ended itself."""

    stage: ClassVar[str] = "kubeadm"
    phase: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPlaneUp(Timed):
    """kubeadm has finished: the control plane is as it left it."""

    stage: ClassVar[str] = "control plane"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeJoined(Timed):
    """kubeadm has joined the node to the cluster."""

    stage: ClassVar[str] = "join"


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestApplied(Timed):
    """The objects of one manifest (pod network, storage) were given to the API server; `manifest` is its file's name."""

    stage: ClassVar[str] = "addons"
    manifest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadinessObserved(Event):
    """Something that readiness consists of was seen to change: `subject` is what, `state` how it is now."""

    stage: ClassVar[str] = "readiness"
    subject: str
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRegistered(Timed):
    """The node's kubelet has told the API server how it is, be it Ready or not."""

    stage: ClassVar[str] = "readiness"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeReady(Timed):
    """The Node object has condition Ready."""

    stage: ClassVar[str] = "readiness"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterReady(Timed):
    """All nodes are Ready, the default ServiceAccount exists, and a pod was scheduled. `duration_s`: the whole create, or start."""

    stage: ClassVar[str] = "readiness"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterRestored(Timed):
    """The cluster's objects are again as they were in `snapshot`, and it can be used. `duration_s`: the whole restore, or reset."""

    stage: ClassVar[str] = "snapshot"
    snapshot: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStopped(Timed):
    """A node's container was stopped; what is in it stays."""

    stage: ClassVar[str] = "stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterStopped(Timed):
    """No container of the cluster runs any more."""

    stage: ClassVar[str] = "stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterParked(Timed):
    """All containers of a cluster are frozen: it can be claimed from `pool`. `duration_s`: from when it was ready."""

    stage: ClassVar[str] = "pool"
    pool: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterClaimed(Timed):
    """A cluster that was parked in `pool` can be used, and nobody else gets it. `duration_s`: the whole claim."""

    stage: ClassVar[str] = "pool"
    pool: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkPolicyNotEnforced(Event):
    """The cluster's pod network takes NetworkPolicy objects and does nothing about them: pods reach each other all the same. `message` says it to people."""

    stage: ClassVar[str] = "network"
    message: str = "the default pod network does not enforce NetworkPolicy: disableDefaultCNI makes room for one that does"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFailed(Event):
    """A step failed, `step`: `error` says why; what follows is the rollback, if anything was made."""

    stage: ClassVar[str] = "failure"
    step: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Interrupted(Event):
    """A create, or add, was cancelled; what follows is the rollback."""

    stage: ClassVar[str] = "failure"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadProgress(Progress):
    """Bytes of an archive, or of the export of images, that a running node has taken; `subject` names them."""

    stage: ClassVar[str] = "load"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeLoaded(Timed):
    """Pods of a node can use `images` (or those of the archive of that name). `skipped`: it had just these before."""

    stage: ClassVar[str] = "load"
    images: tuple[str, ...]
    skipped: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRemoved(Timed):
    """A node's container and its volumes were removed."""

    stage: ClassVar[str] = "delete"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeCordoned(Event):
    """No new pod is placed on a node that is to be removed."""

    stage: ClassVar[str] = "drain"


@dataclass(frozen=True, slots=True, kw_only=True)
class PodEvicted(Event):
    """A pod (`pod`, "namespace/name") of a node that is to be removed was told to end."""

    stage: ClassVar[str] = "drain"
    pod: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeDrained(Timed):
    """No pod is left on a node that is to be removed, but those that are bound to it."""

    stage: ClassVar[str] = "drain"


@dataclass(frozen=True, slots=True, kw_only=True)
class EtcdMemberRemoved(Timed):
    """A control plane that leaves is no member of etcd any more."""

    stage: ClassVar[str] = "control plane"


@dataclass(frozen=True, slots=True, kw_only=True)
class BalancerReloaded(Timed):
    """The balancer knows that `control_planes` are what is behind it."""

    stage: ClassVar[str] = "control plane"
    control_planes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RolledBack(Timed):
    """Everything that a failed create, or add, had made is gone again, but for what `left_behind` names."""

    stage: ClassVar[str] = "failure"
    left_behind: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterDeleted(Timed):
    """Nothing of the cluster is left in the Engine. `existed`: nor was there anything, if it is False."""

    stage: ClassVar[str] = "delete"
    existed: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class LogsExported(Timed):
    """The logs of a node are in the directory that was asked for."""

    stage: ClassVar[str] = "logs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned(Event):
    """Something that works, but that its user should know of: `message`."""

    stage: ClassVar[str] = "warning"
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildStepStarted(Event):
    """A step of an image build, `step`, began."""

    stage: ClassVar[str] = "build"
    step: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOutput(Progress):
    """The newest line that a build step printed, in `line`; `current` counts them."""

    stage: ClassVar[str] = "build"
    line: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildStepEnded(Timed):
    """A step of an image build, `step`, ended. `cached`: it had been done before, with the same inputs."""

    stage: ClassVar[str] = "build"
    step: str
    cached: bool = False


Callback = Callable[[Event], Awaitable[None] | None]
"""A listener. A plain function runs in a worker thread, so that one which blocks delays nobody; a coroutine function runs in the
event loop, and so does what a plain function returns to be awaited."""

Clock = Callable[[], float]


class Bus:
    """The events of one operation, in order, to any number of listeners.

    `emit` never waits: each listener has its own queue, in which an event of kind `Progress` is replaced by a newer one
    of the same class, cluster, node and subject. Nothing else is dropped, but what a listener has not taken a second after the operation has ended.
    """

    def __init__(self, *, clock: Clock = time.monotonic, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._clock = clock
        self._now = now
        self._began = clock()
        self._queues: list[_Queue] = []
        self._closed = False

    def emit(self, event: Event) -> None:
        """Stamp `event` and hand it to all listeners. To be called in the event loop's thread."""
        stamped = replace(event, time=self._now(), monotonic_s=self._clock() - self._began)
        self.relay(stamped)

    def relay(self, stamped: Event) -> None:
        """Hand an event of another bus, as it is, to all listeners."""
        for queue in self._queues:
            queue.put(stamped)

    def elapsed_s(self) -> float:
        """Seconds since the operation began."""
        return self._clock() - self._began

    def __aiter__(self) -> AsyncIterator[Event]:
        """The events from now on, until the bus is closed."""
        return self._subscribe().drain()

    def close(self) -> None:
        """End every iteration once its queue is empty."""
        self._closed = True
        for queue in self._queues:
            queue.close()

    def _subscribe(self) -> _Queue:
        queue = _Queue()
        self._queues.append(queue)
        if self._closed:
            queue.close()
        return queue


class _Queue:
    """The events that one listener has not got yet."""

    def __init__(self) -> None:
        self._pending: dict[object, Event] = {}
        self._changed = anyio.Event()
        self._closed = False

    def put(self, event: Event) -> None:
        key: object = (type(event), event.cluster, event.node, event.subject) if isinstance(event, Progress) else object()
        self._pending.pop(key, None)
        self._pending[key] = event
        self._changed.set()

    def close(self) -> None:
        self._closed = True
        self._changed.set()

    async def drain(self) -> AsyncIterator[Event]:
        while True:
            while self._pending:
                yield self._pending.pop(next(iter(self._pending)))
            if self._closed:
                return
            self._changed = anyio.Event()
            await self._changed.wait()


def structlog_listener(logger: Any = None) -> Callback:
    """A listener that hands each event to structlog: its name is the message, its fields are the context; warnings and failures by their level.

    `logger` None: `structlog.get_logger("kindasync")`. Nothing is configured.
    """
    import structlog

    log = logger or structlog.get_logger("kindasync")

    def listen(event: Event) -> None:
        fields = event.to_json()
        name = fields.pop("event")
        level = "warning" if isinstance(event, Warned | Interrupted) else "error" if isinstance(event, StepFailed) else "info"
        getattr(log, level)(name, **fields)

    return listen
