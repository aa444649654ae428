"""What a node is made of: its SBOM and the licences in it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kindasync import Cluster, Node

pytestmark = pytest.mark.anyio
SBOM = "/usr/share/sbom/node-image.spdx.json"
PACKAGE_FIELDS = {
    "SPDXID",
    "name",
    "versionInfo",
    "downloadLocation",
    "licenseConcluded",
    "licenseDeclared",
    "copyrightText",
    "externalRefs",
}
WITHOUT_COPYRIGHT = "for package in $(dpkg-query -W -f '${Package} '); do test -s /usr/share/doc/$package/copyright || echo $package; done"


@pytest.fixture
def node(cluster: Cluster) -> Node:
    return cluster.nodes[0]


async def packages(node: Node, kind: str) -> set[tuple[str, str]]:
    """Names and versions of the SBOM's packages of a kind."""
    return {
        (each["name"], each["versionInfo"])
        for each in json.loads(await node.get(SBOM))["packages"]
        if each["externalRefs"][0]["referenceLocator"].startswith(f"pkg:{kind}/")
    }


async def test_the_sbom_is_an_spdx_document(node: Node) -> None:
    """With the fields that SPDX 2.3 asks for; the document describes all its packages."""
    sbom: dict[str, Any] = json.loads(await node.get(SBOM))

    assert (sbom["spdxVersion"], sbom["dataLicense"], sbom["SPDXID"]) == ("SPDX-2.3", "CC0-1.0", "SPDXRef-DOCUMENT")
    assert sbom["name"]
    assert sbom["documentNamespace"].startswith("https://")
    assert sbom["creationInfo"].keys() >= {"created", "creators"}
    assert [each for each in sbom["packages"] if not each.keys() >= PACKAGE_FIELDS] == []
    ids = [each["SPDXID"] for each in sbom["packages"]]
    assert len(set(ids)) == len(ids)
    assert {each["relatedSpdxElement"] for each in sbom["relationships"] if each["relationshipType"] == "DESCRIBES"} == {*ids}


async def test_the_sbom_has_all_debian_packages(node: Node) -> None:
    """As dpkg knows them; for each there is its licence."""
    installed = (await node.exec(["dpkg-query", "-W", "-f", "${Package} ${Version}\n"])).text.splitlines()
    without_copyright = (await node.exec(["sh", "-c", WITHOUT_COPYRIGHT])).text.split()

    assert await packages(node, "deb") == {(name, version) for name, _, version in (line.partition(" ") for line in installed)}
    assert without_copyright == []


async def test_the_sbom_has_the_go_modules(node: Node) -> None:
    """Of all programs that are compiled for a node; for each there is its licence."""
    modules = await packages(node, "golang")
    files = (await node.exec(["find", "/usr/share/doc/go-modules", "-type", "f", "-printf", "%P\\n"])).text.splitlines()

    assert {name for name, _ in modules} >= {
        "k8s.io/kubernetes",
        "go.etcd.io/etcd/server/v3",
        "github.com/coredns/coredns",
        "github.com/containerd/containerd/v2",
        "github.com/distribution/distribution/v3",
        "github.com/rancher/local-path-provisioner",
    }
    assert {f"{name}@{version}" for name, version in modules} - {file.rpartition("/")[0] for file in files} == set()
