"""What is wrong with an export as a whole."""

from __future__ import annotations


class BadBodyError(Exception):
    """A body that must not be sent again; `status` is the HTTP status that says so."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status
