"""Endpoints: where an Engine listens, as the docker client would find it.

Source: docs.docker.com, "docker" (environment variables) and "Docker contexts"; docker/cli:cli/context/docker/load.go for TLS.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from kindasync.errors import EngineMissing, EngineUnreachable
from kindasync.transport import Endpoint, TlsFiles, from_environment, parse

WINDOWS_REMEDY = "WSL 2"


@pytest.fixture
def config_dir(home: Path) -> Path:
    """The docker client's configuration directory."""
    directory = home / ".docker"
    directory.mkdir()
    return directory


def add_context(config_dir: Path, name: str, docker: Mapping[str, Any], *, tls: tuple[str, ...] = ()) -> Path:
    """A context as `docker context create` writes it; the directory of its TLS files."""
    digest = sha256(name.encode()).hexdigest()
    meta = config_dir / "contexts/meta" / digest / "meta.json"
    meta.parent.mkdir(parents=True)
    meta.write_text(json.dumps({"Name": name, "Metadata": {}, "Endpoints": {"docker": docker}}))
    files = config_dir / "contexts/tls" / digest / "docker"
    for file in tls:
        files.mkdir(parents=True, exist_ok=True)
        (files / file).write_text("PEM")
    return files


def found(home: Path, default_socket: Path | None = None, /, **env: str) -> Endpoint:
    """What is found with these variables; unless given, there is no default socket."""
    return from_environment(env, home, platform="linux", default_socket=default_socket or home / "no.sock")


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("unix:///var/run/docker.sock", Endpoint(socket_path=Path("/var/run/docker.sock"))),
        ("unix:///home/me/.colima/a b%20c?#.sock", Endpoint(socket_path=Path("/home/me/.colima/a b%20c?#.sock"))),  # taken literally
        ("unix://docker.sock", Endpoint(socket_path=Path("docker.sock"))),  # relative, as the docker client has it
        ("tcp://10.0.0.5:2375", Endpoint(host="10.0.0.5", port=2375)),
        ("tcp://engine", Endpoint(host="engine", port=2375)),
        ("tcp://[fd00::5]:2375", Endpoint(host="fd00::5", port=2375)),
        ("http://engine:80", Endpoint(host="engine", port=80)),
        ("https://engine", Endpoint(host="engine", port=2376, tls=TlsFiles())),
        ("engine:2375", Endpoint(host="engine", port=2375)),  # these as the docker client takes them
        (":2375", Endpoint(host="localhost", port=2375)),
        ("tcp://:2375", Endpoint(host="localhost", port=2375)),
        ("ssh://host", Endpoint(ssh=True, host="host")),
        ("ssh://me@host:22022/run/docker.sock", Endpoint(ssh=True, host="host", user="me", port=22022, remote_path="/run/docker.sock")),
    ],
)
def test_a_url_names_an_endpoint(url: str, endpoint: Endpoint) -> None:
    """unix, tcp, http and https are understood; the port is 2375, with TLS 2376, where none is given."""
    assert parse(url) == endpoint


def test_tcp_with_tls_has_the_port_2376() -> None:
    """TLS files make a tcp endpoint one of TLS, with its own default port."""
    tls = TlsFiles(ca=Path("ca.pem"))

    assert parse("tcp://engine", tls=tls) == Endpoint(host="engine", port=2376, tls=tls)


@pytest.mark.parametrize(
    "url",
    ["unix:///var/run/docker.sock", "unix:///a%20b.sock", "tcp://10.0.0.5:2375", "tcp://[fd00::5]:2375", "ssh://me@[fd00::5]:22/a.sock"],
)
def test_an_endpoint_gives_its_url_back(url: str) -> None:
    """`url` of what was parsed is what was parsed, so that it can be handed on."""
    assert parse(url).url == url


@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        ("npipe:////./pipe/docker_engine", WINDOWS_REMEDY),
        ("ssh://", "ssh://USER@HOST:PORT"),
        ("ssh://-oProxyCommand=x", "ssh://USER@HOST:PORT"),
        ("ssh://-l@host", "ssh://USER@HOST:PORT"),
        ("ssh://me:secret@host", "ssh://USER@HOST:PORT"),
        ("fd://", "fd:// is for the daemon"),
        ("/var/run/docker.sock", "unix:///path/to/docker.sock"),
        ("tcp://engine:2375/prefix", "tcp://host:port"),
        ("unix://", "unix:///path"),
        ("tcp://", "tcp://host:port"),
        ("tcp://engine:port", "tcp://host:port"),
        ("tcp://engine:99999", "tcp://host:port"),
        ("tcp://[fd00::5", "tcp://host:port"),
        ("", "unix:///path"),
    ],
)
def test_other_urls_are_refused_with_a_remedy(url: str, remedy: str) -> None:
    """What cannot be used is refused, not tried; the error says where it came from and what to use instead."""
    with pytest.raises(EngineUnreachable) as refused:
        parse(url, source="DOCKER_HOST")

    assert url in refused.value.what
    assert "DOCKER_HOST" in refused.value.why
    assert remedy in refused.value.hint


