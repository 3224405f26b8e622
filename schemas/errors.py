"""The error for an invalid message. Only the exception and its reasons belong here."""

from __future__ import annotations

from typing import Literal

from endpoint_analytics.schemas.limits import MAX_DETAIL_LENGTH

Reason = Literal[
    "empty",
    "too_large",
    "not_json",
    "unknown_version",
    "wrong_shape",
    "bad_identity",
    "bad_interval",
    "unequal_columns",
    "too_many_events",
    "too_many_series",
    "out_of_interval",
    "not_conserved",
    "too_late",
    "too_early",
    "unreadable_batch",
    "boot_conflict",
]


class InvalidMessageError(ValueError):
    """A message that cannot be used: `reason` is one of a fixed set, `detail` says exactly what is wrong."""

    def __init__(self, reason: Reason, detail: str) -> None:
        if len(detail) > MAX_DETAIL_LENGTH:
            detail = detail[: MAX_DETAIL_LENGTH - 3] + "..."
        super().__init__(f"{reason}: {detail}")
        self.reason: Reason = reason
        self.detail = detail
