"""Whether a request comes from our own page, judged by the headers that browsers add. Pure.

There are no CORS headers, and the cookie is SameSite=Strict; this is the second line of defense. Clients other than
browsers send neither header, and no cookie that they did not request.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers


def is_same_site(headers: Headers, *, changes: bool) -> bool:
    """Whether the request may use the cookie. With `changes`, it modifies something, so only our page may send it.

    A read may also be started by the user, from a typed or bookmarked address (Sec-Fetch-Site: none).
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
    """Whether the page was loaded over https, here or at a proxy in front. It can only make a cookie stricter."""
    return scheme == "https" or headers.get("x-forwarded-proto", "").split(",")[0].strip().lower() == "https"
