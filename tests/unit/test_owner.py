"""Which process made something, and whether it still lives."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kindasync.cluster._owner import Fate, fate, has_ended, owner

HERE = "host/boot-2/ns/1/10"


@pytest.mark.parametrize(
    ("then", "now", "expected"),
    [
        ("host/boot-2/ns/42/700", "host/boot-2/ns/42/700", Fate.LIVES),
        ("host/boot-2/ns/42/700", "", Fate.ENDED),  # there is no such process
        ("host/boot-2/ns/42/700", "host/boot-2/ns/42/70", Fate.ENDED),  # another one has its number
        ("host/boot-1/ns/42/700", "host/boot-2/ns/42/700", Fate.ENDED),  # before the machine was started anew
        ("host/boot-1/ns/42/700", "host/boot-2/ns/42/", Fate.ENDED),
        ("host/boot-2/ns/42/700", "host/boot-2/ns/42/", Fate.LIVES),  # another user's, who hides it
        ("elsewhere/boot-3/ns/42/700", "", Fate.UNKNOWN),  # on another machine
        ("elsewhere/boot-3/ns/42/700", "host/boot-2/ns/42/700", Fate.UNKNOWN),
        ("host+/boot-1/ns/42/700", "", Fate.UNKNOWN),  # perhaps, as most containers have no ID
        ("host+cafe/boot-3/ns/42/700", "", Fate.UNKNOWN),  # on one of the same name
        ("host/boot-2/other/42/700", "", Fate.UNKNOWN),  # in a container
    ],
)
def test_what_has_become_of_a_process(then: str, now: str, expected: Fate) -> None:
    """Its number alone says little: numbers are used again, and in each container."""
    assert fate(then, now, here=HERE) is expected


@pytest.mark.parametrize(("now", "expected"), [("host///42/", Fate.LIVES), ("", Fate.ENDED)])
def test_without_proc(now: str, expected: Fate) -> None:
    """One of its number is taken for the same."""
    assert fate("host///42/", now, here="host///1/") is expected


def test_machines_of_one_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has an ID besides, and that is not shown as it is."""
    ids = {"one": "0123456789abcdef0123456789abcdef\n", "other": "ffffffffffffffffffffffffffffffff\n"}
    names = []
    for machine in ids.values():
        with monkeypatch.context() as there:
            there.setattr(Path, "read_text", _other_machine_id(machine))
            names.append(owner())

    assert not [name for name in names if any(machine.strip() in name for machine in ids.values())]
    assert len({name.split("/")[0] for name in names}) == 2
    assert len({name.split("/", 1)[1] for name in names}) == 1


def _other_machine_id(content: str) -> Callable[[Path], str]:
    read_text = Path.read_text
    return lambda path: content if path == Path("/etc/machine-id") else read_text(path)


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


@pytest.mark.parametrize("name", ["", "host", "host/42", "host/boot/ns/x/1", "host/boot/ns/42", "a/b/c/1/e"])
def test_what_names_no_process_is_not_said_to_have_ended(name: str) -> None:
    """It is the label of somebody else's container."""
    assert not has_ended(name)
