"""Networks: the IPv6 subnet that a network's name stands for, so that kind and kindasync ask for the same."""

from __future__ import annotations

from ipaddress import IPv6Network

import pytest

from kindasync.docker.networks import ula_subnet


@pytest.mark.parametrize(
    ("name", "attempt", "subnet"),
    [
        ("kind", 0, "fc00:f853:ccd:e793::/64"),  # on every machine that kind has run on
        ("kind2", 0, "fc00:444c:147a:44ab::/64"),
        ("kin", 0, "fc00:fcd9:c2be:8e23::/64"),
        ("mysupernetwork", 0, "fc00:7ae1:1e0d:b4d4::/64"),
        ("foo", 1, "fc00:8edf:7f02:ec8f::/64"),
        ("foo", 2, "fc00:9968:306b:2c65::/64"),
    ],
)
def test_the_subnet_of_a_name(name: str, attempt: int, subnet: str) -> None:
    """The values of kind's own test (kubernetes-sigs/kind:pkg/cluster/internal/providers/docker/network_test.go)."""
    assert ula_subnet(name, attempt) == subnet


def test_every_subnet_is_a_unique_local_one() -> None:
    """fc00::/7, a /64 each, and another attempt leads to another one."""
    subnets = {IPv6Network(ula_subnet("kind", attempt)) for attempt in range(50)}

    assert len(subnets) == 50
    assert all(subnet.subnet_of(IPv6Network("fc00::/7")) and subnet.prefixlen == 64 for subnet in subnets)
