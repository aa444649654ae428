"""Contract: images: into the Engine and out of it, their names, their making from containers and archives."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from kindasync.docker import Engine
from kindasync.docker.archives import put_archive, read_archive
from kindasync.docker.containers import ContainerSpec, container_create, container_inspect
from kindasync.docker.images import (
    ImageProgress,
    image_commit,
    image_create,
    image_get,
    image_import,
    image_inspect,
    image_list,
    image_load,
    image_push,
    image_remove,
    image_tag,
)
from kindasync.errors import ApiError, Conflict, NotFound, StreamFailed
from tests.engine.lab import Lab, pieces, tar, untar
from tests.engine.registry import registry
from tests.engine.scripted import PING, http, scripted

pytestmark = pytest.mark.anyio


async def saved(lab: Lab, *references: str) -> bytes:
    async with image_get(lab.connection, references) as chunks:
        return b"".join([chunk async for chunk in chunks])


# -- load, inspect, list


async def test_load_names_what_it_loaded(lab: Lab, tmp_path: Path) -> None:
    """As the Engine names it, in the order of the archive; each message of the stream is reported."""
    archive = lab.archive(tmp_path, "a", "b", files={"data/new": lab.run.encode()})  # a layer that is there already is not reported
    reports: list[ImageProgress] = []

    loaded = await image_load(lab.connection, aiter(archive), report=reports.append)

    assert loaded == archive.references
    assert reports[-1].status == f"Loaded image: {archive.references[-1]}"
    assert any(report.current for report in reports)


async def test_a_loaded_image_is_as_in_the_archive(lab: Lab, tmp_path: Path) -> None:
    """Its ID is the digest of its configuration; labels and architecture come from there."""
    archive = lab.archive(tmp_path, "a", labels={"a": "b"})
    await image_load(lab.connection, aiter(archive))

    image = await image_inspect(lab.connection, archive.references[0])

    assert image.id.startswith("sha256:")
    assert f"blobs/{image.id.replace(':', '/')}" in untar(archive.content)
    assert image.tags == archive.references
    assert image.labels == {**lab.labels, "name": "a", "a": "b"}
    assert (image.architecture, image.os, image.created) == ("amd64", "linux", "2023-11-14T22:13:20Z")
    assert image.size_bytes > 0


async def test_an_image_is_found_by_every_name_it_has(lab: Lab, tmp_path: Path) -> None:
    """With the registry that is meant where none is named, and by its ID."""
    archive = lab.archive(tmp_path, "a")
    await image_load(lab.connection, aiter(archive))
    image = await image_inspect(lab.connection, archive.references[0])

    assert await image_inspect(lab.connection, f"docker.io/library/{archive.references[0]}") == image
    assert await image_inspect(lab.connection, image.id) == image


async def test_inspect_of_none(lab: Lab) -> None:
    """NotFound, with what was looked for."""
    with pytest.raises(NotFound, match="No such image") as caught:
        await image_inspect(lab.connection, f"{lab.name('none')}:1")

    assert caught.value.subject == f"image {lab.name('none')}:1"


async def test_what_is_no_reference_is_refused(lab: Lab) -> None:
    """Not taken for an answer, whatever the Engine makes of the path."""
    with pytest.raises(ApiError):
        await image_inspect(lab.connection, f"{lab.run}//none")


async def test_load_of_what_is_no_archive_fails_in_the_stream(lab: Lab) -> None:
    """The Engine has said 200 by then; its words are kept."""
    with pytest.raises(StreamFailed, match="archive/tar"):
        await image_load(lab.connection, pieces(b"junk" * 500))


async def test_load_from_a_source_that_breaks(lab: Lab, tmp_path: Path) -> None:
    """Its error is raised as it is: it is not the Engine's."""
    archive = lab.archive(tmp_path, "a")

    async def broken() -> AsyncIterator[bytes]:
        yield archive.content[:512]
        raise RuntimeError("the source is broken")

    with pytest.raises(RuntimeError, match="the source is broken"):
        await image_load(lab.connection, broken())

    assert await image_list(lab.connection, labels=lab.labels) == ()


async def test_list_by_labels_and_by_reference(lab: Lab, tmp_path: Path) -> None:
    """Labels: all of them, None takes any value. A reference without a tag takes any tag, and may have wildcards."""
    archive = lab.archive(tmp_path, "a", "b")
    await image_load(lab.connection, aiter(archive))

    async def listed(reference: str = "", **labels: str | None) -> set[str]:
        found = await image_list(lab.connection, labels={**lab.labels, **labels}, reference=reference)
        return {tag for image in found for tag in image.tags}

    a, b = archive.references
    assert await listed() == {a, b}
    assert await listed(name="a") == {a}
    assert await listed(name=None) == {a, b}
    assert await listed(name="none") == set()
    assert await listed(reference=a) == {a}
    assert await listed(reference=a.removesuffix(":1")) == {a}
    assert await listed(reference=f"{lab.run}-*") == {a, b}
    assert await listed(reference=lab.name("none")) == set()


