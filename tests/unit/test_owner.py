"""Which process made something, and whether it still lives."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from kindasync.cluster._owner import gone, has_ended, owner

HERE = "host/boot-2/1/10"


@pytest.mark.parametrize(
    ("then", "now", "ended"),
    [
        ("host/boot-2/42/700", "host/boot-2/42/700", False),
        ("host/boot-2/42/700", "", True),  # there is no such process
        ("host/boot-2/42/700", "host/boot-2/42/900", True),  # another one has its number
        ("host/boot-1/42/700", "host/boot-2/42/700", True),  # before the machine was started anew
        ("elsewhere/boot-3/42/700", "", False),  # on another machine: who knows
        ("elsewhere/boot-3/42/700", "host/boot-2/42/700", False),
        ("host//42/", "host//42/", False),  # without /proc
    ],
)
def test_a_process_has_ended(then: str, now: str, ended: bool) -> None:
    """Its number alone says little: numbers are used again."""
    assert gone(then, now, here=HERE) is ended


def test_processes_of_this_machine() -> None:
    """One that nobody has waited for yet has ended, too."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        name = owner(child.pid)
        while_it_lives = has_ended(name)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        as_a_zombie = has_ended(name)

    assert not has_ended(owner())
    assert (while_it_lives, as_a_zombie, has_ended(name)) == (False, True, True)


@pytest.mark.parametrize("name", ["", "host", "host/42", "host/boot/x/1", "a/b/c/d/e"])
def test_what_names_no_process_is_not_said_to_have_ended(name: str) -> None:
    """It is the label of somebody else's container."""
    assert not has_ended(name)
