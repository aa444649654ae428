"""Addresses in configurations."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network


def is_address(text: str) -> bool:
    """Whether a text is an IPv4 or IPv6 address."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def overlap(subnet: IPv4Network | IPv6Network, other: str) -> bool:
    """Whether a subnet has addresses of another, in CIDR form; not of what is no subnet, which is a problem of its own."""
    try:
        network = ip_network(other, strict=False)
    except ValueError:
        return False
    return subnet.version == network.version and subnet.overlaps(network)
