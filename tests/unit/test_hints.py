"""Refusals: what Engines say, and what kindasync takes it for. The messages are those of real Engines, their versions beside them."""

from __future__ import annotations

import pytest

from kindasync.docker._hints import Refusal, hint_for, refusal_of

PROGRAMMING = "driver failed programming external connectivity on endpoint demo-control-plane (0c9c1b6d5bd9): "
MESSAGES = [
    # a published port is taken
    (PROGRAMMING + "Bind for 127.0.0.1:6443 failed: port is already allocated", Refusal.PORT_TAKEN),  # 20.10 to 29, by a container
    (PROGRAMMING + "Error starting userland proxy: listen tcp4 127.0.0.1:6443: bind: address already in use", Refusal.PORT_TAKEN),  # 20.10
    (PROGRAMMING + "failed to bind port 127.0.0.1:6443/tcp: listen tcp4 127.0.0.1:6443: bind: address already in use", Refusal.PORT_TAKEN),
    (
        f"failed to set up container networking: {PROGRAMMING}"
        "failed to bind host port for 127.0.0.1:6443:172.18.0.2:6443/tcp: address already in use",
        Refusal.PORT_TAKEN,  # 28
    ),
    (
        f"failed to set up container networking: {PROGRAMMING}failed to bind host port 127.0.0.1:6443/tcp: address already in use",
        Refusal.PORT_TAKEN,  # 29
    ),
    ("Ports are not available: exposing port TCP 127.0.0.1:6443 -> 127.0.0.1:0: listen tcp 127.0.0.1:6443: bind: Only one usage of each socket address "
     "(protocol/network address/port) is normally permitted.", Refusal.PORT_TAKEN),  # Desktop
    ("rootlessport listen tcp 127.0.0.1:6443: bind: address already in use", Refusal.PORT_TAKEN),  # Podman, rootless
    ("cannot listen on the TCP port: listen tcp4 127.0.0.1:6443: bind: address already in use", Refusal.PORT_TAKEN),  # Podman
    # the address that a node asked for is taken: another refusal, though the words are nearly the same
    ("Address already in use", Refusal.ADDRESS_TAKEN),  # 20.10 to 27
    ("failed to set up container networking: Address already in use", Refusal.ADDRESS_TAKEN),  # 28, 29
    ("no available IPv4 addresses on this network's address pools: kind (5b7dcbc90d90)", Refusal.ADDRESS_TAKEN),
    ("IPAM error: requested ip address 10.89.0.110 is already allocated to container ID aba087df711b", Refusal.ADDRESS_TAKEN),  # Podman 4, 5
    ("failed to allocate for range 0: requested IP address 10.89.0.7 is not available in range set 10.89.0.1-10.89.255.254",
     Refusal.ADDRESS_TAKEN),  # Podman with CNI
    # the subnet of a new network
    ("Pool overlaps with other one on this address space", Refusal.SUBNETS_OVERLAP),  # 20.10 to 26
    ("invalid pool request: Pool overlaps with other one on this address space", Refusal.SUBNETS_OVERLAP),  # 27 to 29
    ("cannot create network 8c0c4a59 (br-8c0c4a59): conflicts with network 5b7dcbc9 (br-5b7dcbc9): networks have overlapping IPv4",
     Refusal.SUBNETS_OVERLAP),
    ("cannot create network 8c0c4a59 (br-8c0c4a59): conflicts with network 5b7dcbc9 (br-5b7dcbc9): networks have overlapping IPv6",
     Refusal.SUBNETS_OVERLAP),
    ("subnet 10.89.0.0/16 is already used on the host or by another config", Refusal.SUBNETS_OVERLAP),  # Podman
    ("could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network", Refusal.NO_SUBNET_LEFT),
    ("all predefined address pools have been fully subnetted", Refusal.NO_SUBNET_LEFT),  # 27 to 29
    ("could not find free subnet from subnet pools", Refusal.NO_SUBNET_LEFT),  # Podman
    # no IPv6: what kind's table has, and what it has missed (kind#3748, kind#4019)
    ("Cannot read IPv6 setup for bridge br-5b7dcbc9: open /proc/sys/net/ipv6/conf/br-5b7dcbc9/disable_ipv6: no such file or directory",
     Refusal.NO_IPV6),
    ("Failed to Setup IP tables: Unable to enable NAT rule:  (iptables failed: ip6tables --wait -t nat -I POSTROUTING -s "
     "fc00:f853:ccd:e793::/64 ! -o br-6ded57439d75 -j MASQUERADE: ip6tables v1.8.7 (legacy): can't initialize ip6tables table `nat': "
     "Table does not exist (do you need to insmod?)", Refusal.NO_IPV6),
    ("setting default policy to DROP in FORWARD chain failed:  (iptables failed: ip6tables --wait -t filter -P FORWARD DROP: "
     "Perhaps ip6tables or your kernel needs to be upgraded.", Refusal.NO_IPV6),
    # a bind mount's source is not there
    ('invalid mount config for type "bind": bind source path does not exist: /home/me/x', Refusal.MOUNT_SOURCE_MISSING),  # 20.10 to 29
    ("Mounts denied: \nThe path /home/me/x is not shared from the host and is not known to Docker.", Refusal.MOUNT_SOURCE_MISSING),  # Desktop
    ("statfs /home/me/x: no such file or directory", Refusal.MOUNT_SOURCE_MISSING),  # Podman
    # removal under load
    ('cannot remove container "demo-control-plane": could not kill container: tried to kill container, but did not receive an exit event',
     Refusal.NO_EXIT_EVENT),  # 25 to 29
    ("Could not kill running container ef21e590, cannot remove - tried to kill container, but did not receive an exit event",
     Refusal.NO_EXIT_EVENT),  # 20.10
    ("removal of container demo-control-plane is already in progress", Refusal.BEING_REMOVED),
    ("container is marked for removal and cannot be started", Refusal.BEING_REMOVED),
    # networks
    ("network with name kind already exists", Refusal.NETWORK_EXISTS),
    ("network name kind already used: network already exists", Refusal.NETWORK_EXISTS),  # Podman
    ("error while removing network: network kind id 5b7dcbc9 has active endpoints", Refusal.NETWORK_IN_USE),  # 20.10 to 27
    ('error while removing network: network kind has active endpoints (name:"demo-worker" id:"ef21e590")', Refusal.NETWORK_IN_USE),  # 28, 29
    ('"kind" has associated containers with it. Use -f to forcibly delete containers and pods: network is being used', Refusal.NETWORK_IN_USE),
    # what the host has too little of
    ("write /var/lib/docker/tmp/GetImageBlob123: no space left on device", Refusal.DISK_FULL),
    ("failed to register layer: mkdir /var/lib: disk quota exceeded", Refusal.DISK_FULL),
    ("failed to create task for container: too many open files: unknown", Refusal.OUT_OF_INOTIFY),
    ("inotify_add_watch /sys/fs/cgroup/memory.events: no space left on device", Refusal.OUT_OF_INOTIFY),  # ENOSPC, and no full disk
    # privilege
    ("runc create failed: unable to start container process: unable to apply caps: operation not permitted: unknown", Refusal.NO_PRIVILEGE),
    # registries
    ("pull access denied for app, repository does not exist or may require 'docker login': denied: requested access to the resource is denied",
     Refusal.UNAUTHORIZED),
    ('Head "https://ghcr.io/v2/me/app/manifests/1": denied', Refusal.UNAUTHORIZED),
    ("error from registry: denied\ndenied", Refusal.UNAUTHORIZED),
    ('Get "https://registry.example.com/v2/": unauthorized: authentication required', Refusal.UNAUTHORIZED),
]  # fmt: skip
OTHERS = [
    "",
    "No such image: app:1",
    'Conflict. The container name "/demo-control-plane" is already in use by container "ef21e590". You have to remove (or rename) it.',
    "Container ef21e590 is not running",
    'exec: "/entrypoint": permission denied: unknown',  # nothing that a docker login would help with
    "error while calling PortManager.AddPort(): cannot expose privileged port 80",
]