def test_the_order_of_precedence(home: Path, config_dir: Path) -> None:
    """DOCKER_HOST, DOCKER_CONTEXT, the current context, the default socket, the rootless one, Docker Desktop's; the first that is there."""
    default, rootless, desktop = home / "default.sock", home / "run/docker.sock", config_dir / "run/docker.sock"
    for path in (default, rootless, desktop):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    add_context(config_dir, "named", {"Host": "tcp://named:1"})
    add_context(config_dir, "current", {"Host": "tcp://current:1"})
    config = config_dir / "config.json"
    config.write_text(json.dumps({"currentContext": "current"}))
    run = str(rootless.parent)

    everything = found(home, default, DOCKER_HOST="tcp://host:1", DOCKER_CONTEXT="named", XDG_RUNTIME_DIR=run)
    without_host = found(home, default, DOCKER_CONTEXT="named", XDG_RUNTIME_DIR=run)
    without_variables = found(home, default, XDG_RUNTIME_DIR=run)
    back_to_default = found(home, default, DOCKER_CONTEXT="default", XDG_RUNTIME_DIR=run)
    config.unlink()
    without_context = found(home, default, XDG_RUNTIME_DIR=run)
    without_default_socket = found(home, XDG_RUNTIME_DIR=run)
    without_runtime_dir = found(home)

    assert [everything.url, everything.source] == ["tcp://host:1", "DOCKER_HOST"]
    assert [without_host.url, without_host.source] == ["tcp://named:1", 'DOCKER_CONTEXT "named"']
    assert [without_variables.url, without_variables.source] == ["tcp://current:1", f'context "current" of {config}']
    assert back_to_default.socket_path == default
    assert without_context.socket_path == default
    assert without_default_socket.socket_path == rootless
    assert without_runtime_dir.socket_path == desktop


def test_empty_variables_are_not_set(home: Path) -> None:
    """An empty DOCKER_HOST or DOCKER_CONTEXT is none."""
    default = home / "default.sock"
    default.touch()

    assert found(home, default, DOCKER_HOST="", DOCKER_CONTEXT="", DOCKER_CONFIG="").socket_path == default


def test_docker_config_moves_the_contexts(home: Path, tmp_path: Path) -> None:
    """DOCKER_CONFIG names the directory of the configuration, its contexts and TLS files."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "ca.pem").touch()
    add_context(elsewhere, "remote", {"Host": "tcp://remote:1"})

    assert found(home, DOCKER_CONFIG=str(elsewhere), DOCKER_CONTEXT="remote").host == "remote"
    assert found(home, DOCKER_CONFIG=str(elsewhere), DOCKER_HOST="tcp://remote", DOCKER_TLS_VERIFY="1").tls == TlsFiles(
        ca=elsewhere / "ca.pem"
    )


@pytest.mark.parametrize(
    ("docker", "files", "tls"),
    [
        ({"Host": "tcp://remote:2376"}, (), None),
        ({"Host": "tcp://remote:2376"}, ("ca.pem", "cert.pem", "key.pem"), ("ca.pem", "cert.pem", "key.pem", True)),
        ({"Host": "tcp://remote:2376"}, ("ca.pem",), ("ca.pem", None, None, True)),
        ({"Host": "tcp://remote:2376", "SkipTLSVerify": True}, ("cert.pem", "key.pem"), (None, "cert.pem", "key.pem", False)),
        ({"Host": "tcp://remote:2376", "SkipTLSVerify": True}, (), (None, None, None, False)),
    ],
)
def test_a_context_brings_its_tls_files(
    home: Path,
    config_dir: Path,
    docker: dict[str, Any],
    files: tuple[str, ...],
    tls: tuple[str | None, str | None, str | None, bool] | None,
) -> None:
    """Files in contexts/tls/<sha256 of the name>/docker make it TLS; so does SkipTLSVerify, which trusts any certificate."""
    directory = add_context(config_dir, "remote", docker, tls=files)

    endpoint = found(home, DOCKER_CONTEXT="remote")

    expected = tls and TlsFiles(
        ca=directory / tls[0] if tls[0] else None,
        cert=directory / tls[1] if tls[1] else None,
        key=directory / tls[2] if tls[2] else None,
        verify=tls[3],
    )
    assert endpoint == Endpoint(host="remote", port=2376, tls=expected or None, source='DOCKER_CONTEXT "remote"')


@pytest.mark.parametrize(
    ("env", "port", "verify"),
    [
        ({}, 2375, None),
        ({"DOCKER_TLS_VERIFY": "1"}, 2376, True),
        ({"DOCKER_TLS": "1"}, 2376, False),
        ({"DOCKER_TLS_VERIFY": ""}, 2375, None),
    ],
)
def test_tls_by_variables(home: Path, config_dir: Path, env: dict[str, str], port: int, verify: bool | None) -> None:
    """DOCKER_TLS_VERIFY and DOCKER_TLS turn TLS on, with and without verification; files in DOCKER_CERT_PATH, else the configuration's directory."""
    for directory in (config_dir, home):
        for name in ("ca.pem", "cert.pem", "key.pem"):
            (directory / name).touch()

    by_default = found(home, DOCKER_HOST="tcp://engine", **env)
    by_path = found(home, DOCKER_HOST="tcp://engine", DOCKER_CERT_PATH=str(home), **env)

    def tls(directory: Path) -> TlsFiles | None:
        files = {name: directory / f"{name}.pem" for name in ("ca", "cert", "key")}
        return None if verify is None else TlsFiles(verify=verify, **files)

    assert (by_default.port, by_default.tls) == (port, tls(config_dir))
    assert (by_path.port, by_path.tls) == (port, tls(home))


