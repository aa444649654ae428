"""Patches: what a configuration changes in kubeadm's documents (YAML) and in containerd's file (TOML).

Source: kind's kubeadmConfigPatches, kubeadmConfigPatchesJSON6902, containerdConfigPatches and containerdConfigPatchesJSON6902.
All is pure: text in, text out. Messages show patches, never what they are applied to, which holds a token.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kindasync import go_yaml
from kindasync.config import _json_patch as json_patch
from kindasync.config._document import ClusterConfig, PatchJson6902
from kindasync.config._merge_patch import ARGUMENTS, are_arguments, kubeadm_rules, merge
from kindasync.config._yaml import Scalar, load_documents
from kindasync.errors import ConfigInvalid, Problem

__all__ = [
    "has_mirrors",
    "json6902_containerd",
    "json6902_kubeadm",
    "merge_containerd",
    "merge_kubeadm",
    "patch_problems",
    "unmatched_containerd",
    "unmatched_kubeadm",
]

KINDS = (
    "ClusterConfiguration",
    "InitConfiguration",
    "JoinConfiguration",
    "KubeletConfiguration",
    "KubeProxyConfiguration",
)
_MAPPINGS = ("nodeRegistration", "localAPIEndpoint", "controlPlane", "controllerManager", "dns", "proxy", "patches")
Json6902 = PatchJson6902 | str
_TABLES = {2: "io.containerd.grpc.v1.cri", 3: "io.containerd.cri.v1."}  # how those of CRI begin in a version of containerd's format


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    """Which documents a patch is for. None, or an empty kind: any."""

    group: str | None = None
    version: str | None = None
    kind: str = ""

    @property
    def api_version(self) -> str:
        return "/".join("*" if part is None else part for part in (self.group, self.version) if part != "")

    def matches(self, document: Mapping[str, Any]) -> bool:
        group, version = _split(document.get("apiVersion", ""))
        return self.kind in ("", document.get("kind")) and self.group in (None, group) and self.version in (None, version)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Patch:
    """One patch: `content` is a document to merge, or a list of operations; `path` where those begin."""

    target: _Target
    content: Any
    path: str


def merge_kubeadm(documents: str, patches: Sequence[str], *, path: str = "patches") -> str:
    """kubeadm's documents with merge patches (RFC 7386), each for the documents of its kind and, if it names one, apiVersion.

    extraArgs and kubeletExtraArgs merge by name, in either form; certSANs are added. Of `path`, problems are told.
    Raises: ConfigInvalid for what is no such patch.
    """
    parsed = _checked(_merge_patches(patches, path))
    result = _documents(documents)
    for patch in parsed:
        for index, document in enumerate(result):
            if patch.target.matches(document):
                result[index] = merge(document, patch.content, kubeadm_rules(document.get("apiVersion", "")))
    return go_yaml.dump_all(result)


def json6902_kubeadm(documents: str, patches: Sequence[Json6902], *, path: str = "patches") -> str:
    """kubeadm's documents with JSON patches (RFC 6902), in YAML or JSON, each for the documents of its group, version and kind.

    A patch may be a text: a mapping with group, version, kind and patch, or only operations, which then are for each document.
    Raises: ConfigInvalid for what is no such patch, or has an operation that cannot be applied.
    """
    parsed = _checked(_json_patches(patches, path))
    result = _documents(documents)
    for patch in parsed:
        for index, document in enumerate(result):
            if patch.target.matches(document):
                result[index] = _applied(document, patch)
                if problems := [*_head_problems(document, result[index], patch.path), *_shape_problems(result[index], patch.path)]:
                    raise ConfigInvalid(problems)
    return go_yaml.dump_all(result)


def merge_containerd(documents: str, patches: Sequence[str], *, path: str = "patches") -> str:
    """containerd's configuration (TOML) with merge patches in TOML; one for another `version` of the format has no effect.

    Raises: ConfigInvalid for what is not TOML.
    """
    parsed = _checked(_toml_patches(patches, path))
    result = tomllib.loads(documents)
    for patch in parsed:
        if not _other_version(result, patch.content):
            result = merge(result, patch.content, {})
    return _to_toml(result)


def json6902_containerd(documents: str, patches: Sequence[str], *, path: str = "patches") -> str:
    """containerd's configuration (TOML) with JSON patches (RFC 6902).

    Raises: ConfigInvalid for what is no such patch, or has an operation that cannot be applied.
    """
    parsed = _checked(_toml_json_patches(patches, path))
    result: Any = tomllib.loads(documents)
    for patch in parsed:
        result = _applied(result, patch)
    return _to_toml(result)


def patch_problems(config: ClusterConfig) -> Iterator[Problem]:
    """What is wrong with the patches of a configuration, as far as it can be known without what they are applied to."""
    levels = [("", config.kubeadm_config_patches, config.kubeadm_config_patches_json6902)]
    levels += [
        (f"nodes[{index}].", node.kubeadm_config_patches, node.kubeadm_config_patches_json6902) for index, node in enumerate(config.nodes)
    ]
    for prefix, merge_patches, json_patches in levels:
        yield from _problems(_merge_patches(merge_patches, f"{prefix}kubeadmConfigPatches"))
        yield from _problems(_json_patches(json_patches, f"{prefix}kubeadmConfigPatchesJSON6902"))
    yield from _problems(_toml_patches(config.containerd_config_patches, "containerdConfigPatches"))
    yield from _problems(_toml_json_patches(config.containerd_config_patches_json6902, "containerdConfigPatchesJSON6902"))


def unmatched_kubeadm(
    documents: str,
    patches: Sequence[str],
    json_patches: Sequence[PatchJson6902],
    *,
    prefix: str = "",
    kinds: Collection[str] = KINDS,
    read: Collection[str] = KINDS,
) -> Iterator[Problem]:
    """The patches for one of `kinds` that match none of a node's documents that are `read`, and why. Raises: ConfigInvalid."""
    there = {document.get("kind"): document for document in _documents(documents) if document.get("kind") in read}
    parsed = _checked(_merge_patches(patches, f"{prefix}kubeadmConfigPatches"))
    parsed += _checked(_json_patches(json_patches, f"{prefix}kubeadmConfigPatchesJSON6902"))
    for patch in parsed:
        kind = patch.target.kind
        if kind not in kinds or any(patch.target.matches(document) for document in there.values()):
            continue
        if kind in there:
            message = f"is for {kind} of {patch.target.api_version}; here it is {there[kind].get('apiVersion')}, so the patch has no effect"
        else:
            message = f"is for {kind}; this node has none of its own, so the patch has no effect here"
        yield Problem(path=patch.path, message=message)


