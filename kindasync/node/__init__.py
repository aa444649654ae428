"""Node: one node in its container: image contract, container, boot, files, kubeadm; nothing of topologies."""

from kindasync.node._files import File
from kindasync.node._node import Node, PausedNode

__all__ = ["File", "Node", "PausedNode"]
