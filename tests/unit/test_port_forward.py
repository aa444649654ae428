"""Port forward: which pod, which port; data both ways, however either side ends; and nothing left when the context is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import pytest
from aiohttp import web

from kindasync import events
from kindasync.cluster import _port_forward
from kindasync.cluster._api import ClusterApi
from kindasync.cluster._discovery import Reference
from kindasync.cluster._pods import pod_of
from kindasync.cluster._port_forward import Address, port_forward
from kindasync.errors import ApiRefused, ClusterError, KindUnknown
from tests.unit.kubernetes import Kubernetes
from tests.unit.recording import Recording

pytestmark = pytest.mark.anyio

Serve = Callable[[web.WebSocketResponse, web.Request], Awaitable[None]]
PATH = "/api/v1/namespaces/default/pods/web-1/portforward"
READY = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "web"},
    "spec": {
        "selector": {"app": "web"},
        "ports": [{"name": "http", "port": 80, "targetPort": "web"}, {"name": "metrics", "port": 9000}],
    },
}
DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web"},
    "spec": {"selector": {"matchLabels": {"app": "web"}}},
}


def pod(name: str = "web-1", *, created: str = "2026-11-26T10:00:00Z", **status: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "web"}, "creationTimestamp": created},
        "spec": {"containers": [{"name": "main", "ports": [{"name": "web", "containerPort": 8080}]}]},
        "status": status or READY,
    }


async def begin(far: web.WebSocketResponse, request: web.Request) -> None:
    """What the runtime sends first: the port, in each channel."""
    port = int(request.query["ports"]).to_bytes(2, "little")
    await far.send_bytes(b"\0" + port)
    await far.send_bytes(b"\1" + port)


async def shout(far: web.WebSocketResponse, request: web.Request) -> None:
    """A pod that answers in capitals, and ends the connection after "bye"."""
    await begin(far, request)
    async for message in far:
        await far.send_bytes(b"\0" + message.data[1:].upper())
        if message.data.endswith(b"bye"):
            break


async def slowly(far: web.WebSocketResponse, request: web.Request) -> None:
    """A pod that answers only after all has come, in two parts, and then ends."""
    await begin(far, request)
    await far.receive()
    await anyio.sleep(0.05)
    await far.send_bytes(b"\0first ")
    await anyio.sleep(0.05)
    await far.send_bytes(b"\0second")


@pytest.fixture
async def kubernetes() -> Kubernetes:
    kubernetes = Kubernetes()
    kubernetes.put(pod(), "default")
    kubernetes.sockets[PATH] = shout
    return kubernetes


@asynccontextmanager
async def forwarded(api: ClusterApi, reference: str = "pod/web-1", port: int | str = 8080, **options: Any) -> AsyncIterator[Address]:
    @asynccontextmanager
    async def connect() -> AsyncIterator[ClusterApi]:
        yield api

    with anyio.fail_after(10):
        async with port_forward(connect, "demo", Reference.parse(reference, namespace="default"), port, **options) as address:
            yield address


async def connected(address: Address) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(address.host, address.port)


async def asked(address: Address, data: bytes) -> bytes:
    """All that comes in answer to `data`."""
    reader, writer = await connected(address)
    writer.write(data)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


def tasks_but_ours() -> int:
    return len(asyncio.all_tasks())


# -- data


async def test_data_goes_both_ways(api: ClusterApi) -> None:
    """In as many steps as client and pod like; the pod's end is the client's."""
    async with forwarded(api) as address:
        reader, writer = await connected(address)
        writer.write(b"hello ")
        assert await reader.readexactly(6) == b"HELLO "
        writer.write(b"and bye")

        assert await reader.read() == b"AND BYE"
        writer.close()


async def test_the_local_port_may_be_chosen(api: ClusterApi) -> None:
    """One that is taken is an error, before anything listens; one that was left can be had again."""
    async with forwarded(api) as any_port:
        chosen = int(any_port.rpartition(":")[2])
        with pytest.raises(ClusterError, match=f"cannot listen on 127.0.0.1:{chosen}"):
            async with forwarded(api, local_port=chosen):
                pytest.fail("it was not to begin")

    async with forwarded(api, local_port=chosen) as address:
        assert address == any_port
        assert await asked(address, b"bye") == b"BYE"

    with pytest.raises(ClusterError, match="ports are 1 to 65535"):
        async with forwarded(api, local_port=65536):
            pytest.fail("it was not to begin")


async def test_many_connections_at_once(api: ClusterApi) -> None:
    """Each is its own."""
    answers: dict[int, bytes] = {}

    async def ask(address: Address, number: int) -> None:
        answers[number] = await asked(address, b"%d bye" % number)

    async with forwarded(api) as address, anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(ask, address, number)

    assert answers == {number: b"%d BYE" % number for number in range(20)}


async def test_megabytes_arrive_whole(kubernetes: Kubernetes, api: ClusterApi) -> None:
    """In both directions, in their order."""
    sent = bytes(range(256)) * 16 * 1024
    got = bytearray()

    async def collect(far: web.WebSocketResponse, request: web.Request) -> None:
        await begin(far, request)
        while len(got) < len(sent):
            got.extend((await far.receive_bytes())[1:])
        for start in range(0, len(sent), 100_000):
            await far.send_bytes(b"\0" + sent[start : start + 100_000])

    kubernetes.sockets[PATH] = collect

    async with forwarded(api) as address:
        assert await asked(address, sent) == sent

    assert got == sent


async def test_a_client_may_end_its_direction(kubernetes: Kubernetes, api: ClusterApi) -> None:
    """The whole answer still comes."""
    kubernetes.sockets[PATH] = slowly

    async with forwarded(api) as address:
        reader, writer = await connected(address)
        writer.write(b"all there is")
        writer.write_eof()

        assert await reader.read() == b"first second"
        writer.close()


async def test_a_silent_pod_is_left_when_its_client_has_gone(
    kubernetes: Kubernetes, api: ClusterApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After LINGER_S: the pod cannot know."""
    monkeypatch.setattr(_port_forward, "LINGER_S", 0.05)
    left = anyio.Event()

    async def wait(far: web.WebSocketResponse, request: web.Request) -> None:
        await begin(far, request)
        async for _ in far:
            pass
        left.set()

    kubernetes.sockets[PATH] = wait

    async with forwarded(api) as address:
        _, writer = await connected(address)
        writer.close()
        await left.wait()


