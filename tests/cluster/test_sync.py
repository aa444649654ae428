"""The blocking API on a real cluster."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import anyio
import pytest

from kindasync import events
from kindasync.events import Event
from kindasync.sync import Cluster
from tests.cluster.conftest import look


def test_a_block_with_a_cluster(name: str) -> None:
    """Programs run in its node, objects are applied and waited for; then it is gone."""
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "it"}, "data": {"a": "b"}}

    with Cluster.running(name=name, wait_s=120) as cluster:
        (node,) = cluster.nodes
        assert node.exec(["cat", "/proc/1/comm"]).text == "systemd\n"
        cluster.apply(manifest)
        (found,) = cluster.wait_for("configmap/it", "create")
        assert found["data"] == {"a": "b"}
        assert name in Cluster.list()

    assert name not in Cluster.list()


@pytest.mark.usefixtures("heeds_interrupts")
def test_ctrl_c(name: str, own_home: Path) -> None:
    """During a create: it is raised when nothing is left."""
    before = anyio.run(look, own_home)

    def interrupt(event: Event) -> None:
        if isinstance(event, events.NodePaused):
            os.kill(os.getpid(), signal.SIGINT)

    assert threading.current_thread() is threading.main_thread()
    with pytest.raises(KeyboardInterrupt):
        Cluster.create(name, on_event=interrupt)

    assert anyio.run(look, own_home) == before
