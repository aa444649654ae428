"""kindasync exec: programs of a real node, as users and scripts run them."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress

import anyio.to_thread
import pytest

from kindasync import Cluster
from tests.cluster.conftest import run_cli

pytestmark = pytest.mark.anyio


async def test_a_program_is_as_if_it_ran_here(cluster: Cluster) -> None:
    """Its exit code, its output, and what it says of errors; it reads nothing, unless it is to."""
    script = "cat; echo hello; echo oops >&2; exit 3"

    alone = await anyio.to_thread.run_sync(lambda: run_cli("exec", "--name", cluster.name, "sh", "-c", script, stdin="unheard\n"))
    fed = await anyio.to_thread.run_sync(lambda: run_cli("exec", "--name", cluster.name, "-i", "sh", "-c", script, stdin="heard\n"))

    assert (alone.returncode, alone.stdout, alone.stderr) == (3, "hello\n", "oops\n")
    assert (fed.returncode, fed.stdout, fed.stderr) == (3, "heard\nhello\n", "oops\n")


async def test_a_program_has_the_users_terminal(cluster: Cluster) -> None:
    """With -t; without, none."""
    script = "if test -t 0 && test -t 1; then echo a terminal; else echo none; fi; exit 3"

    alone = await anyio.to_thread.run_sync(on_a_terminal, "exec", "--name", cluster.name, "sh", "-c", script)
    given = await anyio.to_thread.run_sync(on_a_terminal, "exec", "--name", cluster.name, "-it", "sh", "-c", script)

    assert alone == (3, "none\r\n")
    assert given == (3, "a terminal\r\n")


def on_a_terminal(*arguments: str) -> tuple[int, str]:
    """The command's exit code, and what its terminal shows."""
    ours, theirs = os.openpty()
    process = subprocess.Popen([sys.executable, "-m", "kindasync", *arguments], stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    with open(ours, "rb", buffering=0) as terminal, suppress(OSError):  # EIO: the other side is closed
        while piece := terminal.read(4096):
            shown += piece
    return process.wait(), shown.decode()
