"""Join: every node but the first, from its container to a member of the cluster."""

from __future__ import annotations

from contextlib import nullcontext

from kindasync import events
from kindasync.cluster._assembly import Assembly
from kindasync.cluster._claim import start_node
from kindasync.cluster._provision import living, provision_other, run_program
from kindasync.cluster._run import Run
from kindasync.cluster.plan import Facts, NodePlan
from kindasync.config import ClusterConfig, Role
from kindasync.docker.containers import Container
from kindasync.node import _kubeadm as kubeadm
from kindasync.node._contract import Contract


async def join_node(run: Run, config: ClusterConfig, facts: Facts, index: int, contract: Contract, assembly: Assembly) -> None:
    """Make the node number `index` of the plan, and join it as soon as the first control plane accepts nodes; guarded until the create ends.

    Raises: StepFailed; NotReady.
    """
    plan, container, _ = await start_node(run, config, facts, index)
    node = plan.nodes[index]
    async with living(run, container) as console:
        await provision_other(run, plan, node, container, console, contract, facts.engine, assembly)
        await assembly.accepting.get()
        await join(run, node, container, assembly)
        assembly.has_joined(node.name)
        await assembly.finished.get()


async def join(run: Run, node: NodePlan, container: Container, assembly: Assembly) -> None:
    """Let kubeadm make a node whose containerd answers a member of the cluster. Raises: StepFailed."""
    is_founder = node.name in assembly.founders
    async with assembly.etcd if node.role is Role.CONTROL_PLANE and not is_founder else nullcontext():
        documents = await assembly.documents(node.name).get()
        argv = kubeadm.init_argv(documents, only=kubeadm.MEMBER_PHASES) if is_founder else kubeadm.join_argv(documents)
        with run.step(f"join node {node.name}", node=node.name) as began:
            await run_program(run, container, argv, reads_first=not is_founder)
            run.emit(events.NodeJoined, node=node.name, since=began)
