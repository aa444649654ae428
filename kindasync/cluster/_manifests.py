"""Manifests: the objects that a node image brings for its cluster: pod network and storage."""

from __future__ import annotations

import copy
import io
import os
import tarfile
from collections.abc import Mapping
from typing import Any

from kindasync import go_yaml
from kindasync.cluster._provision import Provisioned
from kindasync.cluster._run import Run
from kindasync.cluster.plan import Plan
from kindasync.docker.archives import read_archive

_DIRECTORY = "/kind/manifests"
CNI, _STORAGE = "default-cni.yaml", "default-storage.yaml"
# kind's own images mark their manifest: what to fill in is part of how kind and its images work together.
_TEMPLATE_MARK = "would you kindly template this file"
_PATCH_MARK = "would you kindly patch this file"


async def manifests(run: Run, plan: Plan, first: Provisioned) -> list[tuple[str, str]]:
    """The manifests to create, by name, filled in for this cluster."""
    archive = await read_archive(run.connection, first.container.id, _DIRECTORY)
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        files = {os.path.basename(member.name): tar.extractfile(member) for member in tar if member.isreg()}
        texts = {name: file.read().decode() for name, file in files.items() if file}
    result = []
    if CNI in texts and not run.request.config.networking.disable_default_cni:
        result.append((CNI, fill_in(texts[CNI], ",".join(plan.pod_subnets), plan.control_plane_endpoint)))
    if _STORAGE in texts:
        result.append((_STORAGE, texts[_STORAGE]))
    return result


def asking_at(endpoint: str, document: Mapping[str, Any]) -> dict[str, Any]:
    """An object of the cluster's own. Pods of a Deployment ask the API server at `endpoint`, "host:port", as kubelets do: at the Service's
    address nobody answers before kube-proxy, which begins when they do; they would try again a second later, or fail.
    """
    result: dict[str, Any] = copy.deepcopy(dict(document))
    if result["kind"] == "Deployment":
        host, _, port = endpoint.rpartition(":")
        pod = result["spec"]["template"]["spec"]
        pod["dnsPolicy"] = "Default"  # the Engine's resolver knows the host, and is there before the cluster's
        for container in pod["containers"]:
            reached = [{"name": "KUBERNETES_SERVICE_HOST", "value": host}, {"name": "KUBERNETES_SERVICE_PORT", "value": port}]
            container["env"] = [*container.get("env", ()), *reached]
    return result


def fill_in(manifest: str, pod_subnet: str, endpoint: str) -> str:
    """A kind image's pod network manifest, with the pods' subnet, and the control plane's address in its daemon's environment."""
    if _TEMPLATE_MARK in manifest:
        manifest = manifest.replace("{{ .PodSubnet }}", pod_subnet).replace("{{.PodSubnet}}", pod_subnet)
    if _PATCH_MARK in manifest:
        documents = [document for document in go_yaml.load_all(manifest) if document]
        for document in documents:
            if document["kind"] == "DaemonSet":
                container = document["spec"]["template"]["spec"]["containers"][0]
                container.setdefault("env", []).append({"name": "CONTROL_PLANE_ENDPOINT", "value": endpoint})
        manifest = go_yaml.dump_all(documents)
    return manifest
