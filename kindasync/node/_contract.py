"""The image contract: what kindasync relies on in a node image, and how it is told from other images.

See docs/node-image.md. Nothing else of an image is trusted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from kindasync.errors import ImageUnusable

LABEL = "kindasync.contract"
SUPPORTED = range(1, 2)

PAUSED = "kindasync: paused"
BOOTING = "kindasync: booting"
RUNTIME_READY = "kindasync: runtime ready"
IMPORT_FAILED = "kindasync: cannot import"
KUBELET_FAILED = "kindasync: the kubelet has failed"
BOOT_SIGNAL = "SIGUSR1"
BOOT_ENV = {"KINDASYNC_BOOT": "paused"}
DNS_SEARCH_VARIABLE = "KIND_DNS_SEARCH"  # kind's: its images' entrypoint reads it, and so does ours
PRELOAD_DIRECTORY = "/kind/images"
VERSION_FILE = "/kind/version"
# kind's own images, and ours when kind starts them, say one of these when a node can be used.
_KIND_BOOTED = re.compile(r"Reached target .*Multi-User System|detected cgroup v1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """How nodes of an image boot. `pauses`: they wait for BOOT_SIGNAL, and say their lines; else they boot at once, as kind's do."""

    pauses: bool


def contract_of(image: str, labels: Mapping[str, str]) -> Contract:
    """The contract that an image declares by its labels; without one, kind's (which is verified in the created container).

    Raises: ImageUnusable for a declared version that this kindasync does not know.
    """
    declared = labels.get(LABEL)
    if declared is None:
        return Contract(pauses=False)
    if not declared.isdigit() or int(declared) not in SUPPORTED:
        raise ImageUnusable(
            f'cannot use the node image "{image}"',
            why=f"it declares version {declared} of the node image contract; this kindasync knows {SUPPORTED[0]} to {SUPPORTED[-1]}",
            hint="update kindasync, or use an image made for this one (kindasync build node-image)",
        )
    return Contract(pauses=True)


def kind_booted(line: str) -> bool:
    """Whether a line of the console says that a node of a kind image can be used."""
    return bool(_KIND_BOOTED.search(line))
