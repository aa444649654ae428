"""Facts about this process and its Engine that plans depend on."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

from kindasync.cluster import _state
from kindasync.docker import Connection
from kindasync.docker._hints import Refusal, refusal_of
from kindasync.docker.containers import ContainerSpec, StrictBind, container_create
from kindasync.errors import ApiError, NotFound


async def shares_files(connection: Connection, directory: Path) -> bool:
    """Whether the Engine sees this machine's files: a fresh directory with a random name, asked for as a mount that must be there.

    So it is also known, before anything is made, that files can be kept there. Raises: ClusterError if not; ApiError.
    The image that is asked for with it is there nowhere: "no such image" (404) says that the mount was found good, and
    nothing is made either way.
    """
    anchor = next(path for path in (directory, *directory.parents) if path.exists())
    with _state.kept(directory), TemporaryDirectory(prefix=".kindasync-probe-", dir=anchor) as probe:
        image = f"kindasync.invalid/probe:{uuid4().hex}"
        spec = ContainerSpec(image=image, strict_binds=(StrictBind(source=probe, target="/probe", read_only=True),))
        try:
            await container_create(connection, "", spec)
        except NotFound:
            return True
        except ApiError as error:
            if refusal_of(error.message) is not Refusal.MOUNT_SOURCE_MISSING:
                raise
    return False


def private_dir(engine_id: str, cluster: str) -> Path:
    """This user's directory of a cluster."""
    return _state.engine_dir(engine_id) / cluster