async def test_list_has_the_newest_first(lab: Lab, tmp_path: Path) -> None:
    """By the time at which an image was made, wherever that was."""
    archive = lab.archive(tmp_path, "old")
    await image_load(lab.connection, aiter(archive))
    container = await container_create(lab.connection, lab.name("c"), ContainerSpec(image=archive.references[0], labels=lab.labels))
    newer = await image_commit(lab.connection, container, f"{lab.name('new')}:1")

    images = await image_list(lab.connection, labels=lab.labels)

    assert [image.tags for image in images] == [(f"{lab.name('new')}:1",), archive.references]
    assert images[0].id == newer


# -- tag, remove


async def test_a_tag_is_a_further_name(lab: Lab, tmp_path: Path) -> None:
    """Of the same image. Without a tag, "latest" is meant."""
    archive = lab.archive(tmp_path, "a")
    await image_load(lab.connection, aiter(archive))

    await image_tag(lab.connection, archive.references[0], f"{lab.name('b')}:2")
    await image_tag(lab.connection, archive.references[0], f"localhost:5000/{lab.name('c')}")

    names = (archive.references[0], f"{lab.name('b')}:2", f"localhost:5000/{lab.name('c')}:latest")
    assert {(await image_inspect(lab.connection, name)).id for name in names} == {(await image_inspect(lab.connection, names[0])).id}
    assert set((await image_inspect(lab.connection, names[0])).tags) == set(names)


async def test_a_tag_of_another_image_moves(lab: Lab, tmp_path: Path) -> None:
    """A reference means one image."""
    archive = lab.archive(tmp_path, "a", "b")
    await image_load(lab.connection, aiter(archive))
    a, b = archive.references

    await image_tag(lab.connection, a, b)

    assert (await image_inspect(lab.connection, b)).labels["name"] == "a"


async def test_tag_of_none_and_tag_with_what_is_no_reference(lab: Lab, tmp_path: Path) -> None:
    """NotFound, and 400."""
    archive = lab.archive(tmp_path, "a")
    await image_load(lab.connection, aiter(archive))

    with pytest.raises(NotFound):
        await image_tag(lab.connection, f"{lab.name('none')}:1", f"{lab.name('b')}:1")
    with pytest.raises(ApiError, match="invalid reference format") as caught:
        await image_tag(lab.connection, archive.references[0], f"{lab.name('B')}:1")

    assert caught.value.status == 400


async def test_an_image_goes_with_its_last_name(lab: Lab, tmp_path: Path) -> None:
    """Until then only the name goes."""
    archive = lab.archive(tmp_path, "a")
    await image_load(lab.connection, aiter(archive))
    image = await image_inspect(lab.connection, archive.references[0])
    await image_tag(lab.connection, archive.references[0], f"{lab.name('b')}:1")

    await image_remove(lab.connection, archive.references[0])
    assert (await image_inspect(lab.connection, image.id)).tags == (f"{lab.name('b')}:1",)

    await image_remove(lab.connection, f"{lab.name('b')}:1")
    with pytest.raises(NotFound):
        await image_inspect(lab.connection, image.id)


async def test_remove_of_what_is_not_there(lab: Lab) -> None:
    """NotFound."""
    with pytest.raises(NotFound):
        await image_remove(lab.connection, f"{lab.name('none')}:1")


async def test_an_image_that_a_container_uses_keeps_its_last_name(lab: Lab, tmp_path: Path) -> None:
    """Conflict; forced, the name goes, and the container stays as it is."""
    archive = lab.archive(tmp_path, "a")
    await image_load(lab.connection, aiter(archive))
    container = await container_create(lab.connection, lab.name("c"), ContainerSpec(image=archive.references[0], labels=lab.labels))

    with pytest.raises(Conflict):
        await image_remove(lab.connection, archive.references[0])
    await image_remove(lab.connection, archive.references[0], force=True)

    assert await image_list(lab.connection, reference=archive.references[0]) == ()
    assert (await container_inspect(lab.connection, container)).state == "created"


# -- get


async def test_what_was_got_can_be_loaded_again(lab: Lab, tmp_path: Path) -> None:
    """Several images in one archive; they come back with their names, their IDs, and what is in them."""
    archive = lab.archive(tmp_path, "a", "b", files={"data/file": b"content"})
    await image_load(lab.connection, aiter(archive))
    before = [await image_inspect(lab.connection, reference) for reference in archive.references]

    content = await saved(lab, *archive.references)
    for reference in archive.references:
        await image_remove(lab.connection, reference)
    loaded = await image_load(lab.connection, pieces(content))

    assert set(loaded) == set(archive.references)
    assert [await image_inspect(lab.connection, reference) for reference in archive.references] == before
    container = await container_create(lab.connection, lab.name("c"), ContainerSpec(image=archive.references[0], labels=lab.labels))
    assert untar(await read_archive(lab.connection, container, "/data/file")) == {"file": b"content"}