async def refused(far: web.WebSocketResponse, request: web.Request) -> None:
    """A port on which nothing listens."""
    await begin(far, request)
    await far.send_bytes(b"\1error forwarding port 8080: connection refused")


async def broken(far: web.WebSocketResponse, request: web.Request) -> None:
    """A node that dies."""
    await begin(far, request)
    await far.send_bytes(b"\0half of")
    assert request.transport
    request.transport.abort()


@pytest.mark.parametrize(("serve", "why"), [(refused, "connection refused"), (broken, ""), (None, "404 Scripted")])
async def test_a_connection_that_fails_is_reset(kubernetes: Kubernetes, api: ClusterApi, serve: Serve | None, why: str) -> None:
    """Not ended, as if that were all; why is told. The next one may work."""
    seen = Recording()
    if serve:
        kubernetes.sockets[PATH] = serve
    else:
        del kubernetes.sockets[PATH]

    async with forwarded(api, on_event=seen.keep) as address:
        with pytest.raises(ConnectionResetError):
            await asked(address, b"hello")
        kubernetes.sockets[PATH] = shout
        assert await asked(address, b"bye") == b"BYE"

    assert why in seen.only(events.Warned).message


# -- the context


async def test_nothing_is_left(api: ClusterApi) -> None:
    """No task, and nothing listens: an open connection is closed."""
    before = tasks_but_ours()
    async with forwarded(api) as address:
        reader, writer = await connected(address)
        writer.write(b"hello")
        await reader.readexactly(5)

    with suppress(ConnectionResetError):
        assert await reader.read() == b""
    writer.close()
    with pytest.raises(ConnectionRefusedError):
        await connected(address)
    await api.session.http.close()
    assert tasks_but_ours() <= before + 1  # the server's side of what was kept alive


async def test_a_body_that_is_cancelled_leaves_nothing(api: ClusterApi) -> None:
    """By anyio's scopes."""
    with anyio.CancelScope() as scope:
        async with forwarded(api) as address:
            scope.cancel()
            await anyio.sleep_forever()

    with pytest.raises(ConnectionRefusedError):
        await connected(address)


async def test_the_body_s_error_is_the_one_raised(api: ClusterApi) -> None:
    """As it was."""
    with pytest.raises(ZeroDivisionError):
        async with forwarded(api):
            _ = 1 / 0


async def test_another_task_may_leave_the_context(api: ClusterApi) -> None:
    """As fixtures of pytest-asyncio do."""
    loop = asyncio.get_running_loop()

    @asynccontextmanager
    async def connect() -> AsyncIterator[ClusterApi]:
        yield api

    context = port_forward(connect, "demo", Reference.parse("pod/web-1", namespace="default"), 8080)
    address = await loop.create_task(context.__aenter__())
    assert await asked(address, b"bye") == b"BYE"
    await loop.create_task(context.__aexit__(None, None, None))

    with pytest.raises(ConnectionRefusedError):
        await connected(address)


