"""The page's files, read once at startup, each with its compressed form, type, ETag and cache lifetime.

Asset names contain a hash of their content, so browsers may cache them forever and revalidate only the page.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

DIST = Path(__file__).parents[1] / "page" / "dist"
"""Made by build_page.py from the sources next to it."""

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".woff2": "font/woff2",
}
_CACHE_FOREVER = "public, max-age=31536000, immutable"
_REVALIDATE = "no-cache"
_BY_NAME = {"index.html": "/", "licences.txt": "/licences.txt"}
"""Files with a fixed path; all others are assets."""


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file as it is sent; `gzip_body` is None if compression gains nothing."""

    body: bytes
    gzip_body: bytes | None
    content_type: str
    cache_control: str
    etag: str

    def encoded(self, *, gzip: bool) -> tuple[bytes, str, dict[str, str]]:
        """Return the body, its ETag and its encoding headers."""
        if gzip and self.gzip_body is not None:
            return self.gzip_body, f'"{self.etag}-gzip"', {"Content-Encoding": "gzip"}
        return self.body, f'"{self.etag}"', {}


def read_static_files(directory: Path = DIST) -> dict[str, StaticFile]:
    """Return the files by path; empty if the page was not built."""
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
        _REVALIDATE if path.name in _BY_NAME else _CACHE_FOREVER,
        hashlib.sha256(body).hexdigest()[:16],
    )
