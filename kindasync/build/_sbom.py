"""SBOM: what a node image holds, as an SPDX 2.3 document."""

from __future__ import annotations

import json
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from kindasync.build import _packages
from kindasync.build._steps import Plan


def document(plan: Plan, *, debian_root: Path, programs: Iterable[Path]) -> bytes:
    """The document: each Debian package with version and source, each Go module that is linked into a program, with version.

    Source: SPDX 2.3, "Package information"; package URLs by the purl specification. Licences are in the image itself
    (/usr/share/doc), so none is concluded here. The same inputs give the same bytes.
    """
    arch = plan.pins.architecture.name
    packages = [
        _package(entry["Package"], entry["Version"], f"pkg:deb/debian/{entry['Package']}@{entry['Version']}?arch={entry['Architecture']}")
        for entry in _packages.read(debian_root).fields.values()
    ]
    modules = {line for program in programs for line in (program / "modules.tsv").read_text().splitlines()}
    for line in sorted(modules):
        path, version = line.split("\t")
        packages.append(_package(path, version, f"pkg:golang/{path}@{version}"))
    name = f"kindasync-node-{plan.pins.kubernetes}-{arch}"
    text = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": f"https://kindasync.dev/spdx/{name}-{plan.node_key}",
        "creationInfo": {"created": "2023-11-14T22:13:20Z", "creators": ["Tool: kindasync build node-image"]},
        "packages": packages,
        "relationships": [
            {"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": package["SPDXID"]}
            for package in packages
        ],
    }
    return json.dumps(text, indent=1).encode()


def _package(name: str, version: str, url: str) -> dict[str, object]:
    return {
        "SPDXID": f"SPDXRef-{sha256(url.encode()).hexdigest()[:16]}",
        "name": name,
        "versionInfo": version,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": "NOASSERTION",
        "copyrightText": "NOASSERTION",
        "externalRefs": [{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": url}],
    }
