"""Testing: FakeEngine, a Docker Engine on a UNIX socket for anyone's tests. It needs no Docker."""

from kindasync.testing._fake import FakeEngine
from kindasync.testing._images import FakeImage
from kindasync.testing._nodes import Behaviour, node_image
from kindasync.testing._profiles import PROFILES, Profile
from kindasync.testing._programs import ProgramResult
from kindasync.testing._protocol import Received
from kindasync.testing._state import FakeContainer, FakeNetwork

__all__ = [
    "PROFILES",
    "Behaviour",
    "FakeContainer",
    "FakeEngine",
    "FakeImage",
    "FakeNetwork",
    "Profile",
    "ProgramResult",
    "Received",
    "node_image",
]
