"""Contract: how a connection begins: the first word with an Engine, the version that both speak, its facts."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from kindasync.docker import Engine
from kindasync.docker._engine import NEWEST_API, OLDEST_API, Call, negotiate
from kindasync.docker.execs import container_exec
from kindasync.docker.system import engine_time, native_architecture, system_info
from kindasync.errors import ApiError, EngineError, EngineMissing, EnginePermissionDenied, EngineUnreachable
from kindasync.testing import PROFILES, FakeEngine
from kindasync.transport import Endpoint, parse
from kindasync.transport._http import Http, Request
from kindasync.transport._upgrade import upgrade
from tests.engine.lab import Lab
from tests.engine.relay import tcp_relay

pytestmark = pytest.mark.anyio


async def test_both_sides_speak_the_newest_version_that_both_know(lab: Lab) -> None:
    """It is negotiated before anything else, and every later request names it."""
    version = lab.connection.api_version

    assert version is not None
    assert OLDEST_API <= version <= NEWEST_API
    assert lab.connection.speaks(*version)
    assert not lab.connection.speaks(version[0], version[1] + 1)
    await lab.connection.request(Call("SystemPing", "GET", "/_ping"))
    if lab.fake:
        assert version == PROFILES[lab.profile].api_version
        assert lab.fake.requests[0].operation == "SystemPing"


@pytest.mark.parametrize(
    ("engine_newest", "expected"),
    [("1.41", (1, 41)), ("1.45", (1, 45)), ("1.52", (1, 52)), ("1.53", NEWEST_API), ("2.0", NEWEST_API)],
)
def test_the_version_is_the_lower_of_both(engine_newest: str, expected: tuple[int, int]) -> None:
    """Ours is the highest that the tests have spoken."""
    assert negotiate(engine_newest) == expected


@pytest.mark.parametrize("engine_newest", ["1.40", "1.24", "1.9"])
def test_an_engine_below_the_floor_is_refused(engine_newest: str) -> None:
    """With its version, ours, and what to do."""
    with pytest.raises(EngineError, match=f"too old: its newest API version is {engine_newest}") as caught:
        negotiate(engine_newest)

    assert "1.41" in caught.value.why
    assert caught.value.hint


@pytest.mark.parametrize("header", ["", "1", "1.x", "nginx", "1.2.3"])
def test_what_is_no_engine_is_refused(header: str) -> None:
    """What answers without an API version is something else."""
    with pytest.raises(EngineError, match="not a Docker Engine"):
        negotiate(header)


async def test_connect_refuses_an_engine_below_the_floor() -> None:
    """Before anything is asked of it."""
    old = replace(PROFILES["docker-26"], api_version=(1, 40), oldest_api_version=(1, 12))

    with FakeEngine(old) as fake:
        with pytest.raises(EngineError, match="too old"):
            async with Engine.of(fake.url).connect():
                pass

        assert [request.operation for request in fake.requests] == ["SystemPing"]


async def test_an_engine_that_has_given_up_our_versions_says_so() -> None:
    """Its refusal is an ApiError with its words."""
    future = replace(PROFILES["docker-29"], api_version=(1, 60), oldest_api_version=(1, 53))

    with FakeEngine(future) as fake:
        async with Engine.of(fake.url).connect() as connection:
            with pytest.raises(ApiError, match="Minimum supported API version") as caught:
                await system_info(connection)

    assert caught.value.status == 400


async def test_facts_of_the_engine(lab: Lab) -> None:
    """Those that every Engine has."""
    facts = await system_info(lab.connection)

    assert facts.engine_id
    assert facts.version
    assert facts.api_version == lab.connection.api_version
    assert facts.architecture == native_architecture()
    assert facts.cgroup_version in (1, 2)
    assert facts.cpus > 0
    assert facts.memory_bytes > 2**28
    assert facts.data_root.startswith("/")
    assert facts == await system_info(lab.connection)


async def test_the_clock_of_the_engine(lab: Lab) -> None:
    """It goes on, in some zone."""
    before = await engine_time(lab.connection)

    assert before.tzinfo
    assert before <= await engine_time(lab.connection)


async def test_running_containers_are_counted(lab: Lab) -> None:
    """Of all users of the Engine."""
    await lab.running()

    assert (await system_info(lab.connection)).running_containers >= 1


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        ("docker-26", ("docker", "26.1.5", False, False, False)),
        ("docker-29", ("docker", "29.1.0", True, False, True)),
        ("podman", ("podman", "5.4.2", False, False, False)),
        ("rootless", ("docker", "28.0.4", False, True, True)),
    ],
)
async def test_facts_tell_engines_apart(profile: str, expected: tuple[str, str, bool, bool, bool]) -> None:
    """Product, version, where images live, rootless, and whether an export can name a platform."""
    with FakeEngine(profile) as fake:
        async with Engine.of(fake.url).connect() as connection:
            facts = await system_info(connection)

    assert (facts.product, facts.version, facts.containerd_store, facts.rootless, facts.exports_platforms) == expected


def test_an_engine_is_a_value(fake: FakeEngine) -> None:
    """It holds nothing open: it can be compared, kept, and used from one event loop after the other."""
    engine = Engine.of(fake.url)

    async def version() -> str:
        async with engine.connect() as connection:
            return (await system_info(connection)).version

    assert engine == Engine.of(fake.url)
    assert Engine.of(engine) is engine
    assert engine.url == fake.url
    assert asyncio.run(version()) == asyncio.run(version()) == "26.1.5"


def test_the_environment_names_the_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """DOCKER_HOST, as for the docker client."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")

    engine = Engine.of(None)

    assert engine.endpoint == replace(parse(f"unix://{tmp_path}/docker.sock"), source="DOCKER_HOST")


