"""Hints: what to do about an Engine's refusal, and which kind of refusal it is, by fragments of its message.

Statuses and structure come first; these fragments are evidence where an Engine says several things with one status (500).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto


class Refusal(Enum):
    """Kinds of refusal that kindasync treats differently, or has advice for."""

    PORT_TAKEN = auto()
    ADDRESS_TAKEN = auto()
    SUBNETS_OVERLAP = auto()
    NO_SUBNET_LEFT = auto()
    NO_IPV6 = auto()
    MOUNT_SOURCE_MISSING = auto()
    NO_EXIT_EVENT = auto()
    BEING_REMOVED = auto()
    NOT_FROZEN = auto()
    NETWORK_EXISTS = auto()
    NETWORK_IN_USE = auto()
    DISK_FULL = auto()
    OUT_OF_INOTIFY = auto()
    LIMIT_REFUSED = auto()
    NO_PRIVILEGE = auto()
    NO_PROTOCOL = auto()
    NOT_SHARED = auto()
    NO_SUCH_ADDRESS = auto()
    MOUNTED_TWICE = auto()
    NO_COMMAND = auto()
    UNAUTHORIZED = auto()


@dataclass(frozen=True, slots=True)
class _Row:
    refusal: Refusal
    fragments: tuple[str, ...]
    hint: str = ""


# Docker Engine 20.10 to 29, and Podman's compatible socket; lower case.
_TABLE = (
    _Row(
        Refusal.PORT_TAKEN,
        (
            "port is already allocated",
            "address already in use: failed to bind",
            "ports are not available",
            "failed to bind host port",
            "bind: address already in use",
        ),
        "free the port, or ask for another one",
    ),
    _Row(
        Refusal.ADDRESS_TAKEN,
        ("address already in use", "is already allocated to container", "is not available in range set", "no available ipv4 addresses"),
    ),
    _Row(
        Refusal.SUBNETS_OVERLAP,
        ("pool overlaps", "networks have overlapping", "is already used on the host or by another config", "overlaps with"),
    ),
    _Row(
        Refusal.NO_SUBNET_LEFT,
        (
            "could not find an available, non-overlapping",
            "all predefined address pools have been fully subnetted",
            "could not find free subnet",
        ),
        "remove networks that are not used (docker network prune), or give the Engine more address pools",
    ),
    _Row(
        Refusal.NO_IPV6,
        (
            "cannot read ipv6 setup for bridge",
            "unable to enable nat rule: (iptables failed: ip6tables",
            "setting default policy to drop in forward chain failed:  (iptables failed: ip6tables",
            "ip6tables",
            "ipv6 is disabled",
        ),
    ),
    _Row(Refusal.MOUNT_SOURCE_MISSING, ("bind source path does not exist", "mounts denied", "is not shared from the host", "statfs")),
    _Row(Refusal.NO_EXIT_EVENT, ("did not receive an exit event", "tried to kill container, but")),
    _Row(Refusal.BEING_REMOVED, ("is already in progress", "marked for removal")),
    _Row(Refusal.NOT_FROZEN, ("unable to freeze",)),
    _Row(Refusal.NETWORK_IN_USE, ("has active endpoints", "network is being used")),
    _Row(Refusal.NETWORK_EXISTS, ("already exists", "network name already used")),
    _Row(
        Refusal.OUT_OF_INOTIFY,  # before DISK_FULL: the kernel says "no space left on device" for watches, too
        ("too many open files", "inotify"),
        "raise fs.inotify.max_user_instances to 1024 and fs.inotify.max_user_watches to 524288 (sysctl)",
    ),
    _Row(
        Refusal.DISK_FULL,
        ("no space left on device", "disk quota exceeded"),
        "free disk space on the Engine's host (docker system df shows what uses it)",
    ),
    _Row(
        Refusal.LIMIT_REFUSED,  # before NO_PRIVILEGE: a missing CAP_SYS_RESOURCE again, but one that can be done without
        ("error setting rlimit", "`rlimit_"),
        "give Podman limits that it may set, those of `ulimit -Hn` and -Hu: default_ulimits in containers.conf",
    ),
    _Row(
        Refusal.NO_PRIVILEGE,
        ("unable to apply caps", "operation not permitted"),
        "the Engine may not start privileged containers here: kindasync doctor says what is missing",
    ),
    _Row(
        Refusal.NO_PROTOCOL,
        ("protocol not supported",),
        "the kernel of the Engine's host has no SCTP: load it there (modprobe sctp), or map a TCP or UDP port",
    ),
    _Row(
        Refusal.NOT_SHARED,
        ("not a shared or slave mount", "not a shared mount"),
        "make it one on the Engine's host (mount --make-rshared, of the mount that has the path), or leave out the mount's propagation",
    ),
    _Row(
        Refusal.NO_SUCH_ADDRESS,
        ("cannot assign requested address",),
        "the Engine's host has no such address: name one that it has (apiServerAddress, listenAddress)",
    ),
    _Row(Refusal.MOUNTED_TWICE, ("duplicate mount point",), "two mounts have one path in the node: leave out one of them"),
    _Row(Refusal.NO_COMMAND, ("no command specified", "no command or entrypoint provided")),
    _Row(
        Refusal.UNAUTHORIZED,
        ("unauthorized", "authentication required", "access denied for", "denied: requested access", "from registry: denied", ": denied"),
        "docker login to the registry, or give an image you may pull",
    ),
)


def refusal_of(message: str) -> Refusal | None:
    """The kind of refusal that the Engine's `message` tells of; None for any other."""
    row = _row(message)
    return row.refusal if row else None


def hint_for(message: str) -> str:
    """What to do about `message`; empty where nothing general helps."""
    row = _row(message)
    return row.hint if row else ""


def _row(message: str) -> _Row | None:
    lowered = message.lower()
    return next((row for row in _TABLE if any(fragment in lowered for fragment in row.fragments)), None)
