"""The long ones: boots with the signal at any moment, and creates that are interrupted at any moment."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from kindasync import Engine
from kindasync.cluster._images import default_reference
from kindasync.config import Role
from kindasync.docker.containers import container_create, container_inspect, container_remove, container_start
from kindasync.docker.system import system_info
from kindasync.node._boot import signal_boot
from kindasync.node._console import Console
from kindasync.node._spec import NodeSpec, container_spec
from tests.cluster.conftest import look, run_cli

pytestmark = [pytest.mark.anyio]
BOOTS = 200
# In the background, shells have SIGINT ignored by what they run.
HEEDING_INTERRUPTS = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("kindasync", run_name="__main__", alter_sys=True)
"""


@pytest.mark.stress
@pytest.mark.timeout(1800)
async def test_no_boot_signal_is_lost() -> None:
    """200 nodes get their first signal at a random moment within 2 s of their start, again and again until they boot: none hangs."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    moments = random.Random(seed)
    attempts: list[int] = []
    limiter = anyio.CapacityLimiter(6)
    async with Engine.of(None).connect() as connection:
        facts = await system_info(connection)
        image = await default_reference(connection, facts)

        async def boot(number: int, delay_s: float) -> None:
            node = NodeSpec(
                name=f"boot-{number}", cluster="boots", role=Role.WORKER, image=image, pauses=True, network="bridge", binds_modules=False
            )
            async with limiter:
                container_id = await container_create(connection, node.name, container_spec(node, facts, working_dir=Path("/")))
                try:
                    await container_start(connection, container_id)
                    console = Console(connection, await container_inspect(connection, container_id))
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(console.follow)
                        await anyio.sleep(delay_s)
                        counts: list[int] = []
                        await signal_boot(connection, await container_inspect(connection, container_id), console, report=counts.append)
                        attempts.append(counts[-1])
                        tasks.cancel_scope.cancel()
                finally:
                    with anyio.CancelScope(shield=True):
                        await container_remove(connection, container_id)

        async with anyio.create_task_group() as tasks:
            for number in range(BOOTS):
                tasks.start_soon(boot, number, moments.uniform(0, 2))

    assert len(attempts) == BOOTS
    print(f"most attempts for one boot: {max(attempts)}")


async def interrupt(name: str, number: int, after_s: float) -> int:
    """Start a create on the command line, and send it a signal; its exit code."""

    def run() -> int:
        process = subprocess.Popen([sys.executable, "-c", HEEDING_INTERRUPTS, "create", "cluster", "-n", name], stderr=subprocess.DEVNULL)
        time.sleep(after_s)
        process.send_signal(number)
        return process.wait(120)

    return await anyio.to_thread.run_sync(run)


@pytest.mark.parametrize("event", ["ContainerCreated", "NodePaused", "RuntimeReady", "ApiServerUp"])
async def test_an_interrupted_create_leaves_nothing(name: str, own_home: Path, event: str) -> None:
    """Ctrl-C at some moments of it: told at once, then no container, volume, network, file or kubeconfig entry that was not there before."""
    before = await look(own_home)
    sent: list[datetime] = []
    told: list[datetime] = []

    def run() -> int:
        command = [sys.executable, "-c", HEEDING_INTERRUPTS, "create", "cluster", "-n", name, "--events", "json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            assert process.stdout
            for seen in map(json.loads, process.stdout):
                if seen["event"] == event:
                    sent.append(datetime.now(UTC))
                    process.send_signal(signal.SIGINT)
                if seen["event"] == "Interrupted":
                    told.append(datetime.fromisoformat(seen["time"]))
            return process.wait(120)

    assert await anyio.to_thread.run_sync(run) == 128 + signal.SIGINT
    assert await look(own_home) == before
    assert (told[0] - sent[0]).total_seconds() < 2


@pytest.mark.stress
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("number", "times"), [(signal.SIGINT, 20), (signal.SIGTERM, 10)])
async def test_creates_interrupted_at_any_moment_leave_nothing(name: str, own_home: Path, number: signal.Signals, times: int) -> None:
    """Spread over the length of one create. One that had come to its end is deleted like any other; but most had not."""
    before = await look(own_home)
    create_s = min(measured_create(name), measured_create(name))
    codes = []
    for index in range(times):
        code = await interrupt(f"{name}-{index}", number, (index + 0.5) * create_s / times)
        if code == 0:
            assert run_cli("delete", "cluster", "-n", f"{name}-{index}").returncode == 0
        codes.append(code)
        after = await look(own_home)
        assert (after.containers, after.networks, after.volumes) == (before.containers, before.networks, before.volumes), (
            f"interrupted after {index}"
        )
        assert {path for path in after.files - before.files if ".kube" not in path} == set()
        assert name not in after.kubeconfig

    print(f"a create takes {create_s:.1f} s; exit codes: {codes}")
    assert set(codes) <= {0, 128 + number, -number}  # the last: before the command had begun
    assert codes.count(0) <= times // 4, codes


def measured_create(name: str) -> float:
    """How long one takes, in seconds."""
    began = time.monotonic()
    created = run_cli("create", "cluster", "-n", name)
    took_s = time.monotonic() - began
    assert created.returncode == 0, created.stderr
    assert run_cli("delete", "cluster", "-n", name).returncode == 0
    return took_s
