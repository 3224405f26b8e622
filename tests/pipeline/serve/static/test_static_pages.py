"""The page's files over HTTP: types, encodings, cache lifetimes, and the message if there are none."""

import asyncio
import gzip

import pytest
from starlette.requests import Request

from endpoint_analytics.pipeline.serve.static.static_files import read_static_files
from endpoint_analytics.pipeline.serve.static.static_pages import StaticPages


@pytest.fixture
def directory(tmp_path):
    (tmp_path / "index.html").write_text("<!doctype html>")
    (tmp_path / "app-AB12.js").write_text("let a = 1;" * 50)
    (tmp_path / "app-AB12.js.gz").write_bytes(gzip.compress(b"let a = 1;" * 50))
    (tmp_path / "inter-CD34.woff2").write_bytes(b"wOF2")
    (tmp_path / ".built").touch()
    return tmp_path


def get(directory, path, **headers):
    pages = StaticPages(read_static_files(directory))
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "headers": raw,
        "query_string": b"",
        "server": ("x", 1),
    }
    return asyncio.run(pages.file(Request(scope)))


def test_the_page_is_asked_about_each_time(directory):
    answer = get(directory, "/")
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "unsafe-inline" not in answer.headers["content-security-policy"]
    assert answer.headers["x-frame-options"] == "DENY"
    again = get(directory, "/", if_none_match=answer.headers["etag"])
    assert (again.status_code, again.body) == (304, b"")


def test_assets_are_kept_for_good_and_sent_as_they_were_compressed(directory):
    plain = get(directory, "/assets/app-AB12.js")
    packed = get(directory, "/assets/app-AB12.js", accept_encoding="br, gzip")
    assert plain.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert plain.headers["content-type"] == "text/javascript; charset=utf-8"
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body
    assert packed.headers["etag"] != plain.headers["etag"]
    assert packed.headers["vary"] == "Accept-Encoding"


def test_a_font_is_compressed_by_its_format(directory):
    answer = get(directory, "/assets/inter-CD34.woff2", accept_encoding="gzip")
    assert "content-encoding" not in answer.headers
    assert answer.headers["content-type"] == "font/woff2"


@pytest.mark.parametrize(
    "path", ["/assets/nothing.js", "/assets/.built", "/assets/..%2findex.html", "/assets/index.html"]
)
def test_only_what_is_there_is_served(directory, path):
    assert get(directory, path).status_code == 404


def test_without_a_built_page_it_says_how_to_make_one(tmp_path):
    answer = get(tmp_path / "none", "/")
    assert answer.status_code == 404
    assert b"make page" in answer.body
