"""CNI: the configuration by which containerd gives a node's pods their addresses.

It is in place before the kubelet starts, so that a node is Ready without waiting for any pod. The pod network daemon
writes the same (node-image/kube/podnetwork/cni.go), and finds nothing to change.
"""

from __future__ import annotations

import json
from ipaddress import ip_network

CONFIG_PATH = "/etc/cni/net.d/10-kindasync.conflist"


def conflist(pod_cidrs: tuple[str, ...]) -> str:
    """The configuration for a node's podCIDRs: a veth pair per pod, routed by the node."""
    anywhere = {4: "0.0.0.0/0", 6: "::/0"}
    ipam = {
        "type": "host-local",
        "dataDir": "/run/cni-ipam-state",
        "ranges": [[{"subnet": cidr}] for cidr in pod_cidrs],
        "routes": [{"dst": anywhere[ip_network(cidr).version]} for cidr in pod_cidrs],
    }
    plugins = [{"type": "ptp", "ipMasq": False, "ipam": ipam}, {"type": "portmap", "capabilities": {"portMappings": True}}]
    return json.dumps({"cniVersion": "1.0.0", "name": "kindasync", "plugins": plugins}, indent=2)