def unmatched_containerd(document: str, patches: Sequence[str]) -> Iterator[Problem]:
    """The merge patches that are for another version of containerd's format, or for tables of another one. Raises: ConfigInvalid."""
    there = tomllib.loads(document)
    for patch in _checked(_toml_patches(patches, "containerdConfigPatches")):
        if _other_version(there, patch.content):
            versions = f"version {patch.content['version']}; here it is {there['version']}"
            yield Problem(path=patch.path, message=f"is for {versions}, so the patch has no effect")
            continue
        plugins = patch.content.get("plugins")
        for name in plugins if isinstance(plugins, dict) else ():
            version = next((version for version, begin in _TABLES.items() if name.startswith(begin)), None)
            if version and version != there.get("version", version):
                message = f'names "{name}", a table of version {version}; here it is {there["version"]}, so that has no effect'
                yield Problem(path=patch.path, message=message)


def has_mirrors(document: str) -> bool:
    """Whether containerd's configuration names mirrors of registries itself, the old way: then it looks into no directory of theirs."""
    match tomllib.loads(document):
        case {"plugins": {"io.containerd.grpc.v1.cri": {"registry": {"mirrors": _}}}}:
            return True
        case {"plugins": {"io.containerd.cri.v1.images": {"registry": {"mirrors": _}}}}:
            return True
    return False


