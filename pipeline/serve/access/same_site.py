"""Whether a request comes from our own page: what browsers say of where it began. Pure.

There are no CORS headers, and the cookie is SameSite=Strict; this is the second lock. A program that is no
browser sends neither header, and no cookie that it did not ask for.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers


def is_same_site(headers: Headers, *, changes: bool) -> bool:
    """Whether the request may use the cookie; `changes`: it changes something, so that only our page may send it.

    A read may also begin with the person: an address that was typed or kept (Sec-Fetch-Site: none).
    """
    site = headers.get("sec-fetch-site")
    if site is not None and site != "same-origin" and (changes or site != "none"):
        return False
    origin = headers.get("origin")
    if origin is None:
        return True
    try:
        return bool(origin) and urlsplit(origin).netloc.lower() == headers.get("host", "").lower() != ""
    except ValueError:
        return False


def is_https(scheme: str, headers: Headers) -> bool:
    """Whether the page came over https, here or at the proxy before us. It can only make a cookie stricter."""
    return scheme == "https" or headers.get("x-forwarded-proto", "").split(",")[0].strip().lower() == "https"
