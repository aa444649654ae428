"""Images: references, credentials for registries, and which Kubernetes an image holds."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path

import pytest

from kindasync import Engine
from kindasync.cluster._images import default_reference, kubernetes_version
from kindasync.docker._client_config import registry_auth
from kindasync.docker.images import Image, split_reference
from kindasync.docker.system import system_info
from kindasync.testing import FakeEngine

DIGEST = "sha256:a1ed56cfb0e7b93589bdf97c8cd566405a265939e3620fc4f5de89adff580ae5"
HUB = "https://index.docker.io/v1/"


@pytest.mark.parametrize(
    ("reference", "name", "tag"),
    [
        ("app", "app", "latest"),
        ("app:1", "app", "1"),
        ("kindest/node:v1.37.0", "kindest/node", "v1.37.0"),
        ("localhost:5000/app", "localhost:5000/app", "latest"),  # a port is no tag
        ("localhost:5000/team/app:1", "localhost:5000/team/app", "1"),
        (f"kindest/node@{DIGEST}", "kindest/node", DIGEST),
        (f"kindest/node:v1.37.0@{DIGEST}", "kindest/node:v1.37.0", DIGEST),  # of the two, the Engine goes by the digest
    ],
)
def test_a_reference_is_a_name_and_a_tag_or_digest(reference: str, name: str, tag: str) -> None:
    """As ImageCreate takes them: no tag at all would pull every tag there is."""
    assert split_reference(reference) == (name, tag)


def written(path: Path, auths: object) -> Path:
    path.write_text(json.dumps({"auths": auths, "credsStore": "desktop"}))
    return path


def login(username: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{username}:{password}".encode()).decode()}


@pytest.mark.parametrize(
    ("reference", "registry"),
    [
        ("app:1", HUB),
        ("kindest/node:v1.37.0", HUB),
        ("docker.io/kindest/node:v1.37.0", HUB),
        ("index.docker.io/kindest/node:v1.37.0", HUB),
        ("ghcr.io/me/app", "ghcr.io"),
        ("localhost:5000/app", "localhost:5000"),
        ("localhost/app", "localhost"),
    ],
)
def test_credentials_are_those_of_the_registry(tmp_path: Path, reference: str, registry: str) -> None:
    """Of the one that the reference names, by the key under which `docker login` keeps it; a password may hold a colon."""
    auths = {name: login("me", f"secret:{name}") for name in (HUB, "ghcr.io", "localhost:5000", "localhost")}

    auth = registry_auth(reference, written(tmp_path / "config.json", auths))

    assert auth == {"username": "me", "password": f"secret:{registry}", "serveraddress": registry}


def test_an_identity_token_is_what_counts(tmp_path: Path) -> None:
    """Registries with single sign-on give one, beside a user name that means nothing."""
    auths = {"me.azurecr.io": login("00000000-0000-0000-0000-000000000000", "") | {"identitytoken": "token"}}

    auth = registry_auth("me.azurecr.io/app", written(tmp_path / "config.json", auths))

    assert auth == {"identitytoken": "token", "serveraddress": "me.azurecr.io"}


@pytest.mark.parametrize(
    "auths",
    [
        {},
        {"ghcr.io": {}},  # kept by a credential helper
        {"ghcr.io": {"auth": "no base64"}},
        {"ghcr.io": {"auth": base64.b64encode(b"\xff\xfe").decode()}},
        {"ghcr.io": "text"},
        {"other.io": login("me", "secret")},
        [],
        None,
    ],
)
def test_no_credentials(tmp_path: Path, auths: object) -> None:
    """What is not there or cannot be read is not sent: the registry may let anybody pull."""
    assert registry_auth("ghcr.io/me/app", written(tmp_path / "config.json", auths)) is None


def test_no_configuration_no_credentials(tmp_path: Path) -> None:
    """Most machines have none."""
    assert registry_auth("app:1", tmp_path / "config.json") is None


@pytest.mark.parametrize(
    ("reference", "label", "version"),
    [
        ("kindest/node:v1.37.0", None, "v1.37.0"),
        (f"kindest/node:v1.30.4@{DIGEST}", None, "v1.30.4"),
        ("localhost:5000/node:v1.37.0-rc.1", None, "v1.37.0-rc.1"),
        ("kindasync/node:latest", "v1.37.2", "v1.37.2"),
        ("kindest/node:v1.30.4", "v1.37.2", "v1.37.2"),  # the label knows better
        ("kindasync/node:latest", None, ""),
        ("vendor/node", None, ""),
        ("app:vanilla", None, ""),
        (f"kindest/node@{DIGEST}", None, ""),
    ],
)
def test_the_kubernetes_of_an_image(reference: str, label: str | None, version: str) -> None:
    """By its label, else by its tag, if that is a version; else nobody knows without starting it."""
    labels = {"kindasync.kubernetes": label} if label else {}
    image = Image(id="sha256:1", tags=(reference,), digests=(), labels=labels)

    assert kubernetes_version(reference, image) == version


def test_the_kubernetes_of_an_image_that_is_not_there() -> None:
    """Its tag says it, too."""
    assert kubernetes_version("kindest/node:v1.37.0", None) == "v1.37.0"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("there", "default"),
    [
        (("v1.36.3", "v1.37.2", "v1.38.0"), "kindasync/node:v1.37.2"),
        (("v1.37.1", "v1.37.2", "v1.37.0"), "kindasync/node:v1.37.2"),
        (("v1.35.4", "v1.36.3"), "kindasync/node:v1.36.3"),
        ((), "kindest/node:v1.37.0@" + DIGEST),
    ],
)
async def test_the_default_image_is_of_the_default_minor(fake: FakeEngine, there: tuple[str, ...], default: str) -> None:
    """The newest of those; without any, the newest image of ours; without that, what is pulled."""
    ours = fake.images.pop("kindasync/node:v1.37.2")
    for version in there:
        reference = f"kindasync/node:{version}"
        fake.images[reference] = replace(ours, reference=reference, labels={**ours.labels, "kindasync.kubernetes": version})

    async with Engine.of(fake.url).connect() as connection:
        assert await default_reference(connection, await system_info(connection)) == default


@pytest.mark.anyio
@pytest.mark.parametrize("other", ["aaa/node:1", "zzz/node:1"])
async def test_of_several_names_the_usual_one_is_the_default(fake: FakeEngine, other: str) -> None:
    """Whatever else an image is called, and whatever else somebody has made of that version."""
    ours = fake.images.pop("kindasync/node:v1.37.2")
    for reference, image in {
        f"first/{other}": replace(ours, reference=f"first/{other}"),
        other: ours,
        "kindasync/node:v1.37.2": ours,
        f"last/{other}": replace(ours, reference=f"last/{other}"),
    }.items():
        fake.images[reference] = image

    async with Engine.of(fake.url).connect() as connection:
        assert await default_reference(connection, await system_info(connection)) == "kindasync/node:v1.37.2"
