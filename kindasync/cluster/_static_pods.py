"""The static pods of a control plane, by their logs and the kubelet's: whether one of them fails again and again, or has no image."""

from __future__ import annotations

import re

import anyio

from kindasync.cluster._kubelet import JOURNAL, fails_again
from kindasync.docker import Connection
from kindasync.docker.containers import Container
from kindasync.docker.execs import container_exec, container_run
from kindasync.errors import NodeError

LOOK_EVERY_S = 10.0  # kubelets wait as long before they start again, for the second time, what has failed
# A container's log is named by how many others there were before it: of the fourth there is one when three have failed. It may say nothing yet.
_LOGS = """\
for program in etcd kube-apiserver kube-controller-manager kube-scheduler; do
    for log in /var/log/pods/kube-system_$program-*/$program/3.log; do
        if test -e "$log"; then tail --lines=20 "${log%3.log}2.log" "$log" || true; fi
    done
done
"""
_PASSES = ("leaderelection lost", "leader election lost")  # on a busy machine
_KUBELETS_LOG = (*JOURNAL, "--lines=2000")
_PULLS = re.compile(
    r'StartContainer\W+for \W+(etcd|kube-apiserver|kube-controller-manager|kube-scheduler)\W+ with ErrImagePull: \W+(.+?)\\?""'
)
_STAMP = re.compile(r"(?m)^\S+ std(?:out|err) [FP] ")  # the runtime's, before what a container has said
_HEAD = re.compile(r"(?m)^==> .*/(\S+)/\d\.log <==$\n?")  # tail's


async def guard(connection: Connection, container: Container) -> None:
    """Look, as long as it runs, every LOOK_EVERY_S seconds. Raises: NodeError if one of a node's has failed, or was not pulled, three times; as `container_run`."""
    while True:
        await anyio.sleep(LOOK_EVERY_S)
        logs = (await container_run(connection, container.id, ["sh", "-c", _LOGS])).text
        said = (await container_exec(connection, container.id, _KUBELETS_LOG)).text
        if failure := _failure(container.name, logs) or _unpulled(container.name, said):
            raise failure


def _failure(node: str, logs: str) -> NodeError | None:
    """What failed on a node, of which there are these logs. Pure."""
    if not (head := _HEAD.search(logs)):
        return None
    words = _STAMP.sub("", _HEAD.sub("", logs)).strip()
    if any(each in words for each in _PASSES):
        return None
    return fails_again(f"{head[1]} on node {node}", words, "runtimeConfig, featureGates, kubeadmConfigPatches")


def _unpulled(node: str, log: str) -> NodeError | None:
    """What was not pulled on a node three times, by its kubelet's log. Pure."""
    pulls = _PULLS.findall(log)
    programs = [program for program, _ in pulls]
    for program, why in reversed(pulls):
        if programs.count(program) >= 3:
            return NodeError(
                f"the image of {program} cannot be pulled on node {node}",
                why=why.replace("\\", ""),
                hint="see imageRepository in kubeadmConfigPatches, and whether nodes reach that registry; the node image has its own images",
            )
    return None
