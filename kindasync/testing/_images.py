"""Images of the fake: what it has, by reference, and how they come and go."""

from __future__ import annotations

import io
import json
import shlex
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from fnmatch import fnmatchcase
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from kindasync.testing._refused import Refused

if TYPE_CHECKING:
    from kindasync.testing._state import FakeContainer

_DOCKER_HUB = ("docker.io/", "library/")
_JUNK = "archive/tar: invalid tar header"


@dataclass(slots=True, kw_only=True)
class FakeImage:
    """An image. `reference` is its name; `labels`, `env`, `stop_signal`, `architecture` and `created` are what ImageInspect gives.

    `files` by absolute path, `links` what symbolic ones lead to; `content` is what a pull sends; `config` and `layers` are those of an archive it was loaded from.
    """

    reference: str
    labels: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    architecture: str = "amd64"
    env: dict[str, str] = field(default_factory=dict)
    stop_signal: str = "SIGTERM"
    content: bytes = b"layer"
    created: str = "2026-01-01T00:00:00Z"
    config: bytes = b""
    layers: tuple[bytes, ...] = ()

    @property
    def id(self) -> str:
        """The digest of its configuration."""
        return "sha256:" + sha256(self.configuration()).hexdigest()

    @property
    def created_s(self) -> int:
        """Seconds since 1970."""
        return int(datetime.fromisoformat(self.created).timestamp())

    def configuration(self) -> bytes:
        """The image configuration, whose digest is the image's ID."""
        if self.config:
            return self.config
        environment = [f"{name}={value}" for name, value in self.env.items()]
        document = {
            "author": self.reference,
            "created": self.created,
            "architecture": self.architecture,
            "os": "linux",
            "config": {"Labels": self.labels, "Env": environment, "StopSignal": self.stop_signal},
            "rootfs": {"type": "layers", "diff_ids": [sha256(layer).hexdigest() for layer in self.all_layers()]},
        }
        return json.dumps(document).encode()

    def all_layers(self) -> Sequence[bytes]:
        """The layers, as tar streams."""
        return self.layers or (_packed(tuple(sorted(self.files.items())), tuple(sorted(self.links.items()))),)

    def changed(self, changes: Iterable[str]) -> FakeImage:
        """With lines of a Dockerfile; the fake knows LABEL, ENV and STOPSIGNAL."""
        result = replace(self, labels=dict(self.labels), env=dict(self.env))
        for line in "\n".join(changes).splitlines():
            instruction, _, rest = line.partition(" ")
            match instruction.upper():
                case "LABEL":
                    result.labels |= dict(pair.split("=", 1) for pair in shlex.split(rest))
                case "ENV":
                    result.env |= dict(pair.split("=", 1) for pair in shlex.split(rest))
                case "STOPSIGNAL":
                    result.stop_signal = rest
        return result


