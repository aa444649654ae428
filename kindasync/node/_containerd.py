"""containerd of a node: archives of images, brought into its store."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from secrets import token_hex

import anyio

from kindasync.docker import Connection
from kindasync.docker.archives import put_archive
from kindasync.docker.execs import ANY_CODE, container_output, container_run
from kindasync.errors import ApiError, ExecFailed, KindasyncError, NodeError

CTR = ("ctr", "--namespace=k8s.io")
CONTENT = "io.containerd.content.v1.content"  # where its store keeps content, below its root
_ROOT = "/var/lib/containerd"
CLEANUP_S = 30.0
_MEANT = (
    ("filtered out", "it has no image for the node's platform"),
    ("no space left", "free disk space on the Engine's host"),
)
_LAST_WITHOUT_TRANSFER = 2  # version of containerd's configuration

# Imports an archive that lies unpacked in the current directory. Big layers do not go through containerd's API, which takes most of an
# import's time: once their digests were verified, the store gets them as further names of the files that are here, and is told of them
# (`ctr content ingest` then reads nothing). An import without them follows; unpacking verifies them again. containerd may meanwhile have
# collected a layer that no image refers to yet: then the import gets all of them. Names that a failed import leaves, of images that are not
# whole, are taken back: pods could not use them, and the next load would find them there. $1: the store; the rest: the import.
IMPORT = """
store=$1
shift
ctr --namespace=k8s.io images list --quiet | sort >before
for layer in blobs/sha256/*; do
  digest=${layer##*/}
  [ -f "$layer" ] && [ ! -L "$layer" ] && [ "$(stat -c %s "$layer")" -gt 1000000 ] || continue
  echo "$digest  $layer" | sha256sum --check --status 2>/dev/null || continue
  chmod 444 "$layer" && ln -T "$layer" "$store/blobs/sha256/$digest" 2>/dev/null
  ctr --namespace=k8s.io content ingest --expected-digest="sha256:$digest" --expected-size="$(stat -c %s "$layer")" "kindasync-$digest" \
    <"$layer" >/dev/null 2>&1 && echo "./$layer" >>known
done
if [ -s known ]; then
  tar --create --exclude=./known --exclude=./before --exclude-from=known . | "$@" && exit
fi
tar --create --exclude=./known --exclude=./before . | "$@" && exit
code=$?
ctr --namespace=k8s.io images check | awk '$NF == "false" { print $1 }' | sort | comm -13 before - | xargs -r ctr --namespace=k8s.io images rm >/dev/null
exit $code
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Containerd:
    """A node's containerd, as far as its configuration matters for imports."""

    root: str = _ROOT
    snapshotter: str = "overlayfs"
    has_transfer: bool = False

    def import_argv(self, *, digests: bool) -> list[str]:
        """What imports an archive from stdin.

        For the snapshotter that its pods use: an image that is unpacked for another one would be unpacked twice. And as containerd
        before 2 does: its transfer service takes twice as long (measured, 2.4).
        """
        options = [*(["--local"] if self.has_transfer else []), *(["--digests"] if digests else [])]
        return [*CTR, "images", "import", f"--snapshotter={self.snapshotter}", *options, "-"]


def containerd_from(dump: str) -> Containerd:
    """What `containerd config dump` says; defaults for what cannot be understood."""
    try:
        config = tomllib.loads(dump)
        plugins = config.get("plugins", {})
        images = plugins.get("io.containerd.cri.v1.images") or plugins.get("io.containerd.grpc.v1.cri", {}).get("containerd", {})
        snapshotter, version, root = images.get("snapshotter"), int(config.get("version", 0)), config.get("root")
    except (tomllib.TOMLDecodeError, AttributeError, TypeError, ValueError):
        return Containerd()
    return Containerd(
        root=root if isinstance(root, str) and root.startswith("/") else _ROOT,
        snapshotter=snapshotter if isinstance(snapshotter, str) and re.fullmatch(r"[A-Za-z0-9_-]+", snapshotter) else "overlayfs",
        has_transfer=version > _LAST_WITHOUT_TRANSFER,
    )


async def import_archive(connection: Connection, node: str, archive: AsyncIterator[bytes], *, digests: bool) -> str:
    """Import an archive of images (docker or OCI layout, compressed or not), as it comes. What stays of the unpacked archive, and why; empty: nothing.

    Shape: `digests`: an image without a name gets one of its digest.
    Raises: NodeError with containerd's words, also for what is no archive; Conflict if the node does not run. What stays is a note then.
    """
    containerd = await _containerd_of(connection, node)
    directory = f"{containerd.root}/kindasync-load-{token_hex(4)}"  # on the disk of its store
    try:
        await container_run(connection, node, ["mkdir", directory])
        with _explained(node):
            await put_archive(connection, node, directory, archive, timeout_s=math.inf)
            argv = ["sh", "-c", IMPORT, "sh", f"{containerd.root}/{CONTENT}", *containerd.import_argv(digests=digests)]
            await container_run(connection, node, argv, working_dir=directory, timeout_s=math.inf)
    except BaseException as error:
        if left := await _cleared(connection, node, directory):
            error.add_note(left)
        raise
    return await _cleared(connection, node, directory)


@contextmanager
def _explained(node: str) -> Iterator[None]:
    """The error of an import without our script: containerd's last word, or the Engine's, and what to do about it."""
    try:
        yield
    except (ExecFailed, ApiError) as error:
        if isinstance(error, ApiError) and not re.search("EOF|tar header", error.message, re.IGNORECASE):
            raise
        why = error.message if isinstance(error, ApiError) else error.output_tail.rpartition("\n")[2].removeprefix("ctr: ") or error.why
        hint = next(
            (hint for fragment, hint in _MEANT if fragment in why), "see that it is whole, and made by docker save, or an OCI layout"
        )
        raise NodeError(f"containerd in node {node} does not take the archive", why=why, hint=hint) from error


async def _cleared(connection: Connection, node: str, directory: str) -> str:
    """Remove a directory, in at most CLEANUP_S; what stays, and why."""
    why: object = f"rm did not end within {CLEANUP_S:g} s"
    with anyio.move_on_after(CLEANUP_S, shield=True):
        try:
            await container_run(connection, node, ["rm", "-rf", directory])
            return ""
        except KindasyncError as error:
            why = error
    return f"{directory} stays in node {node}: {why}"


@asynccontextmanager
async def exported(connection: Connection, node: str, references: Sequence[str]) -> AsyncIterator[AsyncIterator[bytes]]:
    """An archive of images that a node has with all their content, as it comes. Raises: ExecFailed with containerd's words; EngineError."""
    containerd = await _containerd_of(connection, node)
    argv = [*CTR, "images", "export", *(["--local"] if containerd.has_transfer else []), "-", *references]
    async with container_output(connection, node, argv) as archive:
        yield archive


async def _containerd_of(connection: Connection, node: str) -> Containerd:
    return containerd_from((await container_run(connection, node, ["containerd", "config", "dump"], passing=ANY_CODE)).text)
