"""Header fields whose value is a list, and which may therefore be sent several times. Pure."""

from __future__ import annotations

from starlette.datastructures import Headers


def joined(headers: Headers, name: str) -> str | None:
    """Return the field's value; several fields of one name are joined as a list (RFC 9110, 5.3)."""
    values = headers.getlist(name)
    return ",".join(values) if values else None
