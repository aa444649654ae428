"""Refused: an operation that the fake does not do, as the Engine says it."""

from __future__ import annotations


class Refused(Exception):
    """The Engine's refusal of an operation."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
