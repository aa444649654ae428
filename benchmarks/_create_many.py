"""Many clusters from one process: the program that stands beside as many kind programs.

python -m benchmarks._create_many IMAGE NAME ...
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

import anyio

from kindasync import Cluster, KindasyncError
from kindasync.events import Event


async def main(arguments: Sequence[str]) -> None:
    """Prints the events; the first failure is raised."""
    image, *names = arguments
    results = await Cluster.create_many([{**_CONFIG, "name": name} for name in names], image=image, on_event=_print)
    for result in results:
        if isinstance(result, KindasyncError):
            raise result


def _print(event: Event) -> None:
    print(json.dumps(event.to_json()), flush=True)


_CONFIG = {"kind": "Cluster", "apiVersion": "kind.x-k8s.io/v1alpha4"}


if __name__ == "__main__":
    anyio.run(main, sys.argv[1:])
