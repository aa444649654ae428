"""Transport: bytes to and from a Docker Engine. Sockets, HTTP, upgraded connections; nothing of containers."""

from kindasync.transport._endpoint import DEFAULT_SOCKET, Endpoint, TlsFiles, from_environment, parse

__all__ = ["DEFAULT_SOCKET", "Endpoint", "TlsFiles", "from_environment", "parse"]
