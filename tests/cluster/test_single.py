"""One shared single-node cluster: what its users do in it."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest
from kubernetes_asyncio.client import AppsV1Api, CoreV1Api, StorageV1Api

from kindasync import Cluster
from kindasync.config import Role
from tests.cluster.conftest import beside, fetch, pod, pod_ends, pod_is

pytestmark = pytest.mark.anyio


async def test_the_node_is_ready_when_create_returns(cluster: Cluster) -> None:
    """Ready means Ready: the node's condition, the default ServiceAccount, and no taint that keeps pods away."""
    async with cluster.client() as api:
        core = CoreV1Api(api)
        (node,) = (await core.list_node()).items
        await core.read_namespaced_service_account("default", "default")

    assert {condition.type: condition.status for condition in node.status.conditions}["Ready"] == "True"
    assert [taint.key for taint in node.spec.taints or []] == []
    assert node.metadata.name == cluster.nodes[0].name
    assert cluster.nodes[0].role is Role.CONTROL_PLANE


async def test_the_node_is_as_kind_would_have_made_it(cluster: Cluster) -> None:
    """Provider id, role label, and no exclusion from load balancers."""
    async with cluster.client() as api:
        (node,) = (await CoreV1Api(api).list_node()).items

    assert node.spec.provider_id == f"kind://docker/{cluster.name}/{cluster.name}-control-plane"
    assert "node-role.kubernetes.io/control-plane" in node.metadata.labels
    assert "node.kubernetes.io/exclude-from-external-load-balancers" not in node.metadata.labels
    assert node.spec.pod_cidr == "10.244.0.0/24"


async def test_the_bootstrap_token_is_gone(cluster: Cluster) -> None:
    """What joins nodes lasts no longer than the creation."""
    async with cluster.client() as api:
        secrets = (await CoreV1Api(api).list_namespaced_secret("kube-system")).items

    assert [secret.metadata.name for secret in secrets if secret.type == "bootstrap.kubernetes.io/token"] == []


async def test_all_system_pods_become_ready(cluster: Cluster) -> None:
    """Nothing of the control plane, the pod network, DNS or storage is left behind or restarts."""
    async with cluster.client() as api:
        apps = AppsV1Api(api)
        core = CoreV1Api(api)
        for deployment in (await apps.list_deployment_for_all_namespaces()).items:
            for each in (await core.list_namespaced_pod(deployment.metadata.namespace)).items:
                await pod_is(
                    core,
                    each.metadata.namespace,
                    each.metadata.name,
                    lambda status: all(item.ready for item in status.container_statuses or [None]),
                )
        names = {deployment.metadata.name for deployment in (await apps.list_deployment_for_all_namespaces()).items}

    assert names == {"coredns", "local-path-provisioner"}


async def test_pods_resolve_services_and_nodes(cluster: Cluster, namespace: str) -> None:
    """Cluster DNS answers for Services, and, through Docker's resolver, for other names: here the node's own."""
    script = f"nslookup kubernetes.default.svc.cluster.local && nslookup {cluster.nodes[0].name}."
    async with cluster.client() as api:
        core = CoreV1Api(api)
        await core.create_namespaced_pod(
            namespace, pod("dns", ["sh", "-c", f"for i in 1 2 3 4 5; do ({script}) && exit 0; sleep 1; done; exit 1"])
        )
        phase, output = await pod_ends(core, namespace, "dns")

    assert phase == "Succeeded", output
    assert "10.96.0.1" in output


async def test_a_published_port_reaches_a_pod(cluster: Cluster, namespace: str) -> None:
    """extraPortMappings and a NodePort Service: a page of a pod comes to this machine."""
    script = "mkdir /www && echo hello >/www/index.html && exec httpd -f -p 8080 -h /www"
    service: Any = {
        "metadata": {"name": "web"},
        "spec": {"type": "NodePort", "selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080, "nodePort": 30080}]},
    }
    async with cluster.client() as api:
        core = CoreV1Api(api)
        await core.create_namespaced_pod(namespace, pod("web", ["sh", "-c", script]))
        await core.create_namespaced_service(namespace, service)
        await pod_is(core, namespace, "web", lambda status: status.phase == "Running")
    url = f"http://{await cluster.nodes[0].published(30080)}/"

    assert await anyio.to_thread.run_sync(fetch, url) == b"hello\n"


async def test_a_claim_of_the_default_class_keeps_its_data(cluster: Cluster, namespace: str) -> None:
    """Storage: the class `standard` is the default; what a pod writes to a claim of it, another reads when the first is gone."""
    claim: Any = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}}
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    container = {"volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    async with cluster.client() as api:
        core = CoreV1Api(api)
        classes = (await StorageV1Api(api).list_storage_class()).items
        await core.create_namespaced_persistent_volume_claim(namespace, claim)
        writer = pod("writer", ["sh", "-c", "echo kept >/data/file"], volumes=volumes, container=container)
        await core.create_namespaced_pod(namespace, writer)
        written = await pod_ends(core, namespace, "writer")
        await core.delete_namespaced_pod("writer", namespace)
        await cluster.wait_for("pod/writer", "delete", namespace=namespace)
        await core.create_namespaced_pod(namespace, pod("reader", ["cat", "/data/file"], volumes=volumes, container=container))
        read = await pod_ends(core, namespace, "reader")

    assert [
        each.metadata.name for each in classes if each.metadata.annotations["storageclass.kubernetes.io/is-default-class"] == "true"
    ] == ["standard"]
    assert written == ("Succeeded", "")
    assert read == ("Succeeded", "kept\n")


async def test_node_exec_put_get(cluster: Cluster) -> None:
    """Programs and files of a node."""
    (node,) = cluster.nodes
    await node.put({"/kind/test/file": "content"})

    assert await node.get("/kind/test/file") == b"content"
    assert (await node.exec(["cat", "/kind/test/file"])).text == "content"
    assert (await node.exec(["false"], check=False)).exit_code == 1


async def test_kubeconfig_is_private(cluster: Cluster) -> None:
    """A key is for its user alone, and so is the directory it lies in."""
    path: Path = cluster.kubeconfig_path

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_get_and_list_find_it(cluster: Cluster) -> None:
    """From the Engine alone."""
    found = await Cluster.get(cluster.name)

    assert cluster.name in await Cluster.list()
    assert found.kubeconfig == cluster.kubeconfig
    assert found.kubeconfig_path == cluster.kubeconfig_path
    assert found.nodes == cluster.nodes


async def test_pods_know_the_names_of_containers_beside_their_cluster(cluster: Cluster, namespace: str) -> None:
    """Docker's resolver knows them; CoreDNS asks it, and finds no loop."""
    async with beside(cluster) as other, cluster.client() as api:
        core = CoreV1Api(api)
        await core.create_namespaced_pod(namespace, pod("looks", ["sh", "-c", f"until nslookup {other.name}.; do sleep 1; done"]))
        phase, output = await pod_ends(core, namespace, "looks")

    assert phase == "Succeeded", output
    assert other.attachments[0].ipv4_address in output
