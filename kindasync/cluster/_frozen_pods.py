"""Frozen pods: with cgroup v1, a node that has one does not end by SIGKILL, and nobody is left in it who could thaw the pod.

runc freezes a pod for a moment when it starts or ends it. Source: Linux, Documentation/admin-guide/cgroup-v1/freezer-subsystem.rst.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial

import anyio

from kindasync.cluster._names import OWNER_LABEL, RUN_LABEL
from kindasync.docker import Connection
from kindasync.docker.containers import (
    Container,
    ContainerSpec,
    StrictBind,
    container_remove,
    container_start,
    container_temporary,
    container_wait,
)
from kindasync.errors import EngineError

FREEZER = "/sys/fs/cgroup/freezer"  # on the Engine's host
THAW_S = 20.0


async def remove_container(connection: Connection, container: Container) -> None:
    """As `container_remove`; frozen pods of a node that does not end are thawed."""
    await container_remove(connection, container.id, unstick=partial(_thaw, connection, container))


async def _thaw(connection: Connection, container: Container) -> None:
    """From another container of the node's image, which is there. Without cgroup v1 the Engine refuses it: nothing is frozen then."""
    spec = ContainerSpec(
        image=container.image,
        entrypoint=("find", "/freezer", "-path", f"*{container.id}*", "-name", "freezer.state"),
        cmd=("-exec", "sh", "-c", 'for state; do echo THAWED >"$state"; done', "thaw", "{}", "+"),
        labels={key: value for key, value in container.labels.items() if key in (RUN_LABEL, OWNER_LABEL)},
        strict_binds=(StrictBind(source=FREEZER, target="/freezer", read_only=False),),
        network_mode="none",
    )
    with suppress(EngineError):
        async with container_temporary(connection, spec) as helper:
            await container_start(connection, helper)
            with anyio.move_on_after(THAW_S):
                await container_wait(connection, helper)
