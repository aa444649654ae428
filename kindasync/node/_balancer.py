"""The balancer: one address for the API servers of several control planes; haproxy from the node image, in a container of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kindasync.docker.containers import ContainerSpec, PortBinding
from kindasync.node._kubeadm import API_PORT
from kindasync.node._spec import IPV6_SYSCTLS

CONFIG_PATH = "/kind/haproxy.cfg"
RELOAD_SIGNAL = "SIGUSR2"  # haproxy's master reads its configuration again; connections stay with the worker that has them
# TLS goes through untouched. A backend that does not answer twice is out within 3 s, with its connections: clients make new ones.
# Backends are names, which Docker's resolver knows: a node that comes back with another address is found again.
_CONFIG = """\
global
  log stdout format raw daemon notice
  maxconn 4096
resolvers docker
  nameserver dns 127.0.0.11:53
  hold valid 2s
defaults
  mode tcp
  log global
  option dontlognull
  option clitcpka
  timeout connect 3s
  timeout check 1s
  timeout client 1h
  timeout server 1h
  default-server check check-ssl verify none inter 1s downinter 200ms fall 2 rise 1 on-marked-down shutdown-sessions init-addr libc,none resolvers docker
frontend api
  bind {address}
  default_backend control-planes
backend control-planes
  option httpchk GET /readyz
"""


def config(control_planes: Sequence[str], *, ipv6: bool) -> str:
    """haproxy's configuration for control planes, by their names. `ipv6`: whether it has such an address; the kernel may know none."""
    address = f":::{API_PORT} v4v6" if ipv6 else f"*:{API_PORT}"
    servers = (f"  server {name} {name}:{API_PORT}\n" for name in control_planes)
    return _CONFIG.format(address=address) + "".join(servers)


def balancer_spec(
    *,
    name: str,
    image: str,
    labels: Mapping[str, str],
    network: str,
    ipv4_address: str,
    ipv6_address: str,
    ipv6: bool,
    port: PortBinding,
) -> ContainerSpec:
    """The balancer's container: nothing of systemd, no privileges; it is there again after a restart of the Engine."""
    return ContainerSpec(
        image=image,
        hostname=name,
        labels=labels,
        entrypoint=("haproxy", "-W", "-db", "-f", CONFIG_PATH),
        cmd=(),
        # The image's is for systemd, and at SIGTERM haproxy ends with code 0: then a restart of the Engine would not bring it back.
        stop_signal="SIGKILL",
        restart_policy="on-failure",
        restart_retries=1,
        sysctls=IPV6_SYSCTLS if ipv6 else {},
        ports=(port,),
        network=network,
        ipv4_address=ipv4_address,
        ipv6_address=ipv6_address,
    )
