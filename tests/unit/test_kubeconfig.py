"""Kubeconfig: pure functions on the documents of kubectl's configuration.

Source: kubernetes.io, "Organizing Cluster Access Using kubeconfig Files"; client-go's tools/clientcmd.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from kindasync.errors import KindasyncError
from kindasync.kubeconfig import context_name, for_cluster, merge, merged_paths, remove, shape_problem, target_path

ADMIN_CONF: Mapping[str, Any] = {
    "apiVersion": "v1",
    "kind": "Config",
    "clusters": [{"name": "demo", "cluster": {"certificate-authority-data": "Q0E=", "server": "https://demo-control-plane:6443"}}],
    "users": [{"name": "kubernetes-admin", "user": {"client-certificate-data": "Q0VSVA==", "client-key-data": "S0VZ"}}],
    "contexts": [{"name": "kubernetes-admin@demo", "context": {"cluster": "demo", "user": "kubernetes-admin"}}],
    "current-context": "kubernetes-admin@demo",
    "preferences": {},
}


def entries(name: str, server: str = "https://127.0.0.1:20001") -> dict[str, Any]:
    """The kubeconfig of one cluster, as `for_cluster` makes it."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"certificate-authority-data": "Q0E=", "server": server}}],
        "users": [{"name": name, "user": {"client-certificate-data": "Q0VSVA==", "client-key-data": "S0VZ"}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
        "preferences": {},
    }


OTHERS: Mapping[str, Any] = {
    "apiVersion": "v1",
    "kind": "Config",
    "clusters": [{"name": "work", "cluster": {"server": "https://work", "unknown": 1}}],
    "users": [{"name": "me", "user": {"exec": {"command": "aws", "args": ["eks"]}}}],
    "contexts": [{"name": "work", "context": {"cluster": "work", "user": "me", "namespace": "team"}}],
    "current-context": "work",
    "preferences": {"colors": True},
    "extensions": [{"name": "somebody's", "extension": {"a": 1}}],
}


def names(document: Mapping[str, Any]) -> list[list[str]]:
    return [[entry["name"] for entry in document[key]] for key in ("clusters", "users", "contexts")]


def test_the_name_of_a_context() -> None:
    """kind's, by which Tilt, Skaffold, ctlptl and k9s recognise a local cluster."""
    assert context_name("demo") == "kind-demo"


def test_admin_conf_becomes_the_clusters_own() -> None:
    """One name for cluster, user and context; the server is where this client reaches it; the rest is as kubeadm wrote it."""
    assert for_cluster(ADMIN_CONF, "demo", "https://127.0.0.1:20001") == entries("kind-demo")


@pytest.mark.parametrize("key", ["clusters", "users", "contexts"])
@pytest.mark.parametrize("value", [None, [], [{"name": "a"}, {"name": "b"}]])
def test_an_admin_conf_of_several_clusters_is_refused(key: str, value: object) -> None:
    """Which of them is meant nobody could tell."""
    with pytest.raises(KindasyncError, match=f"exactly one of {key}"):
        for_cluster({**ADMIN_CONF, key: value}, "demo", "https://127.0.0.1:20001")


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        (None, ""),
        ({}, ""),
        (OTHERS, ""),
        ({"clusters": None, "users": []}, ""),
        ("text", "it is YAML, but no mapping"),
        ([], "it is YAML, but no mapping"),
        ({"clusters": {}}, "clusters is no list"),
        ({"users": "me"}, "users is no list"),
        ({"contexts": [{"name": "a"}, "b"]}, "contexts[1] is no mapping"),
    ],
)
def test_what_is_no_kubeconfig(document: object, problem: str) -> None:
    """Is said to be none, with the place, before somebody merges into it."""
    assert shape_problem(document) == problem


@pytest.mark.parametrize("existing", [None, {}])
def test_merging_into_nothing(existing: Mapping[str, Any] | None) -> None:
    """The new file is the cluster's kubeconfig."""
    assert merge(existing, entries("kind-demo")) == entries("kind-demo")


def test_merging_beside_others() -> None:
    """New entries come last; whatever else is in the file stays, unknown fields included; only the current context changes."""
    merged = merge(OTHERS, entries("kind-demo"))

    assert names(merged) == [["work", "kind-demo"], ["me", "kind-demo"], ["work", "kind-demo"]]
    assert merged["current-context"] == "kind-demo"
    for key in ("preferences", "extensions", "apiVersion", "kind"):
        assert merged[key] == OTHERS[key]
    for key in ("clusters", "users", "contexts"):
        assert merged[key][0] == OTHERS[key][0]


