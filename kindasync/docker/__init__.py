"""Docker: the Engine's operations, typed, one module per resource; nothing of Kubernetes."""

from kindasync.docker._engine import Connection, Engine

__all__ = ["Connection", "Engine"]
