"""One cluster, used by a plain test, one of anyio's plugin and one of pytest-asyncio. Run: pytest docs/example"""

import pytest
from kubernetes_asyncio.client import CoreV1Api, V1ConfigMap, V1ObjectMeta

from kindasync import Cluster


def test_by_a_plain_function(kind_cluster: Cluster, kind_namespace: str) -> None:
    assert kind_cluster.kubeconfig_path.is_file()  # for programs: KUBECONFIG=… kubectl get pods
    assert kind_namespace.startswith("test-by-a-plain-function")


@pytest.mark.anyio
async def test_by_anyio(kind_cluster: Cluster, kind_namespace: str) -> None:
    async with kind_cluster.client() as api:
        assert (await CoreV1Api(api).list_namespaced_pod(kind_namespace)).items == []


@pytest.mark.asyncio
async def test_by_pytest_asyncio(kind_cluster: Cluster, kind_namespace: str) -> None:
    async with kind_cluster.client() as api:
        created = await CoreV1Api(api).create_namespaced_config_map(kind_namespace, V1ConfigMap(metadata=V1ObjectMeta(name="kept")))
    assert created.metadata.namespace == kind_namespace