def test_merging_again_replaces_in_place() -> None:
    """A cluster that was made anew under its old name: its entries stand where they stood, with nothing of the old ones."""
    first = merge(merge({}, entries("kind-demo", "https://127.0.0.1:1")), OTHERS, set_current=False)
    first["clusters"][0]["cluster"]["tls-server-name"] = "old"

    again = merge(first, entries("kind-demo", "https://127.0.0.1:2"))

    assert names(again) == names(first)
    assert again["clusters"][0] == entries("kind-demo", "https://127.0.0.1:2")["clusters"][0]


@pytest.mark.parametrize(("existing", "current"), [(OTHERS, "work"), ({}, None)])
def test_the_current_context_may_stay(existing: Mapping[str, Any], current: str | None) -> None:
    """As `set_current=False` says."""
    assert merge(existing, entries("kind-demo"), set_current=False).get("current-context") == current


def test_a_file_that_holds_little() -> None:
    """Lists that are null, and a missing kind: what kubectl leaves of an emptied configuration."""
    merged = merge({"clusters": None, "preferences": {}}, entries("kind-demo"))

    assert merged == entries("kind-demo")


def test_removing_what_was_merged_gives_the_old_back() -> None:
    """But for the current context, which is nobody's then: the one before it is not known any more."""
    assert remove(merge(OTHERS, entries("kind-demo")), "demo") == {**OTHERS, "current-context": ""}


def test_the_current_context_of_somebody_else_stays() -> None:
    """Deleting a cluster does not change where kubectl goes, unless it went there."""
    assert remove(merge(OTHERS, entries("kind-demo"), set_current=False), "demo") == OTHERS


@pytest.mark.parametrize("existing", [{}, OTHERS, {"clusters": None}, {"apiVersion": "v1", "kind": "Config"}])
def test_removing_what_is_not_there_changes_next_to_nothing(existing: Mapping[str, Any]) -> None:
    """A cluster of another name is another cluster: `demo2` is not `demo`."""
    assert remove(existing, "demo") == {key: value or [] if key == "clusters" else value for key, value in existing.items()}
    assert names(remove(merge(OTHERS, entries("kind-demo2")), "demo"))[0] == ["work", "kind-demo2"]


def test_arguments_are_left_alone() -> None:
    """These are pure functions: what goes in is not changed, and shares nothing with what comes out."""
    existing, new = deepcopy(dict(OTHERS)), entries("kind-demo")

    merged = merge(existing, new)
    removed = remove(merged, "demo")
    for document in (merged, removed):
        document["clusters"][0]["cluster"]["server"] = "changed"
        document["preferences"]["colors"] = "changed"

    assert (existing, new) == (OTHERS, entries("kind-demo"))


@pytest.mark.parametrize(
    ("variable", "there", "target"),
    [
        (None, (), ".kube/config"),
        ("", (), ".kube/config"),
        ("a", (), "a"),
        ("a:b:c", (), "c"),  # none is there: the last
        ("a:b:c", ("b", "c"), "b"),  # else the first that is
        (":a::", (), "a"),
    ],
)
def test_the_file_to_write_to(home: Path, variable: str | None, there: tuple[str, ...], target: str) -> None:
    """As kubectl chooses it: the first file of KUBECONFIG that exists, else its last, else ~/.kube/config."""
    for name in there:
        (home / name).touch()
    env = {} if variable is None else {"KUBECONFIG": ":".join(str(home / part) if part else "" for part in variable.split(":"))}

    assert target_path(None, env, home) == home / target
    assert target_path(Path("/explicit"), env, home) == Path("/explicit")


@pytest.mark.parametrize(
    ("variable", "paths"),
    [(None, [".kube/config"]), ("", [".kube/config"]), ("a", ["a"]), ("a::b:a", ["a", "b"])],
)
def test_the_files_that_are_read(home: Path, variable: str | None, paths: list[str]) -> None:
    """All of KUBECONFIG, each once, there or not; else ~/.kube/config."""
    env = {} if variable is None else {"KUBECONFIG": ":".join(str(home / part) if part else "" for part in variable.split(":"))}

    assert merged_paths(env, home) == tuple(home / path for path in paths)
