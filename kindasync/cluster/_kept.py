"""Kept: what a cluster's configuration asks of all its nodes, in a file of the control planes, for nodes that are added later."""

from __future__ import annotations

from typing import Any

from kindasync import go_yaml
from kindasync.config import ClusterConfig, load
from kindasync.docker import Connection
from kindasync.docker.archives import read_archive
from kindasync.docker.containers import Container
from kindasync.errors import NotFound
from kindasync.node._files import File, only_file

PATH = "/kind/cluster.conf"
_HEAD = {"kind": "Cluster", "apiVersion": "kind.x-k8s.io/v1alpha4"}


def kept_files(config: ClusterConfig) -> dict[str, File]:
    """The file: kind's document, of what kubeadm and the Engine do not keep. None if nothing is asked for. Patches may hold secrets: it is root's."""
    search = config.networking.dns_search
    asked: dict[str, Any] = {
        "networking": None if search is None else {"dnsSearch": list(search)},
        "kubeadmConfigPatches": list(config.kubeadm_config_patches),
        "kubeadmConfigPatchesJSON6902": [
            {"group": each.group, "version": each.version, "kind": each.kind, "patch": each.patch}
            for each in config.kubeadm_config_patches_json6902
        ],
        "containerdConfigPatches": list(config.containerd_config_patches),
        "containerdConfigPatchesJSON6902": list(config.containerd_config_patches_json6902),
    }
    document = {field: value for field, value in asked.items() if value}
    return {PATH: File(content=go_yaml.dump(_HEAD | document).encode(), mode=0o600)} if document else {}


async def read_kept(connection: Connection, control_plane: Container) -> ClusterConfig:
    """What was kept; the defaults in a cluster of another program, or one that asked for nothing. Raises: ConfigInvalid; EngineError."""
    try:
        archive = await read_archive(connection, control_plane.id, PATH)
    except NotFound:
        return ClusterConfig()
    return load(only_file(archive))
