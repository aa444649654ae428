"""Proxies: what nodes are told of them."""

from __future__ import annotations

import pytest

from kindasync.proxy import no_proxy, node_env

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
