"""FakeEngine: the public face of the fake, and the server that it runs."""

from __future__ import annotations

import asyncio
import json
import re
import select
import shutil
import socket
import tempfile
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from concurrent.futures import Future
from contextlib import aclosing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

from kindasync.testing._api_server import FakeApiServer
from kindasync.testing._images import FakeImage
from kindasync.testing._listener import Listener
from kindasync.testing._nodes import JOINED, Behaviour, node_image
from kindasync.testing._profiles import PROFILES, Profile
from kindasync.testing._protocol import Answer, Head, Received, chunk, head_of, read_body, read_head
from kindasync.testing._refused import Refused
from kindasync.testing._routes import Routes, find
from kindasync.testing._state import FakeContainer, FakeNetwork, State

_VERSIONED = re.compile(r"/v(\d+)\.(\d+)(/.*)")
_CLOSED_POLL_S = 0.01
Result = TypeVar("Result")


@dataclass(slots=True, kw_only=True)
class _Fault:
    """What goes wrong with the nth request of an operation from now on."""

    operation: str
    nth: int
    status: int = 0
    message: str = ""
    hangs: bool = False
    cuts: bool = False
    after_bytes: int | None = None
    held: asyncio.Event | None = None
    in_stream: bool = False
    action: Callable[[], object] | None = None


