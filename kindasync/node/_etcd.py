"""etcd: its members, listed and removed by a control plane, over the JSON that etcd speaks beside gRPC: nodes have curl, and no etcdctl.

Source: etcd.io, "gRPC gateway"; Cluster.MemberList, Cluster.MemberRemove.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from kindasync.docker import Connection
from kindasync.docker.execs import container_exec
from kindasync.errors import ExecFailed, NodeError

_PKI = "/etc/kubernetes/pki"
_CURL = (
    *("curl", "--silent", "--show-error", "--fail-with-body", "--max-time", "10"),
    *("--cacert", f"{_PKI}/etcd/ca.crt", "--cert", f"{_PKI}/apiserver-etcd-client.crt", "--key", f"{_PKI}/apiserver-etcd-client.key"),
)
_URL = "https://localhost:2379/v3/cluster/member/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A member of etcd. `name` is empty until it has started."""

    id: str
    name: str
    addresses: tuple[str, ...]


async def member_list(connection: Connection, container: str) -> tuple[Member, ...]:
    """All members, as the one of a control plane knows them. Raises: ExecFailed with etcd's words."""
    return members_in(await _call(connection, container, "list", {}))


async def member_remove(connection: Connection, container: str, member: Member) -> None:
    """Remove a member. Raises: ExecFailed, with etcd's words, if the others would be too few."""
    await _call(connection, container, "remove", {"ID": member.id})


def members_in(reply: Mapping[str, Any]) -> tuple[Member, ...]:
    """The members in the answer to MemberList."""
    return tuple(
        Member(
            id=str(each["ID"]),
            name=each.get("name", ""),
            addresses=tuple(str(urlsplit(url).hostname) for url in each.get("peerURLs", ())),
        )
        for each in reply.get("members", ())
    )


def member_of(members: Collection[Member], node: str, addresses: Collection[str]) -> Member | None:
    """The member on a node, by its name, or by its address if it has not started."""
    return next((each for each in members if each.name == node or (not each.name and set(each.addresses) & set(addresses))), None)


async def _call(connection: Connection, container: str, operation: str, body: Mapping[str, str]) -> Mapping[str, Any]:
    argv = (*_CURL, "--data", json.dumps(body), _URL + operation)
    result = await container_exec(connection, container, argv)
    if result.exit_code:
        raise ExecFailed(container, argv, result.exit_code, f"{result.tail()}\n{result.text}".strip())
    try:
        reply: Mapping[str, Any] = json.loads(result.text)
    except ValueError as error:
        raise NodeError(f"etcd of {container} did not answer in JSON", why=result.text[:200]) from error
    return reply