# -- by tcp, without TLS


async def test_an_engine_on_a_plain_port(fake: FakeEngine) -> None:
    """Its version is read, and programs get their input: the end of that is told over TCP, too."""
    async with (
        tcp_relay(Path(fake.url.removeprefix("unix://"))) as relay,
        Engine.of(f"tcp://localhost:{relay.port}").connect() as connection,
    ):
        container = await Lab(connection, fake, "docker-26").running()
        with anyio.fail_after(10):
            result = await container_exec(connection, container.id, ["cat"], stdin=b"in\0\xff")

        assert (await system_info(connection)).version == "26.1.5"
        assert (result.exit_code, result.stdout) == (0, b"in\0\xff")


async def test_a_plain_port_where_nothing_listens() -> None:
    """Is an Engine that has ended, or one at another port."""
    with socket.create_server(("127.0.0.1", 0)) as ended:
        port = ended.getsockname()[1]

    with pytest.raises(EngineUnreachable, match=f"tcp://127.0.0.1:{port}") as raised:
        await ask(Endpoint(host="127.0.0.1", port=port))

    assert "the connection was refused" in raised.value.why


# -- no connection


PING = Request(method="GET", path="/_ping", body=b"")


async def ask(endpoint: Endpoint) -> None:
    async with Http(endpoint) as http:
        await http.request(PING)


async def ask_for_an_upgrade(endpoint: Endpoint) -> None:
    async with upgrade(endpoint, PING):
        pass


@pytest.mark.parametrize("use", [ask, ask_for_an_upgrade])
@pytest.mark.parametrize(
    ("state", "kind", "why", "remedy"),
    [
        ("missing", EngineMissing, "there is no such socket", "start Docker, or set DOCKER_HOST to where it is"),
        ("forbidden", EnginePermissionDenied, "this user may not use the socket", "usermod -aG docker USER"),
        ("left behind", EngineUnreachable, "the connection was refused", "start Docker: it has ended, or is not up yet"),
    ],
)
async def test_why_there_is_no_connection(
    use: Callable[[Endpoint], Awaitable[None]],
    state: str,
    kind: type[EngineError],
    why: str,
    remedy: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No socket, one of others, one that nobody listens on any more: each is an error of its own, with its own remedy."""
    path = tmp_path / "docker.sock"
    if state != "missing":
        with socket.socket(socket.AF_UNIX) as ended:
            ended.bind(str(path))
    if state == "forbidden":

        def connect(*_: object) -> None:
            raise PermissionError(13, "Permission denied")  # which root, who may run this, never gets

        monkeypatch.setattr(socket.socket, "connect", connect)

    with pytest.raises(EngineUnreachable) as raised:
        await use(Endpoint(socket_path=path))

    assert type(raised.value) is kind
    assert raised.value.what == f"cannot connect to the Docker Engine at unix://{path} (given)"
    assert why in raised.value.why
    assert remedy in raised.value.hint