class FakeEngine:
    """A Docker Engine on a UNIX socket, for tests: real HTTP, no containers.

    It serves in a thread of its own, so it can be used from any event loop, and from none. `profile`: docker-26, docker-29
    (containerd store, API from 1.44), podman, rootless, or one of your own. A node image of kindasync's contract is there from the start.

        async with FakeEngine() as fake:
            fake.fail("ContainerStart", status=500, message="no space left on device")
            ...  # use fake.url
            assert fake.containers == {}

    A request that it does not know makes the test fail when the fake is left. `node`: how nodes behave (Behaviour); `requests`: those that came;
    `chunk_bytes`: at most so many in each chunk of an answer's body, 0: as they are.
    """

    def __init__(self, profile: str | Profile = "docker-26", *, socket: Path | None = None) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="kindasync-fake-"))
        self._socket = socket or self._directory / "docker.sock"
        self._profile = profile if isinstance(profile, Profile) else PROFILES[profile]
        self.node = Behaviour()
        self.requests: list[Received] = []
        self.chunk_bytes = 0
        self._changed = threading.Condition()
        self._unknown: list[str] = []
        self._faults: list[_Fault] = []
        self._thread: threading.Thread | None = None
        self._loop = asyncio.new_event_loop()
        self._ready: Future[None] = Future()
        self._end = asyncio.Event()

    # -- what a test looks at

    @property
    def url(self) -> str:
        """Its DOCKER_HOST."""
        return f"unix://{self._socket}"

    @property
    def containers(self) -> Mapping[str, FakeContainer]:
        """All containers, by name."""
        return self._state.containers

    @property
    def networks(self) -> Mapping[str, FakeNetwork]:
        """The networks that were made, by name; without bridge, host and none."""
        return {network.name: network for network in self._state.networks.values() if network.name not in ("bridge", "host", "none")}

    @property
    def volumes(self) -> Mapping[str, Mapping[str, str]]:
        """Labels of all volumes, by name."""
        return self._state.volumes

    @property
    def images(self) -> dict[str, FakeImage]:
        """The images, by reference; tests may add some."""
        return self._state.images.named

    @property
    def registry(self) -> dict[str, FakeImage]:
        """What can be pulled, by reference; tests may add some."""
        return self._state.registry

    @property
    def taken_ports(self) -> set[int]:
        """Ports of the Engine's host that something else listens on; tests may add some."""
        return self._state.taken_ports

    def api_objects(self, container: str) -> list[dict[str, Any]]:
        """The Kubernetes objects that were created through a control plane's API."""
        return list(self._apis[self._state.container(container).id].objects)

    def api_requests(self, container: str) -> list[str]:
        """The requests to a control plane's API, as "METHOD path"."""
        return list(self._apis[self._state.container(container).id].requests)

    def networks_labelled(self, **labels: str) -> list[FakeNetwork]:
        """The networks whose labels hold these values; `cluster` stands for kind's label."""
        wanted = {"io.x-k8s.kind.cluster" if name == "cluster" else name: value for name, value in labels.items()}
        return [network for network in self.networks.values() if all(network.labels.get(name) == value for name, value in wanted.items())]

    def requests_of(self, operation: str) -> list[Received]:
        """The requests of one operation, in order."""
        return [request for request in self.requests if request.operation == operation]

    def wait_request(self, operation: str, nth: int = 1, *, timeout_s: float = 30) -> Received:
        """Block until the nth request of an operation has come. In a coroutine, call it by `anyio.to_thread.run_sync`."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.requests_of(operation)) >= nth, timeout_s):
                raise AssertionError(f"request {nth} of {operation} has not come within {timeout_s:g} s")
        return self.requests_of(operation)[nth - 1]

    def wait_idle(self, *, timeout_s: float = 30) -> None:
        """Block until every connection has ended. In a coroutine, call it by `anyio.to_thread.run_sync`."""
        with self._changed:
            if not self._changed.wait_for(lambda: not self._listener.connections, timeout_s):
                raise AssertionError(f"{self._listener.connections} connections are still open after {timeout_s:g} s")

    # -- what a test makes happen

    def fail(self, operation: str, nth: int = 1, *, status: int = 500, message: str = "scripted") -> None:
        """Refuse the nth request of an operation from now on."""
        self._faults.append(_Fault(operation=operation, nth=nth, status=status, message=message))

    def hang(self, operation: str, nth: int = 1, *, after_bytes: int | None = None) -> None:
        """Never answer the nth request of an operation from now on; or go silent after the header and so many bytes of the body."""
        self._faults.append(_Fault(operation=operation, nth=nth, hangs=True, after_bytes=after_bytes))

    def cut(self, operation: str, nth: int = 1, *, after_bytes: int | None = 0) -> None:
        """Close the connection of the nth request after the header and so many bytes of the body; None: without a word, after doing it."""
        self._faults.append(_Fault(operation=operation, nth=nth, cuts=True, after_bytes=after_bytes))

    def hold(self, operation: str, nth: int = 1) -> Callable[[], None]:
        """Leave the nth request of an operation alone, until what this returns is called: only then it is done, and answered."""
        held = asyncio.Event()
        self._faults.append(_Fault(operation=operation, nth=nth, held=held))
        return lambda: self._in_thread(held.set)

    def fail_in_stream(self, operation: str, nth: int = 1, *, message: str = "scripted") -> None:
        """Answer the nth request with 200, and report a failure in its stream (`errorDetail`)."""
        self._faults.append(_Fault(operation=operation, nth=nth, in_stream=True, message=message))

    def on(self, operation: str, action: Callable[[], object], nth: int = 1) -> None:
        """Do something when the nth request of an operation from now on has come, before it is answered. `action` runs in the fake's thread."""
        self._faults.append(_Fault(operation=operation, nth=nth, action=action))

    def vanish(self) -> None:
        """Be gone, as an Engine whose process was killed: nothing listens any more, and every connection is closed."""
        self._in_thread(self._listener.close)

    def add_container(self, name: str, image: str, *, labels: Mapping[str, str] | None = None, network: str = "bridge") -> FakeContainer:
        """Make a container, not started, as another program would."""
        body = {"Image": image, "Labels": dict(labels or {}), "HostConfig": {"NetworkMode": network}}
        return self._in_thread(lambda: self._state.create(name, body))

    def add_network(self, name: str, *, labels: Mapping[str, str] | None = None, subnet: str = "") -> FakeNetwork:
        """Make a network, as another program would; without `subnet` the fake chooses one."""
        body = {"Name": name, "Labels": dict(labels or {}), "IPAM": {"Config": [{"Subnet": subnet}] if subnet else []}}
        return self._in_thread(lambda: self._state.create_network(body))

    def remove_network(self, name: str) -> None:
        """Do what `docker network rm` does."""
        self._in_thread(lambda: self._state.remove_network(self._state.network(name)))

    def say(self, container: str, text: str) -> None:
        """Let a container print."""
        self._in_thread(lambda: self._state.container(container).say(text))

    def die(self, container: str, exit_code: int = 137, *, oom_killed: bool = False) -> None:
        """End the first process of a container."""
        self._in_thread(lambda: self._state.end(self._state.container(container), exit_code, oom_killed=oom_killed))

    def rename(self, container: str, name: str) -> None:
        """Do what `docker rename` does."""

        def rename() -> None:
            found = self._state.container(container)
            del self._state.containers[found.name]
            found.name = name
            self._state.containers[name] = found

        self._in_thread(rename)

    def _in_thread(self, action: Callable[[], Result]) -> Result:
        if threading.current_thread() is self._thread:
            return action()
        future: Future[Result] = Future()

        def call() -> None:
            try:
                future.set_result(action())
            except BaseException as error:  # noqa: BLE001 (handed to the caller)
                future.set_exception(error)

        self._loop.call_soon_threadsafe(call)
        return future.result(timeout=30)

    # -- its life

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, name="kindasync-fake-engine", daemon=True)
        self._thread.start()
        self._ready.result(timeout=30)
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        assert self._thread is not None
        self._thread.join(timeout=30)
        shutil.rmtree(self._directory, ignore_errors=True)
        if self._unknown and kind is None:
            raise AssertionError(f"the fake was asked for what it does not know: {', '.join(self._unknown)}")

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, *error: object) -> None:
        self.__exit__(*error)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        except BaseException as error:
            if not self._ready.done():
                self._ready.set_exception(error)
            raise
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        self._state = State(self._profile)
        image = node_image()
        self._state.images.put(image.reference, image)
        self._routes = Routes(self._state, self.node)
        self._apis: dict[str, FakeApiServer] = {}
        self._listener = Listener(self._connection, ended=self._ended)
        self._socket.unlink(missing_ok=True)
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(self._socket))
        await self._listener.start(listening)
        self._ready.set_result(None)
        await self._end.wait()
        for api in self._apis.values():
            api.stop()
        self._state.close()
        self._listener.close()
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others)
        await asyncio.sleep(0)  # the transports close themselves one turn of the loop later

    def _ended(self) -> None:
        with self._changed:
            self._changed.notify_all()

    # -- one connection

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await read_head(reader)
            if head:
                await self._request(head, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has gone
        finally:
            writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    async def _request(self, head: Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        version, path = self._version_of(head.path)
        found = find(head.method, path)
        body = await read_body(reader, head.headers)
        operation = found[0] if found else f"{head.method} {path}"
        request = Received(operation=operation, method=head.method, path=path, params=head.params, headers=head.headers, body=body)
        with self._changed:
            self.requests.append(request)
            self._changed.notify_all()
        await self._answer(request, version, found, reader, writer)

    @staticmethod
    def _version_of(path: str) -> tuple[tuple[int, int] | None, str]:
        versioned = _VERSIONED.fullmatch(path)
        return ((int(versioned[1]), int(versioned[2])), versioned[3]) if versioned else (None, path)

    async def _answer(
        self, request: Received, version: tuple[int, int] | None, found: object, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        fault = self._due_fault(request.operation)
        if fault and fault.hangs and fault.after_bytes is None:
            await reader.read()  # until the client gives up
            return
        if fault and fault.held:
            await fault.held.wait()
            fault = None
        answer = self._answer_of(request, version, fault)
        await self._serve_apis()
        if fault and fault.cuts and fault.after_bytes is None:
            return
        writer.write(head_of(answer, api_version="{}.{}".format(*self._profile.api_version)))
        if request.method == "HEAD":
            pass
        elif answer.hijack:
            await self._hijacked(request, fault, reader, writer)
        elif answer.stream is None and fault is None and not self.chunk_bytes:
            writer.write(answer.body)
        else:
            await self._send(answer, fault, reader, writer)
        await writer.drain()

    async def _serve_apis(self) -> None:
        """Give each control plane that has booted its API, and take it from those that ended."""
        for container in list(self._state.containers.values()):  # others come while an API starts
            if container.booted and container.answers and container.api_socket and container.id not in self._apis:
                self._apis[container.id] = FakeApiServer(
                    partial(self._nodes_of, container), partial(self._kubeadm_conf_of, container), self.node
                )
                await self._apis[container.id].start(container.api_socket.dup())
        running = {container.id for container in self._state.containers.values() if container.answers}
        for container_id in self._apis.keys() - running:
            self._apis.pop(container_id).stop()

    def _nodes_of(self, container: FakeContainer) -> list[str]:
        """The nodes that a control plane's, or balancer's, API knows: itself, the first control plane, and those that have joined."""
        label = "io.x-k8s.kind.cluster"
        return [
            other.name
            for other in self._state.containers.values()
            if other.labels.get(label) == container.labels.get(label) and not other.command
            if other is container or JOINED in other.files or "/etc/kubernetes/admin.conf" in other.files
        ]

    def _kubeadm_conf_of(self, container: FakeContainer) -> bytes:
        """The configuration with which kubeadm has made a control plane's, or balancer's, cluster."""
        label = "io.x-k8s.kind.cluster"
        mates = (other for other in self._state.containers.values() if other.labels.get(label) == container.labels.get(label))
        return next((other.files["/kind/kubeadm.conf"] for other in mates if "/etc/kubernetes/admin.conf" in other.files), b"")

    def _due_fault(self, operation: str) -> _Fault | None:
        due = None
        for fault in self._faults:
            if fault.operation == operation:
                fault.nth -= 1
                if fault.nth == 0 and fault.action:
                    fault.action()
                elif fault.nth == 0:
                    due = fault
        return due

    def _answer_of(self, request: Received, version: tuple[int, int] | None, fault: _Fault | None) -> Answer:
        found = find(request.method, request.path)
        if not found:
            self._unknown.append(request.operation)
            return Answer.error(404, "page not found")
        if version and not self._profile.oldest_api_version <= version <= self._profile.api_version:
            text = "client version {}.{} is not supported".format(*version)
            oldest = "{}.{}".format(*self._profile.oldest_api_version)
            return Answer.error(400, f"{text}. Minimum supported API version is {oldest}, please upgrade your client to a newer version")
        if fault and fault.status:
            return Answer.error(fault.status, fault.message)
        if fault and fault.in_stream:
            body = json.dumps({"errorDetail": {"message": fault.message}, "error": fault.message}).encode() + b"\r\n"
            return Answer(stream=_once(b'{"status":"beginning"}\r\n' + body), headers={"Content-Type": "application/json"})
        try:
            return found[1](self._routes, request, found[2])
        except Refused as refused:
            return Answer.error(refused.status, refused.message)
        except Exception as error:  # noqa: BLE001 (told to the test when it leaves the fake)
            self._unknown.append(f"{request.operation} ({error!r})")
            return Answer.error(500, f"the fake has failed: {error!r}")

    async def _send(self, answer: Answer, fault: _Fault | None, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Send a body in pieces, as far as a fault lets it come; a client that goes ends it."""
        encoded = chunk if answer.stream is not None else bytes
        gone = asyncio.ensure_future(reader.read())
        try:
            async with aclosing(self._pieces(answer.stream or _once(answer.body), fault)) as pieces:
                while piece := await _unless(gone, anext(pieces, b"")):
                    writer.write(encoded(piece))
                    await writer.drain()
            if fault and fault.hangs:
                await gone
            elif answer.stream is not None and not gone.done() and not (fault and fault.cuts):
                writer.write(b"0\r\n\r\n")
        finally:
            gone.cancel()

    async def _hijacked(self, request: Received, fault: _Fault | None, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        exec_id = request.path.split("/")[2]
        if fault:
            stdin = b""
        elif self._routes.has_terminal(exec_id):
            stdin = await reader.readuntil(b"\x04")
        else:
            stdin = await reader.read()
        async with aclosing(self._pieces(self._routes.exec_output(exec_id, stdin), fault)) as pieces:
            async for piece in pieces:
                writer.write(piece)
                await writer.drain()
        if fault and fault.hangs:
            await _closed(writer)

    async def _pieces(self, source: AsyncGenerator[bytes, None], fault: _Fault | None) -> AsyncGenerator[bytes, None]:
        """What `source` gives in pieces of `chunk_bytes`, as far as a fault lets it come."""
        budget = fault.after_bytes if fault else None
        async with aclosing(source):
            while budget != 0 and (data := await anext(source, b"")):
                part = data if budget is None else data[:budget]
                budget = None if budget is None else budget - len(part)
                for piece in _split(part, self.chunk_bytes):
                    yield piece


async def _once(body: bytes) -> AsyncGenerator[bytes, None]:
    yield body


async def _unless(gone: asyncio.Future[bytes], work: Awaitable[bytes]) -> bytes:
    """What `work` returns; nothing if the client goes before."""
    step = asyncio.ensure_future(work)
    try:
        await asyncio.wait({step, gone}, return_when=asyncio.FIRST_COMPLETED)
        return step.result() if step.done() else b""
    finally:
        if not step.done():
            step.cancel()
            await asyncio.wait({step})


async def _closed(writer: asyncio.StreamWriter) -> None:
    """Wait until the client has closed the connection. That it sends no more, and reads on, is another thing, after which nothing else is read."""
    poll = select.poll()
    poll.register(writer.get_extra_info("socket"), 0)  # POLLHUP comes unasked
    while not poll.poll(0):  # noqa: ASYNC110 (no event of the loop's tells)
        await asyncio.sleep(_CLOSED_POLL_S)


def _split(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)] if size else [data]
