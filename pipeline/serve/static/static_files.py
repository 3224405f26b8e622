"""The page's files, read once at the start: each with its compressed form, type, tag and how long it is kept.

Names of assets hold a hash of their content, so that a browser may keep them for good and asks only for the page.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

DIST = Path(__file__).parents[1] / "page" / "dist"
"""Made by build_page.py from the sources beside it."""

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".woff2": "font/woff2",
}
_FOR_GOOD = "public, max-age=31536000, immutable"
_ASK_EACH_TIME = "no-cache"
_BY_NAME = {"index.html": "/", "licences.txt": "/licences.txt"}
"""Files that keep their name; all others are assets."""


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file as it is sent; `gzip_body` is None where compression gains nothing."""

    body: bytes
    gzip_body: bytes | None
    content_type: str
    cache_control: str
    etag: str

    def encoded(self, *, gzip: bool) -> tuple[bytes, str, dict[str, str]]:
        """Return the body, its ETag and the headers of its encoding."""
        if gzip and self.gzip_body is not None:
            return self.gzip_body, f'"{self.etag}-gzip"', {"Content-Encoding": "gzip"}
        return self.body, f'"{self.etag}"', {}


def read_static_files(directory: Path = DIST) -> dict[str, StaticFile]:
    """Return the files by path; none when the page was not built."""
    if not directory.is_dir():
        return {}
    return {
        _BY_NAME.get(path.name, f"/assets/{path.name}"): _read(path)
        for path in sorted(directory.iterdir())
        if path.suffix in _TYPES
    }


def _read(path: Path) -> StaticFile:
    body = path.read_bytes()
    compressed = path.with_name(f"{path.name}.gz")
    return StaticFile(
        body,
        compressed.read_bytes() if compressed.is_file() else None,
        _TYPES[path.suffix],
        _ASK_EACH_TIME if path.name in _BY_NAME else _FOR_GOOD,
        hashlib.sha256(body).hexdigest()[:16],
    )
