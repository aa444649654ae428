"""Client: kubernetes_asyncio's, for who uses a cluster. The one place that knows it: kindasync's own requests need no import of its size."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from kubernetes_asyncio.client import ApiClient, Configuration

from kindasync._shielded import answered
from kindasync.cluster._api import api_client, certificate_file


@asynccontextmanager
async def kubernetes_client(kubeconfig: Mapping[str, Any]) -> AsyncIterator[ApiClient]:
    """A client with a configuration of its own, never the library's global default, on a session of ours."""
    async with api_client(kubeconfig) as session:
        configuration = Configuration(host=session.server)
        with certificate_file(kubeconfig["users"][0]["user"]) as path:
            configuration.ssl_ca_cert = str(path)  # for a session that is not used: else it loads all of the system's authorities
            client = ApiClient(configuration)
        unused, client.rest_client.pool_manager = client.rest_client.pool_manager, session.http
        await answered(unused.close())
        async with client:
            yield client
