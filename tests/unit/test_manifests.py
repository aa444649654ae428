"""Manifests: what the objects of an image, and of kubeadm's addons, are given before they are made."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import yaml

from kindasync.cluster._manifests import asking_at, fill_in

TEMPLATED = (
    "# would you kindly template this file\nkind: ConfigMap\nmetadata: {name: a}\ndata: {podSubnet: '{{ .PodSubnet }},{{.PodSubnet}}'}\n"
)
DAEMON_SET = """\
kind: DaemonSet
spec:
  template:
    spec:
      containers:
      - name: kindnet-cni
        env: [{name: POD_SUBNET, value: "{{ .PodSubnet }}"}]
      - name: other
"""


def filled(manifest: str) -> list[Any]:
    return [*yaml.safe_load_all(fill_in(manifest, "10.244.0.0/16,fd00:10:244::/56", "demo-control-plane:6443"))]


def test_the_pods_subnet_is_filled_in() -> None:
    """Where the file asks for it by kind's mark, with or without spaces."""
    subnet = "10.244.0.0/16,fd00:10:244::/56"

    assert filled(TEMPLATED)[0]["data"] == {"podSubnet": f"{subnet},{subnet}"}


def test_the_daemon_is_told_of_the_control_plane() -> None:
    """So that it need not wait for kube-proxy; in its first container, beside what that has, in every DaemonSet, and nowhere else."""
    manifest = (
        "# would you kindly template this file\n# would you kindly patch this file\n"
        f"kind: ServiceAccount\nmetadata: {{name: a}}\n---\n{DAEMON_SET}---\n---\n{DAEMON_SET.replace('kindnet-cni', 'second')}"
    )

    account, first, second = filled(manifest)

    endpoint = {"name": "CONTROL_PLANE_ENDPOINT", "value": "demo-control-plane:6443"}
    assert account == {"kind": "ServiceAccount", "metadata": {"name": "a"}}
    for daemon_set, name in ((first, "kindnet-cni"), (second, "second")):
        daemon, other = daemon_set["spec"]["template"]["spec"]["containers"]
        assert daemon == {"name": name, "env": [{"name": "POD_SUBNET", "value": "10.244.0.0/16,fd00:10:244::/56"}, endpoint]}
        assert other == {"name": "other"}


@pytest.mark.parametrize("manifest", [DAEMON_SET, "kind: ConfigMap\ndata: {text: '{{ .PodSubnet }}'}\n", ""])
def test_a_manifest_without_a_mark_is_left_as_it_is(manifest: str) -> None:
    """Templates in it are its own business."""
    assert fill_in(manifest, "10.244.0.0/16", "demo-control-plane:6443") == manifest


def test_pods_of_deployments_need_no_kube_proxy_to_ask_the_api_server() -> None:
    """Nor the cluster's DNS. Other objects are as they were, and so is what is given."""
    deployment = {"kind": "Deployment", "spec": {"template": {"spec": {"containers": [{"env": [{"name": "A", "value": "1"}]}, {}]}}}}
    before = deepcopy(deployment)

    pod = asking_at("demo-control-plane:6443", deployment)["spec"]["template"]["spec"]

    reached = [{"name": "KUBERNETES_SERVICE_HOST", "value": "demo-control-plane"}, {"name": "KUBERNETES_SERVICE_PORT", "value": "6443"}]
    assert [each["env"] for each in pod["containers"]] == [[{"name": "A", "value": "1"}, *reached], reached]
    assert pod["dnsPolicy"] == "Default"
    assert deployment == before
    assert asking_at("demo-control-plane:6443", {"kind": "Service", "spec": {}}) == {"kind": "Service", "spec": {}}
