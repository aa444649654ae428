"""Namespaces of tests."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import anyio

from kindasync.cluster._api import ClusterApi, api_client, deadline
from kindasync.errors import ApiRefused, NotReady

SERVICE_ACCOUNT_S = 30.0


async def make_namespace(kubeconfig: Mapping[str, Any], name: str) -> None:
    """Make a namespace, and wait until it has its default ServiceAccount: before that, pods in it are refused.

    Raises: NotReady; ApiRefused; ApiUnreachable.
    """
    async with api_client(kubeconfig) as client:
        api = ClusterApi(client)
        with deadline(api, f'the API server to make namespace "{name}"'):
            await api.request("POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        with anyio.move_on_after(SERVICE_ACCOUNT_S):
            await api.wait_there(f"/api/v1/namespaces/{name}/serviceaccounts", "default")
            return
    raise NotReady(f'the default ServiceAccount of namespace "{name}"', "not there", after_s=SERVICE_ACCOUNT_S)


async def remove_namespace(kubeconfig: Mapping[str, Any], name: str) -> None:
    """Begin to delete a namespace with all that is in it. Raises: ApiUnreachable; NotReady."""
    async with api_client(kubeconfig) as client:
        api = ClusterApi(client)
        with deadline(api, f'the API server to begin deleting namespace "{name}"'), suppress(ApiRefused):  # deleted by the test
            await api.request("DELETE", f"/api/v1/namespaces/{name}")
