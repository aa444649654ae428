"""Patched: a node's configuration files after the user's patches, those of the cluster first, then those of the node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from kindasync import events
from kindasync.cluster._run import Run
from kindasync.cluster.plan import NodePlan
from kindasync.errors import ClusterError, ConfigInvalid, Problem
from kindasync.node import _kubeadm as kubeadm

CONTAINERD_CONFIG = "/etc/containerd/config.toml"


def patched_kubeadm(run: Run, node: NodePlan, documents: Sequence[Mapping[str, Any]], *, joins: bool, founds: bool = False) -> str:
    """kubeadm's documents for a node, as one text, those that it reads patched; a patch that has no effect is told. `founds`: a node that would join is initialised.

    kind's order: merge patches, then JSON patches, of the cluster; then both of the node. Raises: ClusterError for what cannot be applied.
    """
    # A node that joins has all but this from the cluster, as the first one made it.
    read = [each for each in documents if (each["kind"] == "JoinConfiguration") is joins]
    unread = [each for each in documents if each not in read]
    patched = _patched(run, node, kubeadm.to_yaml(read), joins=joins, founds=founds)
    return f"{kubeadm.to_yaml(unread)}---\n{patched}" if unread else patched


def _patched(run: Run, node: NodePlan, documents: str, *, joins: bool, founds: bool) -> str:
    config = run.request.config
    own = config.nodes[node.config_index]
    prefix = f"nodes[{node.config_index}]."
    levels = [
        ("", config.kubeadm_config_patches, config.kubeadm_config_patches_json6902),
        (prefix, own.kubeadm_config_patches, own.kubeadm_config_patches_json6902),
    ]
    if not any(merge_patches or json_patches for _, merge_patches, json_patches in levels):
        return documents
    from kindasync.config import patches

    unpatched = documents
    read = [kind for kind in patches.KINDS if (kind == "JoinConfiguration") is joins]
    with _applied_to(node):
        for level, merge_patches, json_patches in levels:
            for problem in patches.unmatched_kubeadm(
                documents, merge_patches, json_patches, prefix=level, kinds=patches.KINDS if level else read, read=read
            ):
                _warn(run, node, problem)
            if merge_patches:
                documents = patches.merge_kubeadm(documents, merge_patches, path=f"{level}kubeadmConfigPatches")
            if json_patches:
                documents = patches.json6902_kubeadm(documents, json_patches, path=f"{level}kubeadmConfigPatchesJSON6902")
    if kubeadm.PATCHES_PATH in unpatched and kubeadm.PATCHES_PATH not in documents:
        message = "kubeadm's patches.directory is another: what the node offers to pods does not agree with its limits"
        _warn(run, node, Problem(path=f"extras.nodes[{node.config_index}]", message=message))
    for name in () if joins else kubeadm.mask_sizes(documents):
        run.emit(
            events.Warned,
            node=node.name,
            message=f"the controller-manager's {name} has no effect: nodes get podCIDRs of /24, IPv6 ones of /64",
        )
    for name in kubeadm.not_initialised(unpatched, documents) if founds else ():
        message = f"patches of JoinConfiguration change {name}, which has no effect: several control planes are initialised at once"
        run.emit(events.Warned, node=node.name, message=message)
    return documents


def patches_containerd(run: Run) -> bool:
    """Whether containerd's configuration is patched."""
    config = run.request.config
    return bool(config.containerd_config_patches or config.containerd_config_patches_json6902)


def patched_containerd(run: Run, node: NodePlan, document: str) -> str:
    """containerd's configuration for a node. Raises: ClusterError for what cannot be applied."""
    from kindasync.config import patches

    config = run.request.config
    with _applied_to(node):
        for problem in patches.unmatched_containerd(document, config.containerd_config_patches):
            _warn(run, node, problem)
        document = patches.merge_containerd(document, config.containerd_config_patches, path="containerdConfigPatches")
        document = patches.json6902_containerd(document, config.containerd_config_patches_json6902, path="containerdConfigPatchesJSON6902")
    registries = config.extras.registries
    if (registries.local or registries.mirrors) and patches.has_mirrors(document):
        message = "containerdConfigPatches name registry.mirrors: then containerd asks no registry of the cluster's own (ClusterExtras)"
        run.emit(events.Warned, node=node.name, message=message)
    return document


def _warn(run: Run, node: NodePlan, problem: Problem) -> None:
    run.emit(events.Warned, node=node.name, message=str(problem))


@contextmanager
def _applied_to(node: NodePlan) -> Iterator[None]:
    try:
        yield
    except ConfigInvalid as error:  # "nothing was created" is no longer true
        raise ClusterError(
            f"cannot patch the configuration of node {node.name}",
            why=error.why,
            hint="see what the operation finds there: /kind/kubeadm.conf and /etc/containerd/config.toml of a node without the patch",
        ) from error
    except ValueError as error:  # tomllib's, of the image's own file
        raise ClusterError(
            f"cannot patch the configuration of node {node.name}",
            why=f"{CONTAINERD_CONFIG} of its image is not TOML: {error}",
            hint="leave out containerdConfigPatches, or use another image",
        ) from error
