"""Images: stand-ins for upstream's test images, under their names, of the same programs where those can be built."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from kindasync.build._oci import ImageRecord, Layer, LayerWriter, names_under, write_archive
from tests.conformance._programs import Programs

REGISTRY = "registry.k8s.io/e2e-test-images/"
MIRROR = "docker.io/kindasync-tests/registry:conformance"  # serves those in _PULLED, as a registry does
MIRROR_PORT = 5001
_PULLED = ("agnhost", "kitten")  # what tests have nodes pull although they have it
_PATH = {"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Image:
    """Which layers an image has, and its configuration."""

    layers: tuple[str, ...]
    config: Mapping[str, Any]


# By the last part of upstream's name. Commands, users and entrypoints are those of the Dockerfiles in k8s.io/kubernetes, test/images.
_IMAGES = {
    "agnhost": _Image(layers=("root", "agnhost"), config={"Entrypoint": ["/agnhost"], "Cmd": ["pause"]}),
    "busybox": _Image(layers=("busybox",), config={"Cmd": ["sh"]}),
    "glibc-dns-testing": _Image(layers=("root",), config={"Cmd": ["bash"]}),
    "kitten": _Image(layers=("root", "agnhost", "kitten"), config={"Entrypoint": ["/agnhost"], "Cmd": ["test-webserver"]}),
    "nautilus": _Image(layers=("root", "agnhost", "nautilus"), config={"Entrypoint": ["/agnhost"], "Cmd": ["test-webserver"]}),
    "nginx": _Image(layers=("root", "nginx"), config={"Cmd": ["nginx", "-g", "daemon off;"], "StopSignal": "SIGQUIT"}),
    "nonewprivs": _Image(layers=("root", "nonewprivs"), config={"Cmd": ["nnp"]}),
    "nonroot": _Image(layers=("root",), config={"Cmd": ["bash"], "User": "1234"}),
    "sample-apiserver": _Image(layers=("root", "sample-apiserver"), config={"Entrypoint": ["/sample-apiserver"]}),
}

_NOT_IN_IMAGES = names_under(
    ("bin", "sbin", "lib", "lib64", "dev", "proc", "sys", "run", "var/run", "var/lib/apt", "var/lib/dpkg", "var/cache", "usr/share/doc")
)
_PASSWD = """\
root:x:0:0:root:/root:/bin/sh
nginx:x:101:101:nginx:/var/lib/nginx:/bin/false
user-defined-in-image:x:1000:1000::/home:/bin/sh
nobody:x:65534:65534:nobody:/nonexistent:/bin/false
"""
# agnhost's, which a test of supplemental groups looks for.
_GROUP = """\
root:x:0:
nginx:x:101:
user-defined-in-image:x:1000:
group-defined-in-image:x:50000:user-defined-in-image
nogroup:x:65534:
"""
# A test mounts an image that upstream makes from Alpine, and looks for that name in this file.
_OS_RELEASE = """\
NAME="Stand-in for Alpine Linux"
ID=kindasync-conformance
"""
_NGINX = """\
user nginx;
error_log /dev/stderr notice;
pid /run/nginx.pid;
events {}
http {
  include mime.types;
  access_log /dev/stdout;
  server {
    listen 80;
    root /usr/share/nginx/html;
  }
}
"""
# What a registry answers to those who only pull. Blobs and manifests lie where their paths say.
_MIRROR_NGINX = f"""\
user nginx;
error_log /dev/stderr notice;
pid /run/nginx.pid;
events {{}}
http {{
  access_log off;
  server {{
    listen 127.0.0.1:{MIRROR_PORT};
    root /registry;
    types {{}}
    default_type application/octet-stream;
    location ~ /manifests/ {{
      types {{}}
      default_type application/vnd.oci.image.manifest.v1+json;
    }}
  }}
}}
"""


def stand_ins(listed: Iterable[str]) -> list[str]:
    """Those of the references that the e2e suite lists for which there is a stand-in."""
    return sorted(reference for reference in listed if reference.startswith(REGISTRY) and _name(reference) in _IMAGES)


def write_images(path: Path, references: Iterable[str], programs: Programs, *, architecture: str) -> None:
    """One archive of the images that `references` name."""
    with TemporaryDirectory(dir=path.parent) as directory:
        layers: dict[str, Layer] = {}
        for name in sorted({layer for image in _IMAGES.values() for layer in image.layers}):
            file = Path(directory) / name
            with LayerWriter(file) as writer:
                _fill(writer, name, programs)
            layers[name] = Layer.of(file)
        records = list(_records(references, layers, architecture))
        pulled, mirror = Path(directory) / "pulled.tar", Path(directory) / "mirror"
        write_archive(pulled, [record for record in records if _name(record.reference) in _PULLED])
        with LayerWriter(mirror) as writer:
            fill_mirror(writer, pulled)
        config = {"Cmd": ["nginx", "-g", "daemon off;"], **_PATH}
        records.append(ImageRecord(reference=MIRROR, architecture=architecture, layers=(layers["root"], Layer.of(mirror)), config=config))
        write_archive(path, records)


def _records(references: Iterable[str], layers: Mapping[str, Layer], architecture: str) -> Iterator[ImageRecord]:
    for reference in references:
        image = _IMAGES[_name(reference)]
        yield ImageRecord(
            reference=reference,
            architecture=architecture,
            layers=tuple(layers[name] for name in image.layers),
            config=_PATH | dict(image.config),
        )


def _name(reference: str) -> str:
    return reference.rpartition(":")[0].rpartition("/")[2]


def _fill(writer: LayerWriter, layer: str, programs: Programs) -> None:
    match layer:
        case "busybox":
            writer.add_tar(programs.debian, keep=lambda name: name in ("tmp", "var/tmp"))  # for everyone to write in
            _add_system(writer, programs, bin_directory="bin", has=())
            writer.add_symlink("usr/bin/env", "/bin/env")
        case "root":
            writer.add_tar(programs.debian, keep=lambda name: not _NOT_IN_IMAGES(name))
            for directory in ("bin", "sbin", "lib", "lib64"):
                writer.add_symlink(directory, f"usr/{directory}")
            # As Debian's alternatives have it, and Alpine.
            writer.add_symlink("usr/bin/nc", "nc.openbsd")
            with tarfile.open(programs.debian) as tar:
                programs_there = {PurePosixPath(name).name for name in tar.getnames() if PurePosixPath(name).parent.name in ("bin", "sbin")}
            _add_system(writer, programs, bin_directory="usr/bin", has=programs_there | {"nc"})
        case "agnhost":
            for name in ("agnhost", "localhost.crt", "localhost.key"):
                writer.add_file(name, programs.e2e / name, mode=0o755 if name == "agnhost" else 0o644)
            writer.add_symlink("agnhost-2", "agnhost")
            writer.add_bytes("etc/os-release", _OS_RELEASE.encode())
            writer.add_directory("uploads")
        case "kitten" | "nautilus":
            for file in sorted((programs.e2e / layer).iterdir()):
                writer.add_file(file.name, file)
        case "nginx":
            writer.add_bytes("etc/nginx/nginx.conf", _NGINX.encode())
        case "nonewprivs":
            writer.add_file("usr/local/bin/nnp", programs.e2e / "nonewprivs", mode=0o6755)
        case "sample-apiserver":
            writer.add_file("sample-apiserver", programs.sample_apiserver / "sample-apiserver", mode=0o755)
        case _:
            raise AssertionError(layer)


def fill_mirror(writer: LayerWriter, archive: Path) -> None:
    """The images of an OCI archive, laid out as the paths of a registry's API: GET /v2/<name>/manifests/<tag or digest>, blobs/<digest>."""
    writer.add_bytes("etc/nginx/nginx.conf", _MIRROR_NGINX.encode())
    with tarfile.open(archive) as tar:

        def content(name: str) -> bytes:
            file = tar.extractfile(name)
            assert file is not None
            return file.read()

        files = dict[str, str]()  # by what the API calls them; images share layers, and tags may share an image
        for entry in json.loads(content("index.json"))["manifests"]:
            name, _, tag = entry["annotations"]["io.containerd.image.name"].partition("/")[2].rpartition(":")
            files |= {f"{name}/manifests/{identifier}": entry["digest"] for identifier in (tag, entry["digest"])}
            manifest = json.loads(content(_blob(entry["digest"])))
            files |= {f"{name}/blobs/{blob['digest']}": blob["digest"] for blob in (manifest["config"], *manifest["layers"])}
        for digest in sorted(set(files.values())):
            writer.add_bytes(_blob(digest), content(_blob(digest)))
        for path, digest in sorted(files.items()):
            writer.add_symlink(f"registry/v2/{path}", f"/{_blob(digest)}")


def _blob(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _add_system(writer: LayerWriter, programs: Programs, *, bin_directory: str, has: Iterable[str]) -> None:
    """busybox under the names that are not taken yet, its shell as `sh`, and the files that every system has."""
    writer.add_file(f"{bin_directory}/busybox", programs.busybox / "busybox", mode=0o755)
    applets = set((programs.busybox / "applets").read_text().split()) - {"busybox"}
    for applet in sorted((applets - set(has)) | {"sh"}):
        writer.add_symlink(f"{bin_directory}/{applet}", "busybox")
    writer.add_bytes("etc/passwd", _PASSWD.encode())
    writer.add_bytes("etc/group", _GROUP.encode())
    writer.add_bytes("etc/nsswitch.conf", b"passwd: files\ngroup: files\nhosts: files dns\n")
    for directory in ("dev", "proc", "sys", "run", "root", "home", "mnt"):
        writer.add_directory(directory)
    writer.add_symlink("var/run", "/run")
