"""The node image of a cluster: found in the Engine, pulled, or refused; never built in silence."""

from __future__ import annotations

from dataclasses import dataclass

from kindasync.docker import Connection
from kindasync.docker._client_config import stored_auth
from kindasync.docker.images import Image, ImageProgress, image_create, image_inspect, image_list, split_reference
from kindasync.docker.system import EngineFacts
from kindasync.errors import ApiError, ImageUnusable, KindasyncError, NotFound, StreamFailed
from kindasync.events import Bus, ImagePulled, ImagePullProgress
from kindasync.node._contract import LABEL, Contract, contract_of
from kindasync.versions import KubernetesVersion

REPOSITORY = "kindasync/node"  # of the images that `build node-image` makes, unless it is told another
KUBERNETES_LABEL = "kindasync.kubernetes"
DEFAULT_MINOR = "1.37"
# What is pulled where nothing else is to be had is that of the default minor, by digest. Until ours are published they are
# upstream's: what kind v0.31.0, v0.32.0 and v0.33.0 have as their default (Go module sigs.k8s.io/kind, pkg/apis/config/defaults).
PINNED = {
    "1.35": "kindest/node:v1.35.0@sha256:452d707d4862f52530247495d180205e029056831160e22870e37e3f6c1ac31f",
    "1.36": "kindest/node:v1.36.1@sha256:3489c7674813ba5d8b1a9977baea8a6e553784dab7b84759d1014dbd78f7ebd5",
    "1.37": "kindest/node:v1.37.0@sha256:a1ed56cfb0e7b93589bdf97c8cd566405a265939e3620fc4f5de89adff580ae5",
}
BUILD_HINT = "kindasync build node-image builds one (about 12 minutes on two cores, then cached)"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeImage:
    """An image that nodes can be made of. `reference` as asked for."""

    reference: str
    id: str
    contract: Contract


async def node_image(connection: Connection, facts: EngineFacts, reference: str, bus: Bus, cluster: str) -> NodeImage:
    """The image to use for `reference`; empty: the default.

    The default is, in order: an image of our contract in the Engine; a pull of the pinned reference.
    Raises: ImageUnusable, with what to do.
    """
    reference = reference or await default_reference(connection, facts)
    try:
        image = await image_inspect(connection, reference)
    except NotFound:
        image = await _pull(connection, facts, reference, bus, cluster)
    if image.architecture and image.architecture != facts.architecture:
        raise ImageUnusable(
            f'cannot use the node image "{reference}"',
            why=f"it is for {image.architecture}, the Engine is {facts.architecture}",
            hint=f"use an image for {facts.architecture}: kindasync build node-image --arch {facts.architecture}",
        )
    return NodeImage(reference=reference, id=image.id, contract=contract_of(reference, image.labels))


async def default_reference(connection: Connection, facts: EngineFacts) -> str:
    """The reference of the default image, present or not. Of several of one version it is the one of the usual name."""
    ours = [image for image in await image_list(connection, labels={LABEL: None}) if image.tags and _usable(image)]
    ours.sort(key=lambda image: (_version(image), _usual_tag(image) in image.tags), reverse=True)
    preferred = [image for image in ours if _version(image).release == _release(DEFAULT_MINOR)] or ours
    for image in preferred:
        if (await image_inspect(connection, image.id)).architecture in ("", facts.architecture):
            return min(image.tags, key=lambda tag: (tag != _usual_tag(image), tag))
    return PINNED[DEFAULT_MINOR]


def _usable(image: Image) -> bool:
    try:
        contract_of("", image.labels)
    except ImageUnusable:
        return False
    return KUBERNETES_LABEL in image.labels


def _usual_tag(image: Image) -> str:
    return f"{REPOSITORY}:{image.labels[KUBERNETES_LABEL]}"


def _version(image: Image) -> KubernetesVersion:
    return KubernetesVersion.parse(image.labels[KUBERNETES_LABEL])


def kubernetes_version(reference: str, image: Image | None) -> str:
    """The Kubernetes version of an image, by its label, else by its tag, as kind's images have it; empty if neither says."""
    if image and KUBERNETES_LABEL in image.labels:
        return image.labels[KUBERNETES_LABEL]
    _, tag = split_reference(reference.partition("@")[0])
    try:
        return str(KubernetesVersion.parse(tag)) if tag.startswith("v") else ""
    except KindasyncError:
        return ""


def _release(minor: str) -> tuple[int, int]:
    major, _, minor = minor.partition(".")
    return int(major), int(minor)


async def _pull(connection: Connection, facts: EngineFacts, reference: str, bus: Bus, cluster: str) -> Image:
    began = bus.elapsed_s()

    def report(progress: ImageProgress) -> None:
        if progress.current is not None:
            event = ImagePullProgress(cluster=cluster, subject=progress.layer, current=progress.current, total=progress.total)
            bus.emit(event)

    try:
        await image_create(connection, reference, platform=f"linux/{facts.architecture}", auth=stored_auth(reference), report=report)
    except (ApiError, StreamFailed) as error:
        raise ImageUnusable(
            f'the node image "{reference}" is not in the Engine, and cannot be pulled',
            why=error.message if isinstance(error, ApiError) else error.why,
            hint=f"check the name and the Engine's access to the registry; {BUILD_HINT}",
        ) from error
    bus.emit(ImagePulled(cluster=cluster, image=reference, duration_s=bus.elapsed_s() - began))
    return await image_inspect(connection, reference)
