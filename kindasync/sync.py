"""The same for programs without asyncio: each call blocks, and each asynchronous context manager is a with-block.

    from kindasync.sync import Cluster

    with Cluster.running() as cluster:
        print(cluster.nodes[0].exec(["uname", "-r"]).text)

It works where an event loop runs already, too, as in notebooks. Ctrl-C ends a call as a cancellation does: when what was
begun is cleaned up. What each member does, its `Raises` and `Cancellation`, is that of the asynchronous one, from which it is
derived; listeners and hooks are as there. `Cluster.client` is not here: its client is an asynchronous one.
"""

from __future__ import annotations

from kindasync import cluster, node
from kindasync._facade import facade

Node = facade(node.Node, module=__name__, doc="A node: `kindasync.Node`, blocking.", without=("connection", "readiness"))
Cluster = facade(cluster.Cluster, module=__name__, doc="A cluster: `kindasync.Cluster`, blocking.", without=("client",))

__all__ = ["Cluster", "Node"]