def _problems(parsed: Iterator[_Patch | Problem]) -> Iterator[Problem]:
    return (item for item in parsed if isinstance(item, Problem))


def _checked(parsed: Iterator[_Patch | Problem]) -> list[_Patch]:
    items = list(parsed)
    problems = [item for item in items if isinstance(item, Problem)]
    if problems:
        raise ConfigInvalid(problems)
    return [item for item in items if isinstance(item, _Patch)]


def _merge_patches(patches: Sequence[str], path: str) -> Iterator[_Patch | Problem]:
    for index, text in enumerate(patches):
        below = f"{path}[{index}]"
        documents, problems = load_documents(text)
        yield from (_below(below, problem) for problem in problems)
        for document in documents:
            if not isinstance(document, dict):
                yield Problem(path=below, message="must be a YAML mapping with kind")
                continue
            content = _plain(document)
            kind, api_version = content.get("kind"), content.get("apiVersion") or ""
            group, version = _split(str(api_version)) if api_version else (None, None)
            target = _Target(group=group, version=version, kind=str(kind or ""))
            wrong = [*_kind_problems(target, below), *_shape_problems(content, below)]
            registration = content.get("nodeRegistration")
            if isinstance(registration, dict) and "name" in registration:
                yield Problem(path=f"{below}.nodeRegistration.name", message="cannot be chosen: nodes are called as their containers")
            yield from wrong
            if not wrong:
                yield _Patch(target=target, content=content, path=below)


def _json_patches(patches: Sequence[Json6902], path: str, *, has_kinds: bool = True) -> Iterator[_Patch | Problem]:
    for index, patch in enumerate(patches):
        below = f"{path}[{index}]"
        if isinstance(patch, PatchJson6902):
            target: _Target | None = _Target(group=patch.group or None, version=patch.version or None, kind=patch.kind)
            operations, problems = _operations(patch.patch, f"{below}.patch")
            where = f"{below}.patch"
        else:
            operations, problems = _operations(patch, below)
            target, where = None, below
            if has_kinds and isinstance(operations, dict):
                group, version, kind = (str(operations.get(name) or "") for name in ("group", "version", "kind"))
                target = _Target(group=group or None, version=version or None, kind=kind)
                operations, where = operations.get("patch"), f"{below}.patch"
                if isinstance(operations, str):
                    operations, problems = _operations(operations, where)
        if target:
            problems += _kind_problems(target, below)
        problems = problems or list(json_patch.operation_problems(operations, where))
        yield from problems
        if not problems:
            yield _Patch(target=target or _Target(), content=operations, path=where)


def _toml_patches(patches: Sequence[str], path: str) -> Iterator[_Patch | Problem]:
    for index, text in enumerate(patches):
        below = f"{path}[{index}]"
        try:
            yield _Patch(target=_Target(), content=tomllib.loads(text), path=below)
        except (ValueError, RecursionError) as error:  # ValueError: also a number that is too long
            yield Problem(path=below, message=f"not TOML: {error}")


def _toml_json_patches(patches: Sequence[str], path: str) -> Iterator[_Patch | Problem]:
    for patch in _json_patches(patches, path, has_kinds=False):
        null = isinstance(patch, _Patch) and any(
            operation["op"] in ("add", "replace") and _has_null(operation["value"]) for operation in patch.content
        )
        yield Problem(path=patch.path, message="TOML has no null: remove takes something away") if null else patch


def _kind_problems(target: _Target, path: str) -> Iterator[Problem]:
    if not target.kind:
        yield Problem(path=f"{path}.kind", message="is required: it says which document the patch is for")
    elif target.kind not in KINDS:
        yield Problem(path=f"{path}.kind", message=f'there is no document "{target.kind}", only {", ".join(KINDS)}')


