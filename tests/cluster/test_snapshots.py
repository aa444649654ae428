"""A cluster goes back to what it was: whatever tests have made, changed or deleted, and whatever they have put in the way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from kindasync import Cluster
from kindasync.cluster._api import ClusterApi, api_client
from kindasync.errors import ApiRefused, ClusterError
from tests.cluster.conftest import BUSYBOX

NODES = {"kind": "Cluster", "apiVersion": "kind.x-k8s.io/v1alpha4", "nodes": [{"role": "control-plane"}, {"role": "worker"}]}
UIDs = dict[tuple[str, str, str], str]
COREDNS = "/apis/apps/v1/namespaces/kube-system/deployments/coredns"
PASSING = ("Event", "Lease")  # kinds whose objects come and go by themselves

CRD = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  names: {kind: Widget, plural: widgets}
  scope: Namespaced
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]
"""
APPLICATION = f"""
apiVersion: v1
kind: Namespace
metadata: {{name: mess}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: data, namespace: mess}}
spec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 1Mi}}}}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, namespace: mess}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 300
      containers:
      - {{name: web, image: "{BUSYBOX}", imagePullPolicy: Never, command: [sh, -c, "touch /data/mine; trap '' TERM; sleep 1000 & wait; sleep 1000"],
         volumeMounts: [{{name: data, mountPath: /data}}]}}
      volumes: [{{name: data, persistentVolumeClaim: {{claimName: data}}}}]
---
apiVersion: v1
kind: Service
metadata: {{name: web, namespace: mess}}
spec: {{type: NodePort, selector: {{app: web}}, ports: [{{port: 80}}]}}
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: stuck, namespace: mess, finalizers: [example.com/never]}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{name: mess}}
"""
JOB = f"""
apiVersion: batch/v1
kind: Job
metadata: {{name: once, namespace: default}}
spec:
  template: {{spec: {{restartPolicy: Never, containers: [{{name: once, image: "{BUSYBOX}", imagePullPolicy: Never, command: ["true"]}}]}}}}
"""
OBSTACLES = """
apiVersion: example.com/v1
kind: Widget
metadata: {name: stuck, namespace: mess, finalizers: [example.com/never]}
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1.gone.example.com}
spec:
  {group: gone.example.com, version: v1, groupPriorityMinimum: 100, versionPriority: 100, insecureSkipTLSVerify: true, service: {name: nowhere, namespace: default}}
---
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: mess}
value: 1000
globalDefault: true
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: broken}
webhooks:
- name: broken.example.com
  admissionReviewVersions: [v1]
  sideEffects: None
  clientConfig: {service: {name: nowhere, namespace: default}}
  rules: [{apiGroups: ["*"], apiVersions: ["*"], operations: ["*"], resources: ["*"]}]
"""


@pytest.fixture(scope="module")
async def cluster(own_network: Any) -> AsyncIterator[Cluster]:
    """One for all these tests: that is what a reset is for."""
    async with Cluster.running(NODES) as cluster:
        yield cluster


@asynccontextmanager
async def api_of(cluster: Cluster) -> AsyncIterator[ClusterApi]:
    async with api_client(cluster.kubeconfig) as session:
        yield ClusterApi(session)


async def uids(cluster: Cluster) -> UIDs:
    """Of all objects there are, but for those that pass."""
    found: UIDs = {}
    async with api_of(cluster) as api:
        groups = (await api.request("GET", "/apis"))["groups"]
        for version in ["v1", *(group["preferredVersion"]["groupVersion"] for group in groups)]:
            for resource in await api.resources(version):
                try:
                    listed = await api.request("GET", resource.path(None))
                except ApiRefused:  # reviews and the like, which cannot be listed
                    continue
                for item in listed["items"] if resource.kind not in PASSING else ():
                    metadata = item["metadata"]
                    found[resource.kind, metadata.get("namespace", ""), metadata["name"]] = metadata.get("uid", "")
    return found


async def settled(cluster: Cluster) -> UIDs:
    """The objects of a cluster as it was created, when its own pods are all there."""
    await cluster.wait_for("deployment/coredns", "condition=Available", namespace="kube-system", timeout_s=60)
    await cluster.wait_for("deployment/local-path-provisioner", "condition=Available", namespace="local-path-storage", timeout_s=60)
    await cluster.reset()
    return await uids(cluster)


async def make_a_mess(cluster: Cluster) -> None:
    await cluster.apply(CRD)
    await cluster.wait_for("crd/widgets.example.com", "condition=Established", timeout_s=30)
    await cluster.apply(APPLICATION)
    await cluster.wait_for("deployment/web", "condition=Available", namespace="mess", timeout_s=60)
    async with api_of(cluster) as api:
        worker = next(node.name for node in cluster.nodes if node.role == "worker")
        patch: dict[str, Any] = {"metadata": {"labels": {"mess": "yes"}}, "spec": {"unschedulable": True}}
        await api.request("PATCH", f"/api/v1/nodes/{worker}", patch, content_type="application/merge-patch+json")
        status = {"capacity": {"example.com/gpu": "1"}, "conditions": [{"type": "KernelDeadlock", "status": "True"}]}
        await api.request(
            "PATCH", f"/api/v1/nodes/{worker}/status", {"status": status}, content_type="application/strategic-merge-patch+json"
        )
        rollout = {"spec": {"replicas": 4, "template": {"metadata": {"annotations": {"mess": "yes"}}}}}
        await api.request("PATCH", COREDNS, rollout, content_type="application/merge-patch+json")
    await cluster.apply(OBSTACLES)


