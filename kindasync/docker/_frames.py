"""Frames: how the Engine sends stdout and stderr over one connection, for containers and execs without a terminal.

Source: Docker Engine API, ContainerAttach, "Stream format": a header of 8 bytes (stream, three zeros, big-endian length), then the data.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from kindasync.errors import StreamFailed

STDOUT, STDERR, SYSTEM_ERROR = 1, 2, 3
_HEADER_BYTES = 8
MAX_FRAME_BYTES = 64 * 1024 * 1024


class FrameDecoder:
    """Splits bytes into frames wherever the borders of what arrives fall. Part of a frame is passed on as it comes."""

    def __init__(self) -> None:
        self._header = b""
        self._stream = 0
        self._remaining = 0

    def feed(self, chunk: bytes) -> Iterator[tuple[int, bytes]]:
        """(stream, data) for what `chunk` holds of frames. Raises: StreamFailed for what is not a frame."""
        view = memoryview(chunk)
        while view:
            if self._remaining:
                data, view = bytes(view[: self._remaining]), view[self._remaining :]
                self._remaining -= len(data)
                yield self._stream, data
                continue
            missing = _HEADER_BYTES - len(self._header)
            self._header += bytes(view[:missing])
            view = view[missing:]
            if len(self._header) == _HEADER_BYTES:
                self._stream, self._remaining = self._header[0], int.from_bytes(self._header[4:], "big")
                if self._stream > SYSTEM_ERROR or any(self._header[1:4]) or self._remaining > MAX_FRAME_BYTES:
                    raise StreamFailed("the Engine sent output without frames where frames were due", why=repr(self._header))
                self._header = b""

    @property
    def within_frame(self) -> bool:
        """Whether more of a frame is still to come."""
        return bool(self._header or self._remaining)

    def finish(self) -> None:
        """Raises: StreamFailed if the output ended within a frame."""
        if self.within_frame:
            raise StreamFailed(
                "the Engine's output ended within a frame",
                why=f"{self._remaining or 'some'} bytes were still to come",
                hint="see whether the Engine is still running",
            )


async def demultiplexed(chunks: AsyncIterator[bytes]) -> AsyncIterator[tuple[int, bytes]]:
    """(stream, data) of framed output. Raises: StreamFailed, also for an error that the Engine sends as a frame; what `chunks` raises."""
    decoder = FrameDecoder()
    error = b""
    async for chunk in chunks:
        for stream, data in decoder.feed(chunk):
            if stream == SYSTEM_ERROR:
                error += data  # which may come in parts, too
            else:
                yield stream, data
        if error and not decoder.within_frame:
            break
    if error:
        raise StreamFailed("the Engine ended the output with an error", why=error.decode(errors="replace"))
    decoder.finish()