async def test_an_export_can_go_straight_into_another_load(lab: Lab, tmp_path: Path) -> None:
    """Without a file between: one stream is the body of the other request."""
    archive = lab.archive(tmp_path, "a", files={"data/big": bytes(range(256)) * 16 * 1024})
    await image_load(lab.connection, aiter(archive))

    async with image_get(lab.connection, archive.references) as chunks:
        assert await image_load(lab.connection, chunks) == archive.references


async def test_get_of_what_is_not_there(lab: Lab) -> None:
    """NotFound."""
    with pytest.raises(NotFound):
        await saved(lab, f"{lab.name('none')}:1")


@pytest.mark.parametrize("platform", [None, "linux/amd64"])
async def test_get_names_a_platform_only_where_the_engine_knows_that(lab: Lab, tmp_path: Path, platform: str | None) -> None:
    """From API 1.48 on; before, the image is exported as it is."""
    archive = lab.archive(tmp_path, "a")
    await image_load(lab.connection, aiter(archive))

    async with image_get(lab.connection, archive.references, platform=platform) as chunks:
        assert "manifest.json" in untar(b"".join([chunk async for chunk in chunks]))

    if lab.fake:
        (request,) = lab.fake.requests_of("ImageGetAll")
        expected = {"os": "linux", "architecture": "amd64"} if platform and lab.connection.speaks(1, 48) else None
        assert json.loads(request.param("platform", "null")) == expected


# -- commit, import


async def test_commit_makes_an_image_of_a_container(lab: Lab, tmp_path: Path) -> None:
    """Of its files and its labels; changes are lines of a Dockerfile."""
    archive = lab.archive(tmp_path, "a", files={"data/of-image": b"1"})
    await image_load(lab.connection, aiter(archive))
    container = await container_create(lab.connection, lab.name("c"), ContainerSpec(image=archive.references[0], labels=lab.labels))
    await put_archive(lab.connection, container, "/data", tar({"of-container": b"2"}))

    image_id = await image_commit(
        lab.connection, container, f"{lab.name('b')}:1", changes=("LABEL one=1", 'ENTRYPOINT ["/x"]', "LABEL two=2")
    )

    image = await image_inspect(lab.connection, f"{lab.name('b')}:1")
    assert image.id == image_id
    assert image.labels.items() >= {**lab.labels, "one": "1", "two": "2"}.items()
    made = await container_create(lab.connection, lab.name("d"), ContainerSpec(image=image_id, labels=lab.labels))
    files = untar(await read_archive(lab.connection, made, "/data"))
    assert files == {"data/of-image": b"1", "data/of-container": b"2"}


async def test_commit_of_a_container_that_is_not_there(lab: Lab) -> None:
    """NotFound."""
    with pytest.raises(NotFound):
        await image_commit(lab.connection, lab.name("none"), f"{lab.name('b')}:1")


async def test_import_makes_an_image_of_a_file_system(lab: Lab) -> None:
    """Of one layer; changes are lines of a Dockerfile."""
    changes = (f"LABEL contract-run={lab.run}", "LABEL one=1 two=2")

    await image_import(lab.connection, pieces(tar({"data/file": b"content"}, directories=("data",))), f"{lab.name('a')}:1", changes=changes)

    image = await image_inspect(lab.connection, f"{lab.name('a')}:1")
    assert image.labels == {**lab.labels, "one": "1", "two": "2"}
    spec = ContainerSpec(image=image.id, labels=lab.labels, cmd=("/none",))
    container = await container_create(lab.connection, lab.name("c"), spec)
    assert untar(await read_archive(lab.connection, container, "/data")) == {"data/file": b"content"}


async def test_import_of_what_is_no_archive(lab: Lab) -> None:
    """The Engine's words for it."""
    with pytest.raises((ApiError, StreamFailed), match="archive/tar"):
        await image_import(lab.connection, pieces(b"junk" * 500), f"{lab.name('a')}:1")


# -- registries