async def leftovers(cluster: Cluster) -> set[str]:
    """What the nodes have of the mess."""
    found: set[str] = set()
    for node in cluster.nodes:
        of_pods = await node.exec(["ctr", "-n", "k8s.io", "containers", "ls", "-q", 'labels."io.kubernetes.pod.namespace"==mess'])
        running = await node.exec(["ctr", "-n", "k8s.io", "tasks", "ls", "-q"])
        volumes = await node.exec(["find", "/var", "-path", "/var/local-path-provisioner/*"])
        found |= {*of_pods.text.split()} & {*running.text.split()} | {*volumes.text.split()}
    return found


async def test_a_reset_takes_back_what_tests_have_made_and_changed_whatever_is_in_the_way(cluster: Cluster) -> None:
    before = await settled(cluster)
    for _ in range(2):  # it can be done again
        await make_a_mess(cluster)
        await cluster.reset()
        assert await uids(cluster) == before
        assert not await leftovers(cluster)
    async with api_of(cluster) as api:  # as usable as a new one
        nodes = await api.request("GET", "/api/v1/nodes")
    assert not any(node["spec"].get("unschedulable") or "mess" in node["metadata"]["labels"] for node in nodes["items"])
    assert not any(trace in str(node["status"]) for node in nodes["items"] for trace in ("example.com/gpu", "KernelDeadlock"))
    await cluster.apply(CRD)
    await cluster.wait_for("crd/widgets.example.com", "condition=Established", timeout_s=30)
    await cluster.apply(APPLICATION)
    await cluster.wait_for("deployment/web", "condition=Available", namespace="mess", timeout_s=60)


async def test_what_tests_have_deleted_of_the_cluster_itself_comes_back_as_the_same_objects(cluster: Cluster) -> None:
    before = await settled(cluster)
    async with api_of(cluster) as api:
        for path in (
            COREDNS,
            "/apis/apps/v1/namespaces/kube-system/daemonsets/kube-proxy",
            "/api/v1/namespaces/kube-system/services/kube-dns",
            "/apis/storage.k8s.io/v1/storageclasses/standard",
            "/api/v1/namespaces/default/serviceaccounts/default",
            "/apis/rbac.authorization.k8s.io/v1/clusterroles/admin",
            f"/api/v1/nodes/{cluster.name}-worker",
            f"/api/v1/namespaces/kube-system/pods/kube-scheduler-{cluster.name}-control-plane",
        ):
            await api.request("DELETE", path)
    await cluster.wait_for("pods", "delete", namespace="kube-system", selector="k8s-app=kube-dns", timeout_s=60)
    await cluster.reset()
    assert await uids(cluster) == before
    await cluster.wait_for("deployment/coredns", "condition=Available", namespace="kube-system", timeout_s=60)
    assert await uids(cluster) == before


async def test_pods_run_again_that_were_evicted_but_not_those_that_had_ended(cluster: Cluster) -> None:
    await settled(cluster)
    await cluster.apply(JOB)
    await cluster.wait_for("job/once", "condition=Complete", timeout_s=60)
    await cluster.snapshot("done")
    before = await uids(cluster)
    async with api_of(cluster) as api:
        await api.request("DELETE", "/apis/batch/v1/namespaces/default/jobs/once?propagationPolicy=Background")
        pods = "/api/v1/namespaces/kube-system/pods"
        (one, _) = (await api.request("GET", f"{pods}?labelSelector=k8s-app%3Dkube-dns"))["items"]
        status = {"status": {"phase": "Failed", "reason": "Evicted"}}
        await api.request("PATCH", f"{pods}/{one['metadata']['name']}/status", status, content_type="application/merge-patch+json")
    await cluster.wait_for("pods", "delete", selector="job-name=once", timeout_s=60)
    await cluster.restore("done")
    assert await uids(cluster) == before
    async with api_of(cluster) as api:
        (ended,) = (await api.request("GET", "/api/v1/namespaces/default/pods?labelSelector=job-name%3Donce"))["items"]
    assert ended["status"]["phase"] == "Succeeded"
    await cluster.wait_for("deployment/coredns", "condition=Available", namespace="kube-system", timeout_s=60)
    await cluster.delete_snapshot("done")


async def test_a_snapshot_is_what_a_cluster_is_restored_to_and_one_of_other_nodes_is_refused(cluster: Cluster) -> None:
    await settled(cluster)
    await cluster.apply(CRD)
    await cluster.wait_for("crd/widgets.example.com", "condition=Established", timeout_s=30)
    await cluster.apply({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "mine", "namespace": "default"}})
    before = await uids(cluster)
    snapshot = await cluster.snapshot("installed")
    assert {each.name for each in await cluster.snapshots()} == {"created", "installed"}
    assert snapshot.objects > len(before)
    async with api_of(cluster) as api:
        await api.request("DELETE", "/apis/example.com/v1/namespaces/default/widgets/mine")
        await api.request("DELETE", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.com")
    await cluster.restore("installed")
    assert await uids(cluster) == before

    await cluster.stop()
    await cluster.start()
    await cluster.reset()  # kept in the cluster
    assert not [key for key in await uids(cluster) if "widgets" in str(key) or key[0] == "Widget"]

    await cluster.delete_snapshot("installed")
    with pytest.raises(ClusterError, match="no snapshot"):
        await cluster.restore("installed")
    await cluster.remove_node(f"{cluster.name}-worker", force=True)
    with pytest.raises(ClusterError, match="of other nodes"):
        await cluster.reset()
