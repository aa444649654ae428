"""OCI archives: layers and images as one tar file that every Engine and containerd can load.

The archive is an OCI image layout and, by its `manifest.json`, also what `docker save` writes: Engines before 25 load only that.
Source: OCI image specification 1.1, "Image Layout"; moby's image/spec.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any, Self

MTIME = 1_700_000_000  # of every file we add: the same inputs give the same layers
_BLOCK_BYTES = 1024 * 1024


class LayerWriter:
    """Writes one uncompressed layer. Parents of what is added are made; owners are root."""

    def __init__(self, path: Path) -> None:
        self._tar = tarfile.open(path, "w", format=tarfile.PAX_FORMAT)  # noqa: SIM115 (closed by __exit__)
        self._directories: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._tar.close()

    def add_bytes(self, name: str, content: bytes, *, mode: int = 0o644) -> None:
        info = self._info(name, tarfile.REGTYPE, mode)
        info.size = len(content)
        self._tar.addfile(info, io.BytesIO(content))

    def add_file(self, name: str, source: Path, *, mode: int = 0o644) -> None:
        info = self._info(name, tarfile.REGTYPE, mode)
        info.size = source.stat().st_size
        with source.open("rb") as file:
            self._tar.addfile(info, file)

    def add_symlink(self, name: str, target: str) -> None:
        info = self._info(name, tarfile.SYMTYPE, 0o777)
        info.linkname = target
        self._tar.addfile(info)

    def add_directory(self, name: str) -> None:
        if name in ("", ".") or name in self._directories:
            return
        self._directories.add(name)
        self._tar.addfile(self._info(name, tarfile.DIRTYPE, 0o755))

    def add_tar(self, source: Path, *, under: str = "", keep: Callable[[str], bool] = lambda _: True) -> None:
        """The members of another tar file, moved under a directory; `keep` is asked with their old names."""
        with tarfile.open(source) as tar:
            for member in tar:
                name = member.name.removeprefix("./").strip("/")
                if name in ("", ".") or not keep(name):
                    continue
                member.name = str(PurePosixPath(under) / name)
                if member.islnk():
                    member.linkname = str(PurePosixPath(under) / member.linkname.removeprefix("./").strip("/"))
                if member.isdir():
                    if member.name in self._directories:
                        continue
                    self._directories.add(member.name)
                self.add_directory_of(member.name)
                member.pax_headers = {key: value for key, value in member.pax_headers.items() if key.startswith("SCHILY.xattr")}
                member.mtime = MTIME
                self._tar.addfile(member, tar.extractfile(member) if member.isreg() else None)

    def add_directory_of(self, name: str) -> None:
        parent = PurePosixPath(name).parent
        if str(parent) not in (".", "/") and str(parent) not in self._directories:
            self.add_directory_of(str(parent))
            self.add_directory(str(parent))

    def _info(self, name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
        self.add_directory_of(name)
        info = tarfile.TarInfo(name)
        info.type, info.mode, info.mtime = kind, mode, MTIME
        return info


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A layer's file, with what names it. `digest` is that of the uncompressed bytes: blob and diff ID are one."""

    path: Path
    digest: str
    size_bytes: int

    @classmethod
    def of(cls, path: Path) -> Layer:
        digest = sha256()
        with path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
        return cls(path=path, digest=f"sha256:{digest.hexdigest()}", size_bytes=path.stat().st_size)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecord:
    """One image of an archive. `config` is the OCI image configuration's `config` object (Entrypoint, Env, Labels, StopSignal …)."""

    reference: str
    architecture: str
    layers: tuple[Layer, ...]
    config: Mapping[str, Any] = field(default_factory=dict)


def write_archive(path: Path, images: Sequence[ImageRecord]) -> None:
    """Write the archive, whole or not at all: to a temporary name first."""
    partial = path.with_name(path.name + ".partial")
    with tarfile.open(partial, "w", format=tarfile.PAX_FORMAT) as tar:
        blobs = _Blobs(tar)
        index, docker = [], []
        for image in images:
            for layer in image.layers:
                blobs.add_layer(layer)
            config = {
                "created": "2023-11-14T22:13:20Z",
                "architecture": image.architecture,
                "os": "linux",
                "config": dict(image.config),
                "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in image.layers]},
            }
            config_digest, config_size = blobs.add_json(config)
            manifest_digest, manifest_size = blobs.add_json(
                {
                    "schemaVersion": 2,
                    "mediaType": "application/vnd.oci.image.manifest.v1+json",
                    "config": _descriptor("application/vnd.oci.image.config.v1+json", config_digest, config_size),
                    "layers": [
                        _descriptor("application/vnd.oci.image.layer.v1.tar", layer.digest, layer.size_bytes) for layer in image.layers
                    ],
                }
            )
            index.append(
                _descriptor("application/vnd.oci.image.manifest.v1+json", manifest_digest, manifest_size)
                | {
                    "platform": {"architecture": image.architecture, "os": "linux"},
                    "annotations": {
                        "io.containerd.image.name": image.reference,
                        "org.opencontainers.image.ref.name": image.reference.rpartition(":")[2],
                    },
                }
            )
            docker.append(
                {
                    "Config": _blob(config_digest),
                    "RepoTags": [image.reference.removeprefix("docker.io/")],
                    "Layers": [_blob(layer.digest) for layer in image.layers],
                }
            )
        blobs.add("oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
        blobs.add("index.json", _json({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": index}))
        blobs.add("manifest.json", _json(docker))
    os.replace(partial, path)


class _Blobs:
    """The members of an archive; the same content is written once."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self._written: set[str] = set()

    def add_layer(self, layer: Layer) -> None:
        name = _blob(layer.digest)
        if name not in self._written:
            self._written.add(name)
            info = _info(name, layer.size_bytes)
            with layer.path.open("rb") as file:
                self._tar.addfile(info, file)

    def add_json(self, document: Mapping[str, Any]) -> tuple[str, int]:
        content = _json(document)
        digest = f"sha256:{sha256(content).hexdigest()}"
        if _blob(digest) not in self._written:
            self.add(_blob(digest), content)
        return digest, len(content)

    def add(self, name: str, content: bytes) -> None:
        self._written.add(name)
        self._tar.addfile(_info(name, len(content)), io.BytesIO(content))


def _info(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mtime = size, MTIME
    return info


def _blob(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")


def _descriptor(media_type: str, digest: str, size: int) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest, "size": size}


def _json(document: object) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def names_under(prefixes: Iterable[str]) -> Callable[[str], bool]:
    """A predicate: whether a name is, or lies under, one of the prefixes."""
    roots = tuple(prefixes)
    return lambda name: any(name == root or name.startswith(root + "/") for root in roots)
