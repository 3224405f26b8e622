"""Refuses requests that are not meant for this server, or that a page of another origin makes a browser send.

Pure. For a page of another origin, a browser sends `Origin` or `Sec-Fetch-Site`, which no page can change; after DNS
rebinding, `Host` contains the attacker's name. Other programs send only a Host, or none.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

_OWN_SITE = frozenset({"same-origin", "none"})
_WILDCARDS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - only compared, never bound


def refusal_reason(header: Mapping[str, str], bound: str, allowed: Collection[str]) -> str:
    """Return why a request is refused, or "". `bound` is the server's listening address, `allowed` are other names."""
    host = header.get("host", "")
    if host and not _is_ours(name_of(host), bound.lower(), allowed):
        return (
            f"the Host {host!r} is not this server: use the address it listens on, or allow the name "
            "with --allowed-hosts"
        )
    origin = header.get("origin", "")
    if header.get("sec-fetch-site", "none") not in _OWN_SITE or (
        origin and urlsplit(origin).netloc.lower() != host.lower()
    ):
        return "a page of another origin may not query this server"
    return ""


def name_of(host: str) -> str:
    """Return the name or address in a Host header, without port and brackets."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _is_ours(name: str, bound: str, allowed: Collection[str]) -> bool:
    if name in ("localhost", bound) or name in allowed:
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return address.is_loopback or bound in _WILDCARDS  # an address cannot be rebound the way a name can
