"""Frames: stdout and stderr over one connection, however its bytes arrive.

Source: Docker Engine API, ContainerAttach, "Stream format".
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from itertools import accumulate

import pytest

from kindasync.docker._frames import MAX_FRAME_BYTES, STDERR, STDOUT, SYSTEM_ERROR, FrameDecoder, demultiplexed
from kindasync.docker.containers import lines
from kindasync.errors import StreamFailed

pytestmark = pytest.mark.anyio

OUTPUT = ((STDOUT, b"one\n"), (STDERR, b"\x01\x00\x00\x00 looks like a header"), (STDOUT, b""), (STDOUT, b"\xc3\xa9"))
JOINED = {STDOUT: b"one\n\xc3\xa9", STDERR: b"\x01\x00\x00\x00 looks like a header"}


def frame(stream: int, data: bytes) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(data).to_bytes(4, "big") + data


WIRE = b"".join(frame(stream, data) for stream, data in OUTPUT)
ENDS = [*accumulate(8 + len(data) for _, data in OUTPUT)]


async def arriving(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def joined(pieces: Iterable[tuple[int, bytes]]) -> dict[int, bytes]:
    result: dict[int, bytes] = {}
    for stream, data in pieces:
        result[stream] = result.get(stream, b"") + data
    return result


async def test_frames_in_one_chunk() -> None:
    """Each frame is handed on with its stream; empty ones are nothing."""
    assert [piece async for piece in demultiplexed(arriving([WIRE]))] == [OUTPUT[0], OUTPUT[1], OUTPUT[3]]


@pytest.mark.parametrize("border", range(len(WIRE) + 1))
async def test_a_border_between_chunks_may_lie_anywhere(border: int) -> None:
    """Within a header, within data, between frames: the output is the same."""
    assert joined([piece async for piece in demultiplexed(arriving([WIRE[:border], WIRE[border:]]))]) == JOINED


async def test_bytes_one_by_one() -> None:
    """Every border at once, with empty chunks between."""
    single = [chunk for index in range(len(WIRE)) for chunk in (WIRE[index : index + 1], b"")]

    assert joined([piece async for piece in demultiplexed(arriving(single))]) == JOINED


def test_part_of_a_frame_is_passed_on_as_it_comes() -> None:
    """Somebody who follows a log does not wait for the end of a long frame."""
    decoder = FrameDecoder()
    wire = frame(STDOUT, b"slowly")

    assert list(decoder.feed(wire[:11])) == [(STDOUT, b"slo")]
    assert decoder.within_frame
    assert list(decoder.feed(wire[11:])) == [(STDOUT, b"wly")]
    assert not decoder.within_frame


async def test_no_output_is_no_error() -> None:
    """A stream without a single frame ends well."""
    assert [piece async for piece in demultiplexed(arriving([]))] == []


@pytest.mark.parametrize("length", sorted({*range(len(WIRE))} - {0, *ENDS}))
async def test_output_that_ends_within_a_frame_is_an_error(length: int) -> None:
    """A lost connection is never the normal end of a stream."""
    with pytest.raises(StreamFailed, match="ended within a frame"):
        _ = [piece async for piece in demultiplexed(arriving([WIRE[:length]]))]


@pytest.mark.parametrize(
    "header",
    [
        b"root@node",  # a terminal's raw output
        bytes([4, 0, 0, 0, 0, 0, 0, 1]),  # no such stream
        bytes([1, 0, 1, 0, 0, 0, 0, 1]),  # the three bytes are zero
        bytes([1, 0, 0, 0]) + (MAX_FRAME_BYTES + 1).to_bytes(4, "big"),  # larger than any frame that an Engine sends
    ],
)
async def test_what_is_not_framed_is_an_error(header: bytes) -> None:
    """Raw output where frames were due is refused; its bytes are never taken for lengths to wait for."""
    with pytest.raises(StreamFailed, match="without frames"):
        _ = [piece async for piece in demultiplexed(arriving([header]))]


@pytest.mark.parametrize("size", [1, 5, 1000])
async def test_an_error_frame_is_raised_with_all_its_words(size: int) -> None:
    """The Engine's error is a frame of stream 3, after output; it is whole, however it arrives, and not mangled if it is not UTF-8."""
    wire = frame(STDOUT, b"before") + frame(SYSTEM_ERROR, b"error from daemon in stream: Error grabbing logs: \xff")
    received: list[tuple[int, bytes]] = []

    async def receive() -> None:
        async for piece in demultiplexed(arriving(wire[index : index + size] for index in range(0, len(wire), size))):
            received.append(piece)  # noqa: PERF401 (what came before the error counts)

    with pytest.raises(StreamFailed) as failed:
        await receive()

    assert joined(received) == {STDOUT: b"before"}
    assert failed.value.why == "error from daemon in stream: Error grabbing logs: \N{REPLACEMENT CHARACTER}"


async def test_an_error_of_the_connection_is_left_as_it_is() -> None:
    """What reading raises says more than that a frame was cut."""

    async def broken() -> AsyncIterator[bytes]:
        yield WIRE[:5]
        raise ConnectionResetError("peer")

    with pytest.raises(ConnectionResetError, match="peer"):
        _ = [piece async for piece in demultiplexed(broken())]


# -- lines


@pytest.mark.parametrize("size", [1, 2, 3, 100])
async def test_lines_wherever_chunks_end(size: int) -> None:
    """Within a letter, too; with a terminal's ends or without, and with what has no end yet."""
    output = "one\r\n\nzwölf €\nthree".encode()

    assert [line async for line in lines(arriving(output[at : at + size] for at in range(0, len(output), size)))] == [
        "one",
        "",
        "zwölf €",
        "three",
    ]