async def test_what_was_pushed_can_be_pulled(lab: Lab, tmp_path: Path) -> None:
    """With its ID and labels; each message of the stream is reported, with bytes where the Engine knows them."""
    archive = lab.archive(tmp_path, "a", files={"data/big": bytes(range(256)) * 16 * 1024})
    await image_load(lab.connection, aiter(archive))
    before = await image_inspect(lab.connection, archive.references[0])
    reports: list[ImageProgress] = []

    async with AsyncExitStack() as stack:
        host = "registry.test" if lab.fake else (await stack.enter_async_context(registry())).host
        reference = f"{host}/{archive.references[0]}"
        await image_tag(lab.connection, archive.references[0], reference)
        await image_push(lab.connection, reference)
        await image_remove(lab.connection, archive.references[0])
        await image_remove(lab.connection, reference)
        await image_create(lab.connection, reference, report=reports.append)

    after = await image_inspect(lab.connection, reference)
    assert (after.id, after.labels, after.tags) == (before.id, before.labels, (reference,))
    assert any(report.layer and report.current and report.total for report in reports)
    assert reports[-1].status == f"Status: Downloaded newer image for {reference}"


async def test_of_a_tag_and_a_digest_the_digest_counts(lab: Lab, tmp_path: Path) -> None:
    """As in references that pin an image, which are readable by their tag: by it the image is pulled, found, and used."""
    archive = lab.archive(tmp_path, "a")
    await image_load(lab.connection, aiter(archive))
    async with AsyncExitStack() as stack:
        host = "registry.test" if lab.fake else (await stack.enter_async_context(registry())).host
        reference = f"{host}/{archive.references[0]}"
        await image_tag(lab.connection, archive.references[0], reference)
        await image_push(lab.connection, reference)
        pushed = await image_inspect(lab.connection, reference)
        if lab.fake:
            pinned = f"{reference.rpartition(':')[0]}@sha256:{'0' * 64}"
            lab.fake.registry[pinned] = lab.fake.images[reference]
        else:
            (pinned,) = pushed.digests
        for each in (archive.references[0], reference):
            await image_remove(lab.connection, each)

        pinned = f"{reference.rpartition(':')[0]}:other@{pinned.partition('@')[2]}"
        await image_create(lab.connection, pinned)

    assert (await image_inspect(lab.connection, pinned)).id == pushed.id
    assert await lab.created(lab.spec("none", image=pinned))


async def test_pull_of_what_the_registry_does_not_have(lab: Lab) -> None:
    """NotFound, and the image in question."""
    async with AsyncExitStack() as stack:
        host = "registry.test" if lab.fake else (await stack.enter_async_context(registry())).host
        with pytest.raises(NotFound) as caught:
            await image_create(lab.connection, f"{host}/{lab.run}/none:1")

    assert caught.value.subject == f"image {host}/{lab.run}/none:1"


async def test_push_of_what_the_engine_does_not_have_fails_in_the_stream(lab: Lab) -> None:
    """Its words are kept."""
    with pytest.raises(StreamFailed, match="does not exist locally"):
        await image_push(lab.connection, f"127.0.0.1:1/{lab.run}/none:1")


async def test_a_registry_may_want_a_login(lab: Lab, tmp_path: Path) -> None:
    """`auth` goes to the Engine in a header, and to the registry from there."""
    archive = lab.archive(tmp_path, "a")
    await image_load(lab.connection, aiter(archive))
    auth = {"username": "user", "password": "päss"}

    async with AsyncExitStack() as stack:
        login = (auth["username"], auth["password"])
        host = "registry.test" if lab.fake else (await stack.enter_async_context(registry(login))).host
        reference = f"{host}/{archive.references[0]}"
        await image_tag(lab.connection, archive.references[0], reference)
        await image_push(lab.connection, reference, auth=auth)
        await image_create(lab.connection, reference, auth=auth)
        if lab.fake:
            for operation in ("ImagePush", "ImageCreate"):
                (request,) = lab.fake.requests_of(operation)
                assert json.loads(base64.urlsafe_b64decode(request.headers["x-registry-auth"])) == auth
        else:
            with pytest.raises((ApiError, StreamFailed), match="no basic auth credentials"):
                await image_create(lab.connection, reference)
            with pytest.raises(StreamFailed, match="no basic auth credentials"):
                await image_push(lab.connection, reference)


async def test_references_that_name_nothing_are_none(tmp_path: Path) -> None:
    """Engines before API 1.43 have them for an image without any."""
    nothing = {"Id": "sha256:0", "RepoTags": ["<none>:<none>"], "RepoDigests": ["<none>@<none>"]}
    some = {"Id": "sha256:1", "RepoTags": ["app:1"], "RepoDigests": None}
    answers = [[http(200, body=json.dumps(document).encode()), None] for document in (nothing, [nothing, some])]

    async with scripted(tmp_path / "s", PING, *answers), Engine.of(f"unix://{tmp_path}/s").connect() as connection:
        image = await image_inspect(connection, "sha256:0")
        images = await image_list(connection)

    assert (image.tags, image.digests) == ((), ())
    assert [(each.tags, each.digests) for each in images] == [((), ()), (("app:1",), ())]