# -- which pod, which port


@pytest.mark.parametrize(
    ("reference", "port", "number"),
    [
        ("pod/web-1", 8080, 8080),
        ("pod/web-1", "web", 8080),
        ("pod/web-1", "8080", 8080),
        ("service/web", 80, 8080),
        ("svc/web", "http", 8080),
        ("service/web", 9000, 9000),
        ("deployment/web", 1234, 1234),
        ("deployments.apps/web", "web", 8080),
    ],
)
async def test_ports(kubernetes: Kubernetes, api: ClusterApi, reference: str, port: int | str, number: int) -> None:
    """By number or name; a Service's lead to those of its pods."""
    kubernetes.put(SERVICE, "default")
    kubernetes.put(DEPLOYMENT, "default")

    target = await pod_of(api, Reference.parse(reference, namespace="default"))

    assert (target.path, target.port(port)) == ("/api/v1/namespaces/default/pods/web-1", number)


async def test_what_cannot_be_reached_is_refused(kubernetes: Kubernetes, api: ClusterApi) -> None:
    """A port that is none, and a pod that has ended."""
    kubernetes.put(pod("done", phase="Succeeded"), "default")

    with pytest.raises(ClusterError, match="there is no port 70000"):
        (await pod_of(api, Reference.parse("pod/web-1", namespace="default"))).port(70000)
    with pytest.raises(ClusterError, match="pod/done in namespace default has ended"):
        await pod_of(api, Reference.parse("pod/done", namespace="default"))


async def test_a_ready_pod_is_preferred_then_the_newest(kubernetes: Kubernetes, api: ClusterApi) -> None:
    """One that is being deleted is none."""
    kubernetes.put(SERVICE, "default")
    kubernetes.put(pod("web-2", created="2026-11-26T11:00:00Z"), "default")
    kubernetes.put(pod("web-3", created="2026-11-26T12:00:00Z", phase="Running"), "default")
    going = pod("web-4", created="2026-11-26T13:00:00Z")
    going["metadata"]["deletionTimestamp"] = "2026-11-26T13:01:00Z"
    kubernetes.put(going, "default")

    target = await pod_of(api, Reference.parse("service/web", namespace="default"))

    assert target.pod["metadata"]["name"] == "web-2"


async def test_each_connection_goes_to_a_pod_that_runs_then(kubernetes: Kubernetes, api: ClusterApi) -> None:
    """A Deployment's pod may have been replaced."""
    kubernetes.put(DEPLOYMENT, "default")

    async with forwarded(api, "deployment/web") as address:
        assert await asked(address, b"bye") == b"BYE"
        kubernetes.remove(pod(), "default")
        kubernetes.put(pod("web-2"), "default")
        kubernetes.sockets[PATH.replace("web-1", "web-2")] = shout
        assert await asked(address, b"good bye") == b"GOOD BYE"


@pytest.mark.parametrize(
    ("reference", "port", "kind", "message"),
    [
        ("pod/other", 80, ApiRefused, "404"),
        ("service/other", 80, ApiRefused, "404"),
        ("nothing/web", 80, KindUnknown, 'no kind "nothing"'),
        ("pod", 80, ClusterError, "names no pod"),
        ("service/web", 8080, ClusterError, r"service web has no port 8080\n  why: it has 80, 9000"),
        ("pod/web-1", "grpc", ClusterError, r"pod default/web-1 has no port grpc\n  why: it has web"),
        ("configmap/web", 80, ClusterError, "selects no pods"),
        ("service/idle", 80, ClusterError, r"(?s)no pod of service/idle .* runs.*there is none with app=idle.*wait_for"),
        ("deployment/starting", 80, ClusterError, r"(?s)no pod of .* runs.*pod starting-1: Pending"),
    ],
)
async def test_what_cannot_be_forwarded_is_refused_at_once(
    kubernetes: Kubernetes, api: ClusterApi, reference: str, port: int | str, kind: type[Exception], message: str
) -> None:
    """With what is there."""
    kubernetes.put(SERVICE, "default")
    kubernetes.put({**SERVICE, "metadata": {"name": "idle"}, "spec": {"selector": {"app": "idle"}}}, "default")
    kubernetes.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "web"}}, "default")
    kubernetes.put({**DEPLOYMENT, "metadata": {"name": "starting"}, "spec": {"selector": {"matchLabels": {"app": "starting"}}}}, "default")
    starting = pod("starting-1", phase="Pending")
    kubernetes.put({**starting, "metadata": {**starting["metadata"], "labels": {"app": "starting"}}}, "default")

    with pytest.raises(kind, match=message):
        async with forwarded(api, reference, port):
            pass
