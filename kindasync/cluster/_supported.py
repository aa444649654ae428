"""Supported: what of kind's configuration this version cannot do yet. It is refused, never ignored."""

from __future__ import annotations

from collections.abc import Iterator

from kindasync.config import ClusterConfig, IPFamily
from kindasync.errors import Problem

_LATER = "is not supported by this version of kindasync"


def unsupported(config: ClusterConfig) -> Iterator[Problem]:
    """Everything in `config` that would have no effect."""
    if config.networking.ip_family is not IPFamily.IPV4:
        yield Problem(path="networking.ipFamily", message=f"{config.networking.ip_family} {_LATER}")
    if config.networking.dns_search is not None:
        yield Problem(path="networking.dnsSearch", message=_LATER)
    lists = {
        "kubeadmConfigPatches": config.kubeadm_config_patches,
        "kubeadmConfigPatchesJSON6902": config.kubeadm_config_patches_json6902,
        "containerdConfigPatches": config.containerd_config_patches,
        "containerdConfigPatchesJSON6902": config.containerd_config_patches_json6902,
    }
    for index, node in enumerate(config.nodes):
        lists[f"nodes[{index}].kubeadmConfigPatches"] = node.kubeadm_config_patches
        lists[f"nodes[{index}].kubeadmConfigPatchesJSON6902"] = node.kubeadm_config_patches_json6902
    for path, patches in lists.items():
        if patches:
            yield Problem(path=path, message=_LATER)
