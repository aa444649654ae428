"""JSON streams: the sequences of JSON objects with which the Engine reports events and progress."""

from __future__ import annotations

import codecs
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

from kindasync.docker._hints import hint_for
from kindasync.errors import StreamFailed

MAX_MESSAGE_CHARACTERS = 4 * 1024 * 1024


class JsonDecoder:
    """Splits text into JSON objects wherever their borders fall. Newlines between them are usual, but not relied on."""

    def __init__(self, operation: str) -> None:
        self._operation = operation
        self._decoder = json.JSONDecoder()
        self._rest = ""
        self._text = codecs.getincrementaldecoder("utf-8")(errors="replace")  # a character's bytes may be split between chunks

    def feed(self, chunk: bytes) -> Iterator[dict[str, Any]]:
        """The objects that `chunk` completes. Raises: StreamFailed for what is not JSON, or too long."""
        self._rest = (self._rest + self._text.decode(chunk)).lstrip()
        while self._rest:
            if self._rest[0] != "{":
                raise StreamFailed(f"the stream of {self._operation} is not JSON objects", why=self._rest[:200])
            try:
                value, end = self._decoder.raw_decode(self._rest)
            except RecursionError as error:
                raise StreamFailed(f"the stream of {self._operation} is nested too deep", why=self._rest[:200]) from error
            except ValueError as error:
                if len(self._rest) > MAX_MESSAGE_CHARACTERS:
                    raise StreamFailed(f"the stream of {self._operation} is not JSON", why=self._rest[:200]) from error
                return
            self._rest = self._rest[end:].lstrip()
            yield value

    def finish(self) -> None:
        """Raises: StreamFailed if the stream ended within an object."""
        self._rest += self._text.decode(b"", final=True)
        if self._rest:
            raise StreamFailed(f"the stream of {self._operation} ended within a message", why=self._rest[:200])


async def messages(operation: str, chunks: AsyncIterator[bytes]) -> AsyncIterator[dict[str, Any]]:
    """The objects of a stream. Raises: StreamFailed; what `chunks` raises."""
    decoder = JsonDecoder(operation)
    async for chunk in chunks:
        for message in decoder.feed(chunk):
            yield message
    decoder.finish()


async def progress_messages(operation: str, subject: str, chunks: AsyncIterator[bytes]) -> AsyncIterator[dict[str, Any]]:
    """As `messages`, for streams of progress, in which a failure is a message of its own after a status of 200.

    Raises: StreamFailed with the Engine's words for a message with `errorDetail` or `error`.
    """
    async for message in messages(operation, chunks):
        detail = message.get("errorDetail")
        if detail or message.get("error"):
            text = (detail.get("message") if isinstance(detail, dict) else detail) or message.get("error") or message
            raise StreamFailed(f"{operation} failed for {subject}", why=str(text), hint=hint_for(str(text)))
        yield message
