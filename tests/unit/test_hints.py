"""Refusals: what Engines say, and what kindasync takes it for. The messages are those of real Engines, their versions beside them."""

from __future__ import annotations

import pytest

from kindasync.docker._hints import Refusal, hint_for, refusal_of

PROGRAMMING = "driver failed programming external connectivity on endpoint demo-control-plane (0c9c1b6d5bd9): "
SETUP = f"failed to set up container networking: {PROGRAMMING}"
NAT_RULE = "iptables failed: ip6tables --wait -t nat -I POSTROUTING -s fc00:f853:ccd:e793::/64 ! -o br-6ded57439d75 -j MASQUERADE"
MESSAGES = {
    Refusal.PORT_TAKEN: [
        PROGRAMMING + "Bind for 127.0.0.1:6443 failed: port is already allocated",  # by a container; 20.10 to 29
        PROGRAMMING + "Error starting userland proxy: listen tcp4 127.0.0.1:6443: bind: address already in use",  # 20.10 to 26
        PROGRAMMING + "failed to bind port 127.0.0.1:6443/tcp: listen tcp4 127.0.0.1:6443: bind: address already in use",
        SETUP + "failed to bind host port for 127.0.0.1:6443:172.18.0.2:6443/tcp: address already in use",  # 28
        SETUP + "failed to bind host port 127.0.0.1:6443/tcp: address already in use",  # 29
        "Ports are not available: exposing port TCP 127.0.0.1:6443 -> 127.0.0.1:0: listen tcp 127.0.0.1:6443: bind: Only one usage of each",  # Desktop
        "rootlessport listen tcp 127.0.0.1:6443: bind: address already in use",  # Podman, rootless
        "cannot listen on the TCP port: listen tcp4 127.0.0.1:6443: bind: address already in use",  # Podman
    ],
    # The address that a node asked for is taken: nearly the same words, and something else to try.
    Refusal.ADDRESS_TAKEN: [
        "Address already in use",  # 20.10 to 27
        "failed to set up container networking: Address already in use",  # 28, 29
        "no available IPv4 addresses on this network's address pools: kind (5b7dcbc90d90)",
        "IPAM error: requested ip address 10.89.0.110 is already allocated to container ID aba087df711b",  # Podman 4, 5
        "failed to allocate for range 0: requested IP address 10.89.0.7 is not available in range set 10.89.0.1-10.89.255.254",  # Podman, CNI
    ],
    Refusal.SUBNETS_OVERLAP: [
        "Pool overlaps with other one on this address space",  # 20.10 to 26
        "invalid pool request: Pool overlaps with other one on this address space",  # 27 to 29
        "cannot create network 8c0c4a59 (br-8c0c4a59): conflicts with network 5b7dcbc9 (br-5b7dcbc9): networks have overlapping IPv4",
        "cannot create network 8c0c4a59 (br-8c0c4a59): conflicts with network 5b7dcbc9 (br-5b7dcbc9): networks have overlapping IPv6",
        "subnet 10.89.0.0/16 is already used on the host or by another config",  # Podman
    ],
    Refusal.NO_SUBNET_LEFT: [
        "could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network",  # 20.10 to 26
        "all predefined address pools have been fully subnetted",  # 27 to 29
        "could not find free subnet from subnet pools",  # Podman
    ],
    # kind's table, and what came to it later (kind#3748, kind#4019).
    Refusal.NO_IPV6: [
        "Cannot read IPv6 setup for bridge br-5b7dcbc9: open /proc/sys/net/ipv6/conf/br-5b7dcbc9/disable_ipv6: no such file or directory",
        f"Failed to Setup IP tables: Unable to enable NAT rule:  ({NAT_RULE}: can't initialize ip6tables table `nat': Table does not exist",
        "setting default policy to DROP in FORWARD chain failed:  (iptables failed: ip6tables --wait -t filter -P FORWARD DROP: (exit status 3))",
    ],
    Refusal.MOUNT_SOURCE_MISSING: [
        'invalid mount config for type "bind": bind source path does not exist: /home/me/x',  # 20.10 to 29
        "Mounts denied: \nThe path /home/me/x is not shared from the host and is not known to Docker.",  # Desktop
        "statfs /home/me/x: no such file or directory",  # Podman
    ],
    Refusal.NO_EXIT_EVENT: [
        "Could not kill running container ef21e590, cannot remove - tried to kill container, but did not receive an exit event",  # 20.10
        'cannot remove container "demo-control-plane": could not kill container: tried to kill container, but did not receive an exit event',  # to 29
    ],
    Refusal.BEING_REMOVED: [
        "removal of container demo-control-plane is already in progress",
        "container is marked for removal and cannot be started",
    ],
    Refusal.NOT_FROZEN: [
        "cannot pause container d8589d56252a: OCI runtime pause failed: unable to freeze: unknown",  # 26, cgroup v1
    ],
    Refusal.NETWORK_EXISTS: [
        "network with name kind already exists",
        "network name kind already used: network already exists",  # Podman
    ],
    Refusal.NETWORK_IN_USE: [
        "error while removing network: network kind id 5b7dcbc9 has active endpoints",  # 20.10 to 27
        'error while removing network: network kind has active endpoints (name:"demo-worker" id:"ef21e590")',  # 28, 29
        '"kind" has associated containers with it. Use -f to forcibly delete containers and pods: network is being used',  # Podman
    ],
    Refusal.DISK_FULL: [
        "write /var/lib/docker/tmp/GetImageBlob123: no space left on device",
        "failed to register layer: mkdir /var/lib: disk quota exceeded",
    ],
    Refusal.OUT_OF_INOTIFY: [
        "failed to create task for container: too many open files: unknown",
        "inotify_add_watch /sys/fs/cgroup/memory.events: no space left on device",  # the kernel's words for it, with the disk empty
    ],
    Refusal.LIMIT_REFUSED: [
        "runc: runc create failed: unable to start container process: error setting rlimits for ready process: error setting rlimit type 7: operation not permitted: OCI permission denied",  # Podman 4.3, runc 1.1
        "crun: setrlimit `RLIMIT_NPROC`: Operation not permitted: OCI permission denied",  # Podman 4.3, crun 1.8
    ],
    Refusal.NO_PRIVILEGE: [
        "runc create failed: unable to start container process: unable to apply caps: operation not permitted: unknown",
    ],
    Refusal.NO_PROTOCOL: [
        "driver failed programming external connectivity on endpoint demo (b6df212e): Error starting userland proxy: protocol not supported",
    ],
    Refusal.NOT_SHARED: ["path /srv/data is mounted on / but it is not a shared or slave mount"],
    Refusal.NO_SUCH_ADDRESS: [
        "driver failed programming external connectivity on endpoint demo (b6df212e): Error starting userland proxy: listen tcp4 203.0.113.9:6443: bind: cannot assign requested address",
    ],
    Refusal.MOUNTED_TWICE: ["Duplicate mount point: /a"],
    Refusal.NO_COMMAND: [
        "No command specified",  # 20.10 to 27
        "no command specified",  # 28, 29
        "no command or entrypoint provided, and no CMD or ENTRYPOINT from image",  # Podman
    ],
    Refusal.UNAUTHORIZED: [
        "pull access denied for app, repository does not exist or may require 'docker login': denied: requested access to the resource is denied",
        'Head "https://ghcr.io/v2/me/app/manifests/1": denied',
        "error from registry: denied\ndenied",
        'Get "https://registry.example.com/v2/": unauthorized: authentication required',
    ],
}
OTHERS = [
    "",
    "No such image: app:1",
    'Conflict. The container name "/demo-control-plane" is already in use by container "ef21e590". You have to remove (or rename) it.',
    "Container ef21e590 is not running",
    'exec: "/entrypoint": permission denied: unknown',  # nothing that a docker login would help with
    "error while calling PortManager.AddPort(): cannot expose privileged port 80",
]


