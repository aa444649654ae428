"""Merge patches (RFC 7386), and what kubeadm's documents need beyond it: arguments merge by their name, certSANs add up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Rule = Callable[[Any, Any], Any]  # (what is there, or None; the patch) -> the merged value
ARGUMENTS = ("extraArgs", "kubeletExtraArgs")


def merge(target: Any, patch: Any, rules: Mapping[str, Rule]) -> Any:
    """`target` with `patch` merged into it: mappings member by member, null removes, all else replaces; `rules` by name of a member."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif key in rules:
            result[key] = rules[key](result.get(key), value)
        else:
            result[key] = merge(result.get(key), value, rules)
    return result


def kubeadm_rules(api_version: str) -> dict[str, Rule]:
    """The rules for a document of this apiVersion; for those that are not kubeadm's own, none."""
    group, _, version = api_version.partition("/")
    if group != "kubeadm.k8s.io":
        return {}
    as_list = version not in ("v1beta1", "v1beta2", "v1beta3")

    def arguments(target: Any, patch: Any) -> Any:
        if not are_arguments(target) or not are_arguments(patch):
            return patch
        merged = _merged(_pairs(target), _pairs(patch))
        return [{"name": name, "value": value} for name, value in merged] if as_list else dict(merged)

    return {**dict.fromkeys(ARGUMENTS, arguments), "certSANs": _without_repeats}


def are_arguments(value: Any) -> bool:
    """Whether it is of one of the two forms that arguments have, or nothing."""
    return value is None or isinstance(value, dict) or (isinstance(value, list) and all(isinstance(x, dict) and "name" in x for x in value))


def _pairs(value: Any) -> list[tuple[str, Any]]:
    """Arguments in either form: v1beta4's list of name and value, or the mapping of versions before it."""
    if isinstance(value, list):
        return [(item["name"], item.get("value", "")) for item in value]
    return list((value or {}).items())


def _merged(target: list[tuple[str, Any]], patch: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """A name of the patch replaces all that is there by it, at its place; null removes. A name may come more than once."""
    given: dict[str, list[tuple[str, Any]]] = {}
    for name, value in patch:
        given.setdefault(name, []).extend([] if value is None else [(name, value)])
    result = []
    for name, value in target:
        if name not in given:
            result.append((name, value))
        else:
            result += given[name]
            given[name] = []
    return result + [pair for pairs in given.values() for pair in pairs]


def _without_repeats(target: Any, patch: Any) -> Any:
    if not isinstance(patch, list) or not isinstance(target, list):
        return patch
    return [*target, *(name for index, name in enumerate(patch) if name not in target and name not in patch[:index])]