def _head_problems(before: Mapping[str, Any], after: Mapping[str, Any], path: str) -> Iterator[Problem]:
    for name in ("kind", "apiVersion"):
        if after.get(name) != before.get(name):
            yield Problem(path=path, message=f"changes {name}: then it is another document")


def _shape_problems(document: Mapping[str, Any], path: str) -> Iterator[Problem]:
    """What is of another shape than kubeadm's members have; only those that are read here, too."""
    for name in _MAPPINGS:
        if not isinstance(document.get(name), dict | None):
            yield Problem(path=f"{path}.{name}", message="must be a mapping")
    skipped = document.get("skipPhases")
    if not isinstance(skipped, list | None) or not all(isinstance(phase, str) for phase in skipped or ()):
        yield Problem(path=f"{path}.skipPhases", message="must be a list of texts")
    yield from _argument_problems(document, path)


def _argument_problems(value: Any, path: str) -> Iterator[Problem]:
    for name, below in value.items() if isinstance(value, dict) else ():
        if name in ARGUMENTS and not are_arguments(below):
            yield Problem(path=f"{path}.{name}", message="must be a list, each entry with name and value, or a mapping")
        yield from _argument_problems(below, f"{path}.{name}")


def _operations(text: str, path: str) -> tuple[Any, list[Problem]]:
    """A list of operations, from JSON or YAML."""
    try:
        operations = json.loads(text, parse_constant=_no_number)
        json.dumps(operations, ensure_ascii=False).encode()
        return operations, []
    except RecursionError:
        return None, [Problem(path=path, message="is nested without end")]
    except UnicodeEncodeError:
        return None, [Problem(path=path, message="has half of a character (\\ud800 and the like)")]
    except ValueError:
        documents, problems = load_documents(text)
        if len(documents) > 1:
            problems.append(Problem(path="", message="must be one list of operations"))
        return _plain(documents[0]) if documents else None, [_below(path, problem) for problem in problems]


def _no_number(text: str) -> None:
    """JSON has no NaN and no Infinity, whatever Python reads."""
    raise ValueError(text)


def _applied(document: Any, patch: _Patch) -> Any:
    for index, operation in enumerate(patch.content):
        where = f"{patch.path}[{index}]"
        try:
            document = json_patch.apply(document, operation)
        except json_patch.OperationFailed as error:
            raise ConfigInvalid([Problem(path=where, message=f"cannot be applied: {error}")]) from error
        if not isinstance(document, dict):
            raise ConfigInvalid([Problem(path=where, message=f'{operation["op"]} "" leaves no mapping')])
    return document


def _documents(text: str) -> list[Any]:
    documents, problems = load_documents(text)
    if problems:
        raise ConfigInvalid(problems)
    return [_plain(document) for document in documents]


def _plain(value: Any, *, texts: bool = False) -> Any:
    """What YAML says, as JSON has it; arguments stay the texts they are for kubeadm, as written."""
    if isinstance(value, dict):
        return {key: _plain(item, texts=texts or key in ARGUMENTS) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, texts=texts) for item in value]
    if not isinstance(value, Scalar):
        return value
    return str(value) if texts else value.value


def _below(path: str, problem: Problem) -> Problem:
    where = f" ({problem.path})" if problem.path else ""
    return Problem(path=path, message=f"{problem.message}{where}")


def _split(api_version: str) -> tuple[str, str]:
    """Group and version; what has no slash is a version."""
    group, slash, version = api_version.partition("/")
    return (group, version) if slash else ("", group)


def _other_version(document: Mapping[str, Any], patch: Mapping[str, Any]) -> bool:
    return "version" in document and "version" in patch and document["version"] != patch["version"]


def _has_null(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_null, value.values()))
    return any(map(_has_null, value)) if isinstance(value, list) else value is None


def _to_toml(document: Mapping[str, Any]) -> str:
    import tomli_w

    return tomli_w.dumps(document)
