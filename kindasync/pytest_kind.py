"""For suites that were written for pytest-kind: its fixture `kind_cluster`, with what they know of it, and its options.

In place of that plugin, the conftest.py at the top has `pytest_plugins = ["kindasync.pytest_kind"]`.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kindasync.pytest_plugin import run

if TYPE_CHECKING:
    from kindasync.cluster import Cluster


def pytest_addoption(parser: pytest.Parser) -> None:
    """pytest-kind's."""
    group = parser.getgroup("kindasync")
    group.addoption("--cluster-name", dest="kind_name", metavar="NAME", help="as --kind-name")
    group.addoption("--keep-cluster", dest="kind_reuse", action="store_true", help="as --kind-reuse")


class KindCluster:
    """A cluster as pytest-kind has it. Nothing of it is a coroutine."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.name = cluster.name
        self.kubeconfig = cluster.kubeconfig
        self.kubeconfig_path: Path = cluster.kubeconfig_path

    @cached_property
    def api(self) -> Any:
        """A pykube.HTTPClient; pykube-ng has to be installed."""
        import pykube

        return pykube.HTTPClient(pykube.KubeConfig(self.cluster.kubeconfig))

    def kubectl(self, *args: str, **kwargs: Any) -> str:
        """Run kubectl, in a node; what it printed. Files of this machine can be named: `-f deployment.yaml`. `kwargs`: those of subprocess.check_output.

        Raises: CalledProcessError; what kubectl has to say is on stderr then.
        """
        command = [sys.executable, "-m", "kindasync", "kubectl", "--name", self.name, *args]
        return str(subprocess.check_output(command, **{"encoding": "utf-8", **kwargs}))  # noqa: S603 (a list of arguments)

    def load_docker_image(self, docker_image: str) -> None:
        """Load an image of the Engine into all nodes. Raises: as Cluster.load_image."""
        run(lambda: self.cluster.load_image(docker_image))

    @contextmanager
    def port_forward(
        self, service_or_pod_name: str, remote_port: int, *args: str, local_port: int | None = None, retries: int = 10
    ) -> Iterator[int]:
        """A port of this machine's loopback that leads to a Service or pod; `args`: "-n" and a namespace.

        Shape: `local_port` None: any that is free. `retries` means nothing: the port is there when the context has been entered.
        Raises: as Cluster.port_forward.
        """
        from kindasync._facade import Entered

        reference = service_or_pod_name if "/" in service_or_pod_name else f"pod/{service_or_pod_name}"
        forward = self.cluster.port_forward(reference, remote_port, namespace=_namespace(args), local_port=local_port or 0)
        with Entered(forward) as address:
            yield address.port


def _namespace(arguments: Sequence[str]) -> str:
    """What `-n NAME`, `--namespace NAME` or `--namespace=NAME` says."""
    match arguments:
        case ["-n" | "--namespace", name]:
            return name
        case [option] if option.startswith("--namespace="):
            return option.removeprefix("--namespace=")
        case []:
            return "default"
    raise TypeError(f"port_forward takes a namespace only, not {' '.join(arguments)}")


@pytest.fixture(scope="session")
def kind_cluster(kind_cluster: Cluster) -> KindCluster:
    """kindasync's `kind_cluster`, as pytest-kind has it."""
    return KindCluster(kind_cluster)
