"""Apply: the objects of a manifest, made or changed as the manifest says, by server-side apply.

Source: Kubernetes, "Server-Side Apply": PATCH with application/apply-patch+yaml, a field manager, and `force`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio
import yaml

from kindasync import go_yaml
from kindasync.cluster import _api
from kindasync.cluster._api import ClusterApi
from kindasync.cluster._discovery import DEFINITIONS, Resource
from kindasync.cluster._readiness import condition_of
from kindasync.errors import ApiRefused, ApiUnreachable, ClusterError, KindUnknown, NotReady, StepFailed

FIELD_MANAGER = "kindasync"
UNEXPLAINED = 3
Manifest = str | bytes | Path | Mapping[str, Any] | Sequence[Mapping[str, Any]]
_FILES = (".yaml", ".yml", ".json")
_DEFINITION = "CustomResourceDefinition"


def read(manifest: Manifest) -> list[Mapping[str, Any]]:
    """The objects of a manifest, those of lists in it included.

    Shape: YAML or JSON text; the path of a file of it, or of a directory of them (.yaml, .yml and .json, no directories in it); an object, or several.
    Raises: ClusterError with all that is wrong; OSError for a file that cannot be read.
    """
    if isinstance(manifest, Path):
        paths = sorted(path for path in manifest.iterdir() if path.suffix in _FILES) if manifest.is_dir() else [manifest]
        sources = {f"{path}: ": _parsed(path.read_bytes(), str(path)) for path in paths}
    elif isinstance(manifest, str | bytes):
        sources = {"": _parsed(manifest, "the manifest")}
    else:
        sources = {"": [manifest] if isinstance(manifest, Mapping) else [*manifest]}
    flat = [(source, number, each) for source, documents in sources.items() for number, each in enumerate(_flat(documents), 1)]
    problems = [f"{source}object {number}: {problem}" for source, number, each in flat for problem in _problems(each)]
    objects = [each for _, _, each in flat]
    if problems or not objects:
        raise ClusterError(
            "the manifest cannot be applied",
            why="\n".join(problems) or "there is no object in it",
            hint="a file is given as a pathlib.Path" if isinstance(manifest, str) else "",
        )
    return objects


def _parsed(text: str | bytes, source: str) -> list[Any]:
    try:
        return [document for document in go_yaml.load_all(text) if document is not None]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", in line {mark.line + 1}" if mark else ""
        raise ClusterError(f"{source} is not YAML", why=f"{getattr(error, 'problem', None) or error}{where}") from None


def _flat(documents: Sequence[Any]) -> Iterator[Any]:
    for document in documents:
        if isinstance(document, Mapping) and str(document.get("kind")).endswith("List") and isinstance(document.get("items"), list):
            yield from _flat(document["items"])
        else:
            yield document


def _problems(document: Any) -> Iterator[str]:
    """What keeps a document from being an object that can be applied."""
    if not isinstance(document, Mapping):
        yield f"it is no object, but {type(document).__name__}"
        return
    metadata = document.get("metadata")
    fields = {"apiVersion": document.get("apiVersion"), "kind": document.get("kind")}
    fields["metadata.name"] = metadata.get("name") if isinstance(metadata, Mapping) else None
    for path, value in fields.items():
        if path == "metadata.name" and value is None and isinstance(metadata, Mapping) and "generateName" in metadata:
            yield f"{path} is missing: what has a generateName can be created (by client()), not applied"
        elif not (isinstance(value, str) and value):
            yield f"{path} is missing, or no text"
    try:
        json.dumps(document)
    except (TypeError, ValueError) as error:
        yield f"it is no JSON: {error}"


async def apply(
    api: ClusterApi, cluster: str, objects: Sequence[Mapping[str, Any]], *, namespace: str, timeout_s: float
) -> list[dict[str, Any]]:
    """Apply objects, and return them as the API server has them, in the same order. See `Cluster.apply`."""
    application = _Application(api, namespace)
    first = [number for number, each in enumerate(objects) if each["kind"] in ("Namespace", _DEFINITION)]
    rest = [number for number in range(len(objects)) if number not in first]
    try:
        with anyio.fail_after(timeout_s):
            for number in first:
                await application.apply(number, objects[number])
            for number in first:
                if number in application.applied:
                    await application.wait_usable(objects[number])
            for number in rest:
                await application.apply(number, objects[number])
    except TimeoutError:
        late = NotReady(application.awaited, api.last_failure or "no answer", after_s=timeout_s, hint="a longer timeout_s may do")
        for failure in application.failures:
            late.add_note(f"before that: {failure}")
        raise late from None
    if application.failures:
        count = f"{len(application.failures)} of {len(objects)} objects" if len(objects) > 1 else "the object"
        raise StepFailed(f"apply {count}", cluster, application.failures)
    return [application.applied[number] for number in range(len(objects))]


class _Application:
    """One manifest on its way. `applied`: the API server's answers, by number; `failures`: the objects that it refused, and why."""

    def __init__(self, api: ClusterApi, namespace: str) -> None:
        self._api = api
        self._namespace = namespace
        self._defined: set[tuple[str, str]] = set()
        self.applied: dict[int, dict[str, Any]] = {}
        self.failures: list[ClusterError] = []
        self.awaited = ""

    async def apply(self, number: int, document: Mapping[str, Any]) -> None:
        """Apply one object, and note its refusal: the others may go on."""
        metadata = document["metadata"]
        namespace = metadata.get("namespace") or self._namespace
        label = f"{document['kind']} {metadata['name']}"
        self.awaited = f"{label} to be applied"
        try:
            resource = await self._resource(document["apiVersion"], document["kind"])
            label = resource.label(document, namespace)
            self.awaited = f"{label} to be applied"
            path = resource.path(namespace, metadata["name"])
            if "managedFields" in metadata:  # of an object as it was read: what it takes is who manages what, which is not for us to say
                document = {**document, "metadata": {name: value for name, value in metadata.items() if name != "managedFields"}}
            self.applied[number] = await self._patch(f"{path}?fieldManager={FIELD_MANAGER}&force=true&fieldValidation=Strict", document)
        except (ApiRefused, KindUnknown) as error:
            self._fail(label, error)

    async def _patch(self, path: str, document: Mapping[str, Any]) -> Any:
        """Insist on a change. A 500 without reason is etcd's, which may pass, or a schema's, which does not: it is tried UNEXPLAINED times."""
        unexplained = 0
        while True:
            try:
                return await self._api.request("PATCH", path, document, content_type="application/apply-patch+yaml")
            except ApiUnreachable:
                pass
            except ApiRefused as error:
                unexplained += not error.reason
                if not _api.passes(error) or unexplained == UNEXPLAINED:
                    raise
            await anyio.sleep(_api.RETRY_S)

    async def _resource(self, api_version: str, kind: str) -> Resource:
        """Where an object belongs. Raises: KindUnknown, unless the kind has just been defined: discovery is a moment behind."""
        while True:
            try:
                return await self._api.resource(api_version, kind)
            except ApiUnreachable:
                await anyio.sleep(_api.RETRY_S)
                continue
            except ApiRefused as error:
                if _api.passes(error):
                    await anyio.sleep(_api.RETRY_S)
                    continue
                if error.status != 404:
                    raise
                unknown = KindUnknown(kind, api_version)
            except KindUnknown as error:
                unknown = error
            if (api_version.partition("/")[0], kind) not in self._defined:
                raise unknown
            await anyio.sleep(_api.RETRY_S)

    async def wait_usable(self, document: Mapping[str, Any]) -> None:
        """Wait until others can depend on an object: a namespace has its default ServiceAccount, a definition is established."""
        name = document["metadata"]["name"]
        if document["kind"] == "Namespace":
            self.awaited = f'the default ServiceAccount of namespace "{name}"'
            await self._api.wait_there(f"/api/v1/namespaces/{name}/serviceaccounts", "default")
            return
        self.awaited = f"{_DEFINITION} {name} to be established"
        async for _, definition in self._api.watch(DEFINITIONS, selector=_api.named(name)):
            if condition_of(definition, "Established").get("status") == "True":
                self._defined.add((document["spec"]["group"], document["spec"]["names"]["kind"]))
                return
            names = condition_of(definition, "NamesAccepted")
            if names.get("status") == "False":
                self._fail(f"{_DEFINITION} {name}", ClusterError("its names are not accepted", why=str(names.get("message", ""))))
                return

    def _fail(self, label: str, error: ClusterError) -> None:
        why = error.what if isinstance(error, KindUnknown) else error.why
        self.failures.append(ClusterError(f"{label} is refused", why=why, hint=error.hint))
