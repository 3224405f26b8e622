"""The sender of a message: its names, which values are valid, and the Kafka key made from them."""

from __future__ import annotations

import re
from functools import lru_cache

from endpoint_analytics.schemas.errors import InvalidMessageError
from endpoint_analytics.schemas.limits import MAX_NAME_LENGTH

UNASSIGNED = "unassigned"
"""The replica_id of requests held at the endpoint while no replica runs."""

NAME = "[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
"""The regular expression of a name, for documents; its length is limited too."""
_NAME = re.compile(NAME, re.ASCII)


def check_name(field: str, name: str) -> str:
    """Return `name`, or raise InvalidMessageError, naming `field`, if it is not a valid name.

    A name has 1 to MAX_NAME_LENGTH ASCII letters, digits, dots, underscores and dashes, and begins and
    ends with a letter or digit: Kubernetes object names and UUIDs are valid.
    """
    if not 0 < len(name) <= MAX_NAME_LENGTH or not _NAME.fullmatch(name):
        shown = name if len(name) <= MAX_NAME_LENGTH else name[:32] + "..."
        raise InvalidMessageError(
            "bad_identity",
            f"{field} is {shown!r} ({len(name)} characters); expected 1 to {MAX_NAME_LENGTH} letters, "
            "digits, '.', '_' or '-', beginning and ending with a letter or digit",
        )
    return name


@lru_cache(maxsize=65_536)
def check_identity(namespace: str, endpoint: str, replica_id: str, boot_id: str) -> None:
    """Raise InvalidMessageError unless all four are valid names; valid combinations are cached."""
    check_name("namespace", namespace)
    check_name("endpoint", endpoint)
    check_name("replica_id", replica_id)
    check_name("boot_id", boot_id)


def partition_key(namespace: str, endpoint: str, replica_id: str = "") -> bytes:
    """Return the Kafka key: a replica's messages share a partition and so stay in order."""
    return f"{namespace}/{endpoint}/{replica_id}".encode()
