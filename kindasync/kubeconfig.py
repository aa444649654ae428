"""Kubeconfig: the documents with which clients find and enter a cluster; pure functions on them.

Source: client-go's tools/clientcmd: which file is read and written, and how names in it are replaced.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from kindasync.errors import KindasyncError

_LISTS = ("clusters", "users", "contexts")


def context_name(cluster: str) -> str:
    """The name of a cluster's context, cluster and user: kind's, by which other programs recognise it."""
    return f"kind-{cluster}"


def for_cluster(admin_conf: Mapping[str, Any], cluster: str, server: str) -> dict[str, Any]:
    """kubeadm's admin.conf under the cluster's names, for clients that reach the API server at `server`.

    Raises: KindasyncError unless it has exactly one cluster, user and context.
    """
    for key in _LISTS:
        if len(admin_conf.get(key) or ()) != 1:
            raise KindasyncError(
                f"the node's admin.conf has not exactly one of {key}", hint="was it changed in the node? kubeadm writes one of each"
            )
    name = context_name(cluster)
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {**admin_conf["clusters"][0]["cluster"], "server": server}}],
        "users": [{"name": name, "user": dict(admin_conf["users"][0]["user"])}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
        "preferences": {},
    }


def shape_problem(document: object) -> str:
    """Why a document is no kubeconfig that can be merged into; "" if it is one, or None."""
    if document is None:
        return ""
    if not isinstance(document, Mapping):
        return "it is YAML, but no mapping"
    for key in _LISTS:
        entries = document.get(key)
        if entries is not None and not isinstance(entries, list):
            return f"{key} is no list"
        for index, entry in enumerate(entries or []):
            if not isinstance(entry, Mapping):
                return f"{key}[{index}] is no mapping"
    return ""


def merge(existing: Mapping[str, Any] | None, new: Mapping[str, Any], *, set_current: bool = True) -> dict[str, Any]:
    """`existing` with the entries of `new`: those of the same name replaced where they stand, others appended.

    Everything else in `existing` is kept, unknown fields included. `existing` None or empty: as a new file.
    """
    result: dict[str, Any] = deepcopy(dict(existing)) if existing else {}
    if not result:
        result = {key: deepcopy(value) for key, value in new.items() if key not in _LISTS and key != "current-context"}
    for key, value in (("apiVersion", "v1"), ("kind", "Config")):
        result.setdefault(key, value)
    for key in _LISTS:
        entries = list(result.get(key) or [])
        for entry in new.get(key) or []:
            position = next((index for index, each in enumerate(entries) if each.get("name") == entry["name"]), None)
            if position is None:
                entries.append(deepcopy(entry))
            else:
                entries[position] = deepcopy(entry)
        result[key] = entries
    if set_current:
        result["current-context"] = new.get("current-context", "")
    return result


def remove(existing: Mapping[str, Any], cluster_name: str) -> dict[str, Any]:
    """`existing` without the cluster's entries, and without current context if it was the cluster's. All else is kept."""
    result = deepcopy(dict(existing))
    name = context_name(cluster_name)
    for key in _LISTS:
        if key in result:
            result[key] = [entry for entry in result[key] or [] if entry.get("name") != name]
    if result.get("current-context") == name:
        result["current-context"] = ""
    return result


def target_path(explicit: Path | None, env: Mapping[str, str], home: Path) -> Path:
    """The file to write to: the one given; else the first that exists of those in KUBECONFIG, else their last; else ~/.kube/config."""
    if explicit:
        return explicit
    paths = _from_environment(env)
    if paths:
        return next((path for path in paths if path.exists()), paths[-1])
    return home / ".kube" / "config"


def merged_paths(env: Mapping[str, str], home: Path) -> tuple[Path, ...]:
    """All files that clients read: those in KUBECONFIG, else ~/.kube/config."""
    return _from_environment(env) or (home / ".kube" / "config",)


def _from_environment(env: Mapping[str, str]) -> tuple[Path, ...]:
    """KUBECONFIG's paths, each once; empty ones do not count."""
    return tuple(dict.fromkeys(Path(part) for part in env.get("KUBECONFIG", "").split(os.pathsep) if part))