@pytest.mark.parametrize(("refusal", "message"), [(refusal, message) for refusal, messages in MESSAGES.items() for message in messages])
def test_a_message_tells_of_a_refusal(refusal: Refusal, message: str) -> None:
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
    assert MESSAGES.keys() == set(Refusal)


@pytest.mark.parametrize(
    ("refusal", "remedy"),
    [
        (Refusal.PORT_TAKEN, "free the port"),
        (Refusal.NO_SUBNET_LEFT, "docker network prune"),
        (Refusal.DISK_FULL, "free disk space"),
        (Refusal.OUT_OF_INOTIFY, "fs.inotify.max_user_instances"),
        (Refusal.NO_PRIVILEGE, "kindasync doctor"),
        (Refusal.NO_PROTOCOL, "modprobe sctp"),
        (Refusal.UNAUTHORIZED, "docker login"),
    ],
)
def test_a_refusal_that_its_user_can_mend_has_a_hint(refusal: Refusal, remedy: str) -> None:
    """The hint says what to do, whatever the words of the Engine were."""
    assert all(remedy in hint_for(message) for message in MESSAGES[refusal])


@pytest.mark.parametrize(
    "refusal", [Refusal.ADDRESS_TAKEN, Refusal.SUBNETS_OVERLAP, Refusal.NO_IPV6, Refusal.NO_EXIT_EVENT, Refusal.NOT_FROZEN]
)
def test_what_kindasync_deals_with_itself_has_no_hint(refusal: Refusal) -> None:
    """Nobody is told to do what has been done."""
    assert not any(hint_for(message) for message in MESSAGES[refusal])
