"""Proxies: what nodes are told of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kindasync import Cluster
from kindasync.docker._client_config import container_proxies
from kindasync.proxy import no_proxy, node_env, proxies
from kindasync.testing import FakeEngine

IN_CLUSTER = ".svc,.svc.cluster,.svc.cluster.local"


@pytest.mark.parametrize(
    ("current", "subnets", "nodes", "value"),
    [
        ("", [], [], IN_CLUSTER),
        ("corp.example", ["10.96.0.0/16"], ["demo-control-plane"], f"corp.example,10.96.0.0/16,demo-control-plane,{IN_CLUSTER}"),
        (" a , ,b,", ["b"], ["a"], f"a,b,{IN_CLUSTER}"),  # each once, the user's own first
        ("*", [], [], f"*,{IN_CLUSTER}"),
    ],
)
def test_no_proxy(current: str, subnets: list[str], nodes: list[str], value: str) -> None:
    """The user's own, then what is in the cluster."""
    assert no_proxy(current, subnets=subnets, nodes=nodes) == value


def test_without_a_proxy_nodes_are_told_nothing() -> None:
    """NO_PROXY alone means nothing."""
    assert node_env({"NO_PROXY": "x", "HOME": "/root"}, subnets=["10.96.0.0/16"], nodes=[]) == {}


def test_both_spellings() -> None:
    """Whichever the user has, programs look for one or the other; upper case wins."""
    env = node_env({"http_proxy": "http://a", "HTTP_PROXY": "http://b", "https_proxy": "http://c"}, subnets=[], nodes=[])

    assert env == {
        "HTTP_PROXY": "http://b",
        "http_proxy": "http://b",
        "HTTPS_PROXY": "http://c",
        "https_proxy": "http://c",
        "NO_PROXY": IN_CLUSTER,
        "no_proxy": IN_CLUSTER,
    }


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ({"proxies": {"default": {"httpProxy": "http://p", "noProxy": "corp"}}}, {"HTTP_PROXY": "http://p", "NO_PROXY": "corp"}),
        ({"proxies": {"default": {"httpProxy": "http://p"}, "tcp://e:1": {"httpsProxy": "http://own"}}}, {"HTTPS_PROXY": "http://own"}),
        ({"proxies": {"tcp://other:1": {"httpProxy": "http://p"}}}, {}),
        ({"proxies": []}, {}),
        ({}, {}),
    ],
)
def test_proxies_of_the_docker_client(config: object, found: dict[str, str], tmp_path: Path) -> None:
    """Those for the Engine, else the default ones."""
    (tmp_path / "config.json").write_text(json.dumps(config))

    assert container_proxies("tcp://e:1", tmp_path / "config.json") == found
    assert container_proxies("tcp://e:1", tmp_path / "none.json") == {}


@pytest.mark.parametrize(
    ("env", "value"),
    [({}, "http://stored"), ({"NO_PROXY": "x"}, "http://stored"), ({"https_proxy": "http://shell"}, None)],
)
def test_the_shells_proxies_count_first(env: dict[str, str], value: str | None) -> None:
    """A shell that has one for HTTP or HTTPS has said all."""
    assert proxies(env, {"HTTP_PROXY": "http://stored"}).get("HTTP_PROXY") == value


def test_the_shells_no_proxy_counts_beside_stored_proxies() -> None:
    """As for the kind program."""
    stored = {"HTTP_PROXY": "http://stored", "NO_PROXY": "stored.example"}

    assert proxies({"no_proxy": ".corp"}, stored) == stored | {"HTTPS_PROXY": "", "NO_PROXY": ".corp"}
    assert proxies({}, stored)["NO_PROXY"] == "stored.example"


@pytest.mark.anyio
async def test_nodes_get_the_docker_clients_proxies(fake: FakeEngine, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As kind does since 2026."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    (home / ".docker").mkdir()
    (home / ".docker/config.json").write_text(json.dumps({"proxies": {"default": {"httpProxy": "http://corp:3128"}}}))

    async with Cluster.running(name="demo", engine=fake.url):
        env = fake.containers["demo-control-plane"].env

    assert env["HTTP_PROXY"] == env["http_proxy"] == "http://corp:3128"
    assert "demo-control-plane" in env["NO_PROXY"]
