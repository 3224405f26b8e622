"""Which requests are meant for this server and sent by no strange page: the Host and what browsers say of a page.

Pure. A page of another origin makes a browser send `Origin` or `Sec-Fetch-Site`, which no page can change; a name that
was bound anew to this address (DNS rebinding) stands in `Host`. Programs send a Host alone, or none.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

_OWN_SITE = frozenset({"same-origin", "none"})
_WILDCARDS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - what is listened on is not decided here


def strange(header: Mapping[str, str], bound: str, allowed: Collection[str]) -> str:
    """Why a request is refused, empty when it is not. `bound` is the address listened on, `allowed` other names."""
    host = header.get("host", "")
    if host and not _is_ours(name_of(host), bound.lower(), allowed):
        return (
            f"the Host {host!r} is not this server: ask for it by the address it listens on, or allow the name "
            "with --allowed-hosts"
        )
    origin = header.get("origin", "")
    if header.get("sec-fetch-site", "none") not in _OWN_SITE or (
        origin and urlsplit(origin).netloc.lower() != host.lower()
    ):
        return "a page of another origin may not ask this server"
    return ""


def name_of(host: str) -> str:
    """The name or address in a Host header, without its port and brackets."""
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
    return address.is_loopback or bound in _WILDCARDS  # no name can be bound to what is an address itself