@pytest.mark.parametrize(("message", "refusal"), MESSAGES)
def test_a_message_tells_of_a_refusal(message: str, refusal: Refusal) -> None:
    """Real words, whole; the case of the letters does not matter."""
    assert refusal_of(message) is refusal
    assert refusal_of(message.upper()) is refusal


@pytest.mark.parametrize("message", OTHERS)
def test_other_messages_are_taken_for_nothing(message: str) -> None:
    """No guess is better than a wrong one: there is neither a kind of refusal nor a hint."""
    assert refusal_of(message) is None
    assert hint_for(message) == ""


def test_every_refusal_has_a_message() -> None:
    """A kind of refusal that no Engine's words lead to would be dead."""
    assert {refusal for _, refusal in MESSAGES} == set(Refusal)


@pytest.mark.parametrize(
    ("refusal", "remedy"),
    [
        (Refusal.PORT_TAKEN, "free the port"),
        (Refusal.NO_SUBNET_LEFT, "docker network prune"),
        (Refusal.DISK_FULL, "free disk space"),
        (Refusal.OUT_OF_INOTIFY, "fs.inotify.max_user_instances"),
        (Refusal.NO_PRIVILEGE, "kindasync doctor"),
        (Refusal.UNAUTHORIZED, "docker login"),
        (Refusal.ADDRESS_TAKEN, ""),  # what kindasync deals with itself, nobody is told to deal with
        (Refusal.NO_EXIT_EVENT, ""),
    ],
)
def test_a_refusal_that_its_user_can_mend_has_a_hint(refusal: Refusal, remedy: str) -> None:
    """The hint says what to do."""
    hints = {hint_for(message) for message, kind in MESSAGES if kind is refusal}

    assert len(hints) == 1
    assert remedy in hints.pop()
    assert bool(remedy) == bool(hint_for(next(message for message, kind in MESSAGES if kind is refusal)))
