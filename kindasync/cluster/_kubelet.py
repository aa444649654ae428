"""The kubelet of a node, by its log: why it does not do what is waited for."""

from __future__ import annotations

import re
from contextlib import suppress

import anyio

from kindasync.docker import Connection
from kindasync.docker.containers import Container
from kindasync.docker.execs import container_exec
from kindasync.errors import KindasyncError, NodeError

JOURNAL = ("journalctl", "--unit=kubelet", "--no-pager", "--output=cat")
LOG = (*JOURNAL, "--lines=200")
LOG_S = 5.0
TOLD_LINES = 10
_HEAD = re.compile(r"^[EF]\d{4} [\d:.]+ +\d+ \S+\] ")  # when, and where in the source
_ERROR = re.compile(r"[EF]\d{4} |panic: |Error: ")  # klog's, Go's and cobra's


async def last_words(connection: Connection, container: Container) -> str:
    """What a node's kubelet said last of what is wrong; empty if that cannot be read within LOG_S seconds."""
    with anyio.move_on_after(LOG_S), suppress(KindasyncError):
        return telling((await container_exec(connection, container.id, LOG)).text)
    return ""


def telling(log: str) -> str:
    """The lines of a log that say what is wrong, the last of them, each once; if there are none, its last ones."""
    lines = log.strip().splitlines()
    errors: dict[str, str] = {}
    for line in lines:
        if _ERROR.match(line):
            said = _HEAD.sub("", line)
            errors.pop(said, None)
            errors[said] = line
    return "\n".join([*(errors.values() or lines)][-TOLD_LINES:])


def fails_again(what: str, words: str, settings: str) -> NodeError:
    """The error of a kubelet, or of what a kubelet starts, that fails again and again: `words` are its last, `settings` those that may be why."""
    return NodeError(
        f"{what} fails again and again",
        why=words.rpartition("\n")[2] or "its log says nothing",
        hint=f"mend what the configuration tells it: {settings}",
        evidence=words if "\n" in words else "",
    )