def test_a_context_that_is_not_there_is_an_error(home: Path) -> None:
    """It is never replaced by the default socket: another Engine would be used than the user thinks."""
    default = home / "default.sock"
    default.touch()

    with pytest.raises(EngineUnreachable, match="gone") as missing:
        found(home, default, DOCKER_CONTEXT="gone")

    assert "DOCKER_CONTEXT" in missing.value.why
    assert "docker context ls" in missing.value.hint


def test_the_endpoint_of_a_context_is_refused_like_any_other(home: Path, config_dir: Path) -> None:
    """A context of Docker Desktop on Windows names a pipe: the remedy says so."""
    add_context(config_dir, "desktop-windows", {"Host": "npipe:////./pipe/dockerDesktopEngine"})

    with pytest.raises(EngineUnreachable) as refused:
        found(home, DOCKER_CONTEXT="desktop-windows")

    assert WINDOWS_REMEDY in refused.value.hint


@pytest.mark.parametrize(
    "meta", ["{", "[]", '{"Endpoints": null}', '{"Endpoints": {"docker": 3}}', '{"Endpoints": {"docker": {"Host": 3}}}']
)
def test_a_context_that_cannot_be_read_is_none(home: Path, config_dir: Path, meta: str) -> None:
    """Whatever its file holds."""
    add_context(config_dir, "odd", {"Host": "tcp://host:1"})
    (file,) = (config_dir / "contexts/meta").glob("*/meta.json")
    file.write_text(meta)

    with pytest.raises(EngineUnreachable, match='context "odd" is not there'):
        found(home, DOCKER_CONTEXT="odd")


@pytest.mark.parametrize(
    "content", ["", "no JSON", "[]", "\xff", '{"auths": {}}', '{"currentContext": ""}', '{"currentContext": "default"}']
)
def test_a_configuration_without_a_context_counts_for_nothing(home: Path, config_dir: Path, content: str) -> None:
    """Also one that cannot be read: the docker client goes on, too."""
    (config_dir / "config.json").write_bytes(content.encode("latin-1"))
    default = home / "default.sock"
    default.touch()

    assert found(home, default) == Endpoint(socket_path=default, source="found")


@pytest.mark.parametrize(("platform", "remedy"), [("linux", "start Docker"), ("darwin", "start Docker"), ("win32", WINDOWS_REMEDY)])
def test_no_engine_at_all(home: Path, platform: str, remedy: str) -> None:
    """The error names every socket that was looked for."""
    with pytest.raises(EngineMissing) as missing:
        from_environment({"XDG_RUNTIME_DIR": "/run/user/1"}, home, platform=platform, default_socket=home / "no.sock")

    for path in (home / "no.sock", Path("/run/user/1/docker.sock"), home / ".docker/run/docker.sock"):
        assert str(path) in missing.value.why
    assert remedy in missing.value.hint
