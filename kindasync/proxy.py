"""Proxies: which hosts a node's programs reach without one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

_IN_CLUSTER = (".svc", ".svc.cluster", ".svc.cluster.local")
_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


def no_proxy(current: str, *, subnets: Sequence[str], nodes: Sequence[str]) -> str:
    """The value of NO_PROXY for nodes: the user's own, then the cluster's networks, nodes and Services, each once."""
    own = (part.strip() for part in current.split(","))
    return ",".join(dict.fromkeys(part for part in (*own, *subnets, *nodes, *_IN_CLUSTER) if part))


def proxies(env: Mapping[str, str], stored: Mapping[str, str]) -> Mapping[str, str]:
    """Whose proxies count: those of a process's environment; if it has none for HTTP or HTTPS, those `stored` by the docker client, with its own NO_PROXY, if any."""
    given = _given(env)
    if given["HTTP_PROXY"] or given["HTTPS_PROXY"]:
        return env
    theirs = _given(stored)
    return {**theirs, "NO_PROXY": given["NO_PROXY"] or theirs["NO_PROXY"]}


def _given(env: Mapping[str, str]) -> dict[str, str]:
    return {name: env.get(name) or env.get(name.lower()) or "" for name in _VARIABLES}


def node_env(env: Mapping[str, str], *, subnets: Sequence[str], nodes: Sequence[str]) -> dict[str, str]:
    """The proxy variables for nodes, from a process's environment; in both spellings, as programs look for one or the other.

    Empty if there is no proxy.
    """
    values = _given(env)
    if not (values["HTTP_PROXY"] or values["HTTPS_PROXY"]):
        return {}
    values["NO_PROXY"] = no_proxy(values["NO_PROXY"], subnets=subnets, nodes=nodes)
    return {spelling: value for name, value in values.items() if value for spelling in (name, name.lower())}
