"""kindasync exec and kindasync kubectl: programs of a node, with the user's terminal, or stdin and stdout."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING

import click

from kindasync._shielded import attempted
from kindasync.cli import _options, _terminal
from kindasync.cli._kubectl import arranged
from kindasync.cli._running import run
from kindasync.config import DEFAULT_NAME
from kindasync.errors import ClusterError

if TYPE_CHECKING:
    from kindasync.node import Node

ADMIN = "/etc/kubernetes/admin.conf"
CLEAN_UP_S = 10.0
_MARK = "KINDASYNC_EXEC"
# Sends the signal $1 to all programs that have $0 in their environment.
_END = 'for each in /proc/[0-9]*; do grep -qsxzF -e "$0" "$each/environ" && kill -s "$1" "${each#/proc/}"; done 2>/dev/null'
_PASSED_ON = {"ignore_unknown_options": True, "allow_interspersed_args": False}


@click.command("exec", context_settings=_PASSED_ON)
@_options.name
@click.option("--node", "node_name", shell_complete=_options.complete_node, help="The node. [default: the first control plane that runs]")
@click.option("-i", "--interactive", is_flag=True, help="Give the program what comes on stdin.")
@click.option("-t", "--tty", is_flag=True, help="Give the program this terminal.")
@click.argument("program", nargs=-1, required=True, type=click.UNPROCESSED)
def exec_program(name: str, node_name: str | None, interactive: bool, tty: bool, program: tuple[str, ...]) -> int:
    """Run a program in a node, and end with its exit code. No shell is in between.

    \b
    kindasync exec crictl images
    kindasync exec --name ci --node ci-worker -it bash
    """
    if tty and not _terminal.has_terminal():
        raise click.UsageError("-t needs a terminal, as stdin and as stdout")

    async def operation() -> int:
        node = await _node(name, node_name)
        return await _run_in(node, program, reads=interactive, has_terminal=tty)

    return run(operation, silent=True)


@click.command("kubectl", context_settings=_PASSED_ON)
@click.option(
    "--name",
    shell_complete=_options.complete_cluster,
    envvar="KIND_CLUSTER_NAME",
    default=DEFAULT_NAME,
    show_default=True,
    callback=_options.named,
    help="The cluster's name (environment: KIND_CLUSTER_NAME); before kubectl's own arguments.",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def kubectl(name: str, arguments: tuple[str, ...]) -> int:
    """Run kubectl in the first control plane that runs, as the cluster's administrator: no kubectl is needed on this machine.

    Files that -f, -k and the like name are put into the node for it. What has to run on this machine (port-forward, proxy, cp, edit) is refused.

    \b
    kindasync kubectl get pods -A
    kindasync kubectl --name ci apply -f app.yaml
    kindasync kubectl exec -it web -- sh
    """
    directory = f"/kind/kubectl-{token_hex(4)}"
    call = arranged(arguments, directory)
    has_terminal = call.reads and _terminal.has_terminal()

    async def operation() -> int:
        node = await _node(name, None)
        async with _uploaded(node, directory, call.uploads):
            return await _run_in(
                node,
                ["kubectl", *call.argv],
                env={"KUBECONFIG": ADMIN},
                reads=call.reads,
                has_terminal=has_terminal,
            )

    return run(operation, silent=True)


async def _node(cluster: str, name: str | None) -> Node:
    """The node of that name, else the first control plane that runs."""
    from kindasync.cluster._cluster import nodes_of
    from kindasync.cluster._lookup import existing_members, is_node, role_of, states_of
    from kindasync.config import Role
    from kindasync.docker import Engine

    engine = Engine.of(None)
    async with engine.connect() as connection:
        there = [each for each in await existing_members(connection, cluster) if is_node(each)]
    meant = [each for each in there if each.name == name or (not name and role_of(each) is Role.CONTROL_PLANE)]
    if not meant:
        names = ", ".join(each.name for each in there)
        raise ClusterError(f'cluster "{cluster}" has no node {name}', why=f"its nodes are {names}", hint="name one of those")
    for node in nodes_of(engine, cluster, (each for each in meant if each.state == "running")):
        return node
    what = f"node {name} does not run" if name else f'no control plane of cluster "{cluster}" runs'
    raise ClusterError(what, why=states_of(meant), hint=f"kindasync start --name {cluster}")


async def _run_in(node: Node, argv: Sequence[str], *, env: Mapping[str, str] | None = None, reads: bool, has_terminal: bool) -> int:
    """Run a program until it ends; its exit code. It ends with us, which no Engine sees to; in a terminal, Ctrl-C is the program's."""
    token = token_hex(8)
    env = {**(env or {}), _MARK: token}
    try:
        if has_terminal:
            with _terminal.raw():
                return await _run(node, argv, {**env, "TERM": os.environ.get("TERM", "xterm")}, reads=True, has_terminal=True)
        return await _run(node, argv, env, reads=reads, has_terminal=False)
    except BaseException as error:
        signal = "HUP" if has_terminal else "TERM"  # as if the terminal had gone: shells that have one heed no other
        if not await attempted(partial(node.exec, ["sh", "-c", _END, f"{_MARK}={token}", signal], check=False), CLEAN_UP_S):
            error.add_note(f"{argv[0]} may still run in node {node.name}")
        raise


async def _run(node: Node, argv: Sequence[str], env: Mapping[str, str] | None, *, reads: bool, has_terminal: bool) -> int:
    result = await node.exec(
        argv,
        env=env,
        stdin=_terminal.incoming() if reads else None,
        check=False,
        on_output=_terminal.written_to(sys.stdout.buffer),
        on_error=_terminal.written_to(sys.stderr.buffer),
        sizes=_terminal.sizes() if has_terminal else None,
    )
    return result.exit_code


@asynccontextmanager
async def _uploaded(node: Node, directory: str, uploads: Mapping[str, Path]) -> AsyncIterator[None]:
    """Have files, and what is in directories, in the node for as long as the context is open, for root alone."""
    from kindasync.node._files import File

    files = {place: File(content=path.read_bytes(), mode=0o600) for place, path in uploads.items()}
    if not files:
        yield
        return
    try:
        await node.put(files)
        yield
    finally:
        if not await attempted(partial(node.exec, ["rm", "-rf", directory]), CLEAN_UP_S):
            click.echo(f"note: {directory} is left in node {node.name}", err=True)
