"""JSON streams: the Engine's events and progress, however their bytes arrive."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest

from kindasync.docker._json_stream import MAX_MESSAGE_CHARACTERS, JsonDecoder, messages, progress_messages
from kindasync.errors import StreamFailed

pytestmark = pytest.mark.anyio

MESSAGES = [{"status": "é €\U0001f600"}, {"nested": {"brace": "}{", "quote": '"\\'}}, {}]
WIRE = b"\r\n".join(json.dumps(message, ensure_ascii=False).encode() for message in MESSAGES) + b"\r\n"
TOO_LONG = b'{"status": "' + b"x" * MAX_MESSAGE_CHARACTERS


async def arriving(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def received(*chunks: bytes) -> list[dict[str, Any]]:
    return [message async for message in messages("SystemEvents", arriving(*chunks))]


@pytest.mark.parametrize("border", range(len(WIRE) + 1))
async def test_a_border_between_chunks_may_lie_anywhere(border: int) -> None:
    """Within a text, a character of several bytes, or the white space between messages."""
    assert await received(WIRE[:border], WIRE[border:]) == MESSAGES


async def test_bytes_one_by_one() -> None:
    """Every border at once."""
    assert await received(*(WIRE[index : index + 1] for index in range(len(WIRE)))) == MESSAGES


@pytest.mark.parametrize("between", [b"", b"\n", b"\r\n", b" \n\n\t"])
async def test_newlines_between_messages_are_not_relied_on(between: bytes) -> None:
    """Podman leaves them out at times; Docker sends both characters."""
    assert await received(between.join([b'{"a": 1}', b'{"b": 2}'])) == [{"a": 1}, {"b": 2}]


def test_a_message_is_given_as_soon_as_it_is_complete() -> None:
    """An event is not held back until the next one, or a newline."""
    decoder = JsonDecoder("SystemEvents")

    assert list(decoder.feed(b'{"status": "st')) == []
    assert list(decoder.feed(b'art"}')) == [{"status": "start"}]


@pytest.mark.parametrize("length", [1, 10, len(b'{"status": "\xc3'), len(WIRE) - 3])
async def test_a_stream_that_ends_within_a_message_is_an_error(length: int) -> None:
    """A lost connection is never the normal end of a stream."""
    with pytest.raises(StreamFailed, match="SystemEvents ended within a message"):
        await received(WIRE[:length])


async def test_a_stream_that_ends_within_a_character_is_an_error() -> None:
    """Also where that character is all that came of a message."""
    with pytest.raises(StreamFailed, match="ended within a message"):
        await received(b'{"a": 1}\n\xc3')


@pytest.mark.parametrize("junk", [b"404 page not found", b"[1]", b'"text"', b"12", b"null", b'{"a": 1}]'])
async def test_what_is_no_json_object_is_an_error(junk: bytes) -> None:
    """At once, and with its beginning: something else than an Engine answers."""
    with pytest.raises(StreamFailed, match="is not JSON") as failed:
        await received(junk)

    assert failed.value.why in junk.decode()


async def test_a_message_without_end_is_an_error() -> None:
    """Memory is bounded, whatever the peer sends."""
    with pytest.raises(StreamFailed, match="is not JSON") as failed:
        await received(TOO_LONG)

    assert len(failed.value.why) == 200


async def test_bytes_that_are_not_utf8_do_not_end_the_stream() -> None:
    """A container's attribute may hold anything."""
    assert await received(b'{"name": "\xff"}') == [{"name": "\N{REPLACEMENT CHARACTER}"}]


async def progress(*lines: dict[str, Any]) -> list[dict[str, Any]]:
    wire: Iterable[bytes] = (json.dumps(line).encode() for line in lines)
    return [message async for message in progress_messages("ImageCreate", "image app:1", arriving(*wire))]


async def test_progress_without_failure() -> None:
    """Messages come as they are; an error that is null or empty is none."""
    lines: list[dict[str, Any]] = [{"status": "Pulling"}, {"status": "Done", "error": None, "errorDetail": {}}]

    assert await progress(*lines) == lines


@pytest.mark.parametrize(
    "failure",
    [
        {"errorDetail": {"code": 500, "message": "no space left on device"}, "error": "no space left on device"},
        {"errorDetail": {"message": "no space left on device"}},
        {"error": "no space left on device"},  # Podman
    ],
)
async def test_an_error_inside_a_stream_is_raised(failure: dict[str, Any]) -> None:
    """The status was 200 before it: the failure is a message, in the Engine's words, with a hint where there is one."""
    with pytest.raises(StreamFailed, match="ImageCreate failed for image app:1") as failed:
        await progress({"status": "Pulling"}, failure, {"status": "never seen"})

    assert failed.value.why == "no space left on device"
    assert "free disk space" in failed.value.hint


@pytest.mark.parametrize(
    ("failure", "why"),
    [
        ({"errorDetail": {"code": 1}, "error": "its words"}, "its words"),
        ({"errorDetail": {"message": ""}, "error": "its words"}, "its words"),
        ({"errorDetail": {"code": 1}}, "{'errorDetail': {'code': 1}}"),  # it is one, whatever it means
        ({"errorDetail": "its words"}, "its words"),
        ({"errorDetail": "its words", "error": "others"}, "its words"),
        ({"errorDetail": ["its", "words"]}, "['its', 'words']"),
        ({"errorDetail": {"message": {"text": "its words"}}}, "{'text': 'its words'}"),
        ({"error": {"message": "its words"}}, "{'message': 'its words'}"),
        ({"error": 500}, "500"),
        ({"errorDetail": None, "error": ["its", "words"]}, "['its', 'words']"),
    ],
)
async def test_an_error_of_an_unusual_form_is_raised(failure: dict[str, Any], why: str) -> None:
    """Never taken for progress, and never a failure of ours."""
    with pytest.raises(StreamFailed, match="ImageCreate failed for image app:1") as failed:
        await progress(failure)

    assert failed.value.why == why


@pytest.mark.parametrize("wire", [b'{"a":' * 100_000, b'{"a":' * 100_000 + b"1" + b"}" * 100_000, b'{"a":' + b"[" * 100_000])
async def test_what_is_nested_too_deep_is_an_error(wire: bytes) -> None:
    """Whole or not: not one of Python's own."""
    with pytest.raises(StreamFailed, match="nested too deep") as failed:
        await received(wire)

    assert len(failed.value.why) == 200


async def test_what_is_nested_a_little_is_read() -> None:
    """Far deeper than any Engine's message."""
    document: dict[str, Any] = {}
    for _ in range(100):
        document = {"a": [document]}

    assert await received(json.dumps(document).encode()) == [document]
