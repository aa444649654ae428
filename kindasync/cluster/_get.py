"""Get: a cluster's kubeconfig and nodes, from the Engine alone."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from kindasync import go_yaml
from kindasync.cluster import _state
from kindasync.cluster._delete import kubeconfig_dirs
from kindasync.cluster._facts import private_dir
from kindasync.cluster._lookup import api_server, existing_members, role_of
from kindasync.config import Role
from kindasync.docker import Connection
from kindasync.docker.archives import read_archive
from kindasync.docker.containers import Container
from kindasync.docker.system import system_info
from kindasync.errors import ClusterError, NodeError, NotFound
from kindasync.kubeconfig import for_cluster
from kindasync.node._files import only_file
from kindasync.node._kubeadm import ADMIN_CONF


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A cluster that is there."""

    kubeconfig: Mapping[str, Any]
    kubeconfig_path: Path
    containers: tuple[Container, ...]


async def get(connection: Connection, cluster: str) -> Found:
    """Find a cluster. The kubeconfig's file is the one that its nodes have mounted, if this machine has that, else one of this user's.

    Raises: ClusterNotFound; NodeError while no control plane runs, or before kubeadm has made its files.
    """
    containers = await existing_members(connection, cluster)
    facts = await system_info(connection)
    kubeconfig = for_cluster(await admin_conf(connection, containers), cluster, api_server(containers, cluster, facts))
    for directory in sorted(kubeconfig_dirs(containers, cluster)):
        path = directory / _state.KUBECONFIG
        if _says(path, kubeconfig):
            return Found(kubeconfig=kubeconfig, kubeconfig_path=path, containers=containers)
    path = private_dir(facts.engine_id, cluster) / _state.KUBECONFIG
    if not _says(path, kubeconfig):
        with suppress(ClusterError):  # it is a copy: who cannot keep it does without
            _state.write_kubeconfig(path.parent, kubeconfig)
    return Found(kubeconfig=kubeconfig, kubeconfig_path=path, containers=containers)


async def admin_conf(connection: Connection, containers: tuple[Container, ...]) -> Mapping[str, Any]:
    """kubeadm's admin.conf, from the first control plane that has it. Raises: NodeError."""
    for container in containers:
        if role_of(container) is Role.CONTROL_PLANE:
            try:
                document: Mapping[str, Any] = go_yaml.load(only_file(await read_archive(connection, container.id, ADMIN_CONF)))
                return document
            except NotFound:
                continue
    raise NodeError(
        "no control plane of the cluster has a kubeconfig",
        why=f"none has {ADMIN_CONF}: the cluster is being made, or its creation failed",
        hint="wait until it is made, or delete it",
    )


def _says(path: Path, kubeconfig: Mapping[str, Any]) -> bool:
    """Whether a file can be read and says just that."""
    try:
        return bool(go_yaml.load(path.read_text()) == kubeconfig)
    except (OSError, ValueError, yaml.YAMLError):
        return False