class ImageStore:
    """The images of one fake Engine: `named`, by reference; one that has lost its last reference, and is in use, is there by its ID."""

    def __init__(self) -> None:
        self.named: dict[str, FakeImage] = {}

    def find(self, reference: str) -> FakeImage:
        """By reference, ID, or the beginning of an ID."""
        for name, image in self.named.items():
            if full(reference) == full(name) or self._is_id(reference, image):
                return image
        raise Refused(404, f"No such image: {reference}")

    @staticmethod
    def _is_id(reference: str, image: FakeImage) -> bool:
        return reference == image.id or (len(reference) >= 12 and image.id.removeprefix("sha256:").startswith(reference))

    def tags_of(self, image: FakeImage) -> list[str]:
        return [name for name, each in self.named.items() if each is image and name != image.id and "@" not in name]

    def matching(self, pattern: str) -> list[FakeImage]:
        """Each image once, if one of its references is as the `reference` filter wants it; any, for an empty one."""
        found = {
            image.id: image
            for name, image in self.named.items()
            if not pattern or any(fnmatchcase(part, pattern) for part in (name, name.rpartition(":")[0]))
        }
        return list(found.values())

    def put(self, reference: str, image: FakeImage) -> None:
        """Give an image a reference; one that has had it until now keeps its ID."""
        reference = full(reference)
        before = self.named.get(reference)
        same = next((each for each in self.named.values() if each.id == image.id), image)
        self.named[reference] = same
        if before and before is not same and not self.tags_of(before):
            self.named[before.id] = before
        self.named.pop(same.id, None)

    def remove(self, reference: str, containers: Iterable[FakeContainer], *, force: bool) -> None:
        image = self.find(reference)
        tags = self.tags_of(image)
        users = [container for container in containers if container.image is image]
        short = image.id[7:19]
        if self._is_id(reference, image):
            if users and not force:
                why = f"image is being used by stopped container {users[0].id[:12]}"
                raise Refused(409, f"conflict: unable to delete {short} (must be forced) - {why}")
            if len(tags) > 1 and not force:
                raise Refused(409, f"conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories")
            gone = set(tags)
        else:
            if len(tags) == 1 and users and not force:
                what = f'conflict: unable to remove repository reference "{reference}" (must force)'
                raise Refused(409, f"{what} - container {users[0].id[:12]} is using its referenced image {short}")
            gone = {full(reference)}
        for tag in gone:
            self.named.pop(tag, None)
        if not self.tags_of(image):
            self.named = {name: each for name, each in self.named.items() if each is not image}
            if any(container.running for container in users):
                self.named[image.id] = image

    def load(self, archive: bytes) -> list[str]:
        """Load what `docker save` writes; the references."""
        loaded = []
        try:
            with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
                names = tar.getnames()
                if "manifest.json" not in names:
                    raise Refused(500, "open /var/lib/docker/tmp/docker-import/repositories: no such file or directory")
                for entry in json.loads(_member(tar, "manifest.json")):
                    image = _loaded(_member(tar, entry["Config"]), [_member(tar, name) for name in entry["Layers"]])
                    for reference in entry["RepoTags"] or ():
                        image.reference = image.reference or reference
                        self.put(reference, image)
                        loaded.append(full(reference))
        except tarfile.TarError as error:
            raise Refused(500, _JUNK) from error
        return loaded

    def save(self, references: Iterable[str]) -> bytes:
        """What `load` takes."""
        buffer = io.BytesIO()
        entries: dict[str, dict[str, Any]] = {}
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for reference in references:
                image = self.find(reference)
                entry = entries.setdefault(image.id, {"Config": _blob(image.configuration()), "RepoTags": [], "Layers": []})
                entry["RepoTags"].append(full(reference))
                if not entry["Layers"]:
                    entry["Layers"] = [_blob(layer) for layer in image.all_layers()]
                    for content in (image.configuration(), *image.all_layers()):
                        _add(tar, _blob(content), content)
            _add(tar, "manifest.json", json.dumps(list(entries.values())).encode())
        return buffer.getvalue()


def imported(reference: str, archive: bytes) -> FakeImage:
    """An image from the tar stream of a file system."""
    try:
        files, links = _unpacked([archive])
    except tarfile.TarError as error:
        raise Refused(500, _JUNK) from error
    return FakeImage(reference=reference, files=files, links=links, layers=(archive,))


def _loaded(config: bytes, layers: Sequence[bytes]) -> FakeImage:
    document = json.loads(config)
    inner = document.get("config") or {}
    files, links = _unpacked(layers)
    return FakeImage(
        reference="",
        labels=inner.get("Labels") or {},
        env=dict(item.split("=", 1) for item in inner.get("Env") or []),
        stop_signal=inner.get("StopSignal") or "SIGTERM",
        files=files,
        links=links,
        architecture=document.get("architecture", "amd64"),
        created=document.get("created") or "2026-01-01T00:00:00Z",
        config=config,
        layers=tuple(layers),
    )


def _unpacked(layers: Iterable[bytes]) -> tuple[dict[str, bytes], dict[str, str]]:
    files, links = {}, {}
    for layer in layers:
        with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
            for member in tar:
                path = "/" + member.name.removeprefix("./").strip("/")
                file = tar.extractfile(member) if member.isreg() else None
                if file:
                    files[path] = file.read()
                elif member.issym():
                    links[path] = member.linkname
    return files, links


@lru_cache(maxsize=16)  # an image's ID is asked for at every turn
def _packed(files: Sequence[tuple[str, bytes]], links: Sequence[tuple[str, str]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path, content in files:
            _add(tar, path.lstrip("/"), content)
        for path, target in links:
            info = tarfile.TarInfo(path.lstrip("/"))
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
    return buffer.getvalue()


def full(reference: str) -> str:
    """As `docker image ls` writes it, with its tag; or with its digest alone, which counts where there are both."""
    for prefix in _DOCKER_HUB:
        reference = reference.removeprefix(prefix)
    named, at, digest = reference.partition("@")
    head, slash, last = named.rpartition("/")
    name, _, tag = last.partition(":")
    return f"{head}{slash}{name}@{digest}" if at else f"{head}{slash}{name}:{tag or 'latest'}"


def _blob(content: bytes) -> str:
    return f"blobs/sha256/{sha256(content).hexdigest()}"


def _member(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    return file.read() if file else b""


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))
