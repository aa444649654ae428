"""CNI: the configuration by which a node's pods get their addresses.

Source: cni.dev, "CNI Specification" 1.0.0 and the plugins ptp, host-local and portmap.
"""

from __future__ import annotations

import json

import pytest

from kindasync.node._cni import conflist


@pytest.mark.parametrize(
    ("pod_cidrs", "ranges", "routes"),
    [
        (("10.244.0.0/24",), [[{"subnet": "10.244.0.0/24"}]], [{"dst": "0.0.0.0/0"}]),
        (("fd00:10:244::/64",), [[{"subnet": "fd00:10:244::/64"}]], [{"dst": "::/0"}]),
        (
            ("10.244.0.0/24", "fd00:10:244::/64"),
            [[{"subnet": "10.244.0.0/24"}], [{"subnet": "fd00:10:244::/64"}]],
            [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
        ),
    ],
)
def test_the_configuration_of_a_node(pod_cidrs: tuple[str, ...], ranges: object, routes: object) -> None:
    """The same as the pod network's daemon writes (node-image/kube/podnetwork/cni.go): an address and a default route per family."""
    assert json.loads(conflist(pod_cidrs)) == {
        "cniVersion": "1.0.0",
        "name": "kindasync",
        "plugins": [
            {
                "type": "ptp",
                "ipMasq": False,
                "ipam": {"type": "host-local", "dataDir": "/run/cni-ipam-state", "ranges": ranges, "routes": routes},
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }
