"""A page of another origin gets nothing, and a rebound DNS name is not accepted as the server's name."""

import http.server
import threading

import pytest
from tests.page.conftest import FLAGS, browser_path

from endpoint_analytics.infra.local.clickhouse.origin import name_of, refusal_reason
from endpoint_analytics.infra.local.clickhouse.process import ClickHouseProcess

from .conftest import Http

REBOUND = "rebound.example"


@pytest.mark.parametrize(
    ("bound", "host", "ours"),
    [
        ("127.0.0.1", "127.0.0.1:8123", True),
        ("127.0.0.1", "localhost:8123", True),
        ("127.0.0.1", "LOCALHOST.", True),
        ("127.0.0.1", "[::1]:8123", True),
        ("127.0.0.1", "127.0.0.2", True),
        ("127.0.0.1", "", True),  # HTTP/1.0, which no browser speaks
        ("127.0.0.1", "clickhouse:8123", True),
        ("127.0.0.1", "10.1.2.3:8123", False),
        ("127.0.0.1", "rebound.example:8123", False),
        ("127.0.0.1", "127.0.0.1.rebound.example", False),
        ("127.0.0.1", "localhost.rebound.example", False),
        ("127.0.0.1", "127.0.0.1@rebound.example", False),
        ("127.0.0.1", "[", False),
        ("10.1.2.3", "10.1.2.3:8123", True),
        ("0.0.0.0", "10.1.2.3:8123", True),
        ("0.0.0.0", "rebound.example:8123", False),
        ("db.internal", "db.internal:8123", True),
    ],
)
def test_the_hosts_that_are_ours(bound, host, ours):
    assert (refusal_reason({"host": host} if host else {}, bound, {"clickhouse"}) == "") is ours


def test_names():
    assert [name_of(host) for host in ("A.b:1", "[::1]:1", "x.", "[", "a:b")] == ["a.b", "::1", "x", "", "a"]


def test_what_browsers_say_of_a_page(http_query):
    def status(**headers):
        return http_query(
            "SELECT 1", headers={name.replace("_", "-"): value for name, value in headers.items()}
        ).status

    assert status(Host="rebound.example") == 403
    assert status(Origin="http://evil.example") == 403
    assert status(Origin="null") == 403
    assert status(Origin="http://127.0.0.1:1") == 403  # another port is another origin
    assert status(Sec_Fetch_Site="cross-site") == 403
    assert status(Sec_Fetch_Site="same-site") == 403
    assert status(Sec_Fetch_Site="none") == 200  # typed into the address bar
    preflight = http_query(
        method="OPTIONS", headers={"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    )
    assert preflight.status == 403
    assert not any(name.startswith("access-control") for name in preflight.headers)
    plain = http_query("SELECT 1", add_http_cors_header=1)
    assert not any(name.startswith("access-control") for name in plain.headers)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
def test_methods_that_are_neither_reading_nor_posting_do_nothing(http_query, method):
    answer = http_query(method=method, query="CREATE TABLE made_by_method (a UInt8) ENGINE = Memory")
    assert answer.status == 405
    assert http_query("EXISTS TABLE made_by_method").text == "0\n"


def test_a_name_that_is_allowed(tmp_path):
    with ClickHouseProcess(tmp_path / "data", words=("--allowed-hosts", "DB.example, other")) as process:
        ask = Http(process)
        assert ask("SELECT 1", headers={"Host": "db.example:8123"}).status == 200
        assert ask("SELECT 1", headers={"Host": "third.example"}).status == 403


@pytest.fixture
def pages():
    """A separate site, like that of an attacker."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>innocent</title>")

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_a_real_page_of_another_origin(server, http_query, pages):
    """The worst case: it knows the password, and tries everything that needs no permission from the server."""
    path = browser_path()
    if path is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    password = server.config().password
    here = f"http://127.0.0.1:{server.port}"
    login = f"user=default&password={password}"
    attack = """async (sql, url, options) => {
        try { const r = await fetch(url, options); return r.type + ' ' + r.status + ' ' + await r.text() }
        catch (e) { return 'refused' }
    }""".replace("(sql, url, options)", "([url, options])")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path,
            args=[*FLAGS, f"--host-resolver-rules=MAP {REBOUND} 127.0.0.1"],
        )
        try:
            page = browser.new_page()
            made = "CREATE TABLE made_by_page (a UInt8) ENGINE = MergeTree ORDER BY a"
            page.goto(f"http://localhost:{pages}/")
            url = f"{here}/?{login}"
            for options in (
                {"method": "POST", "body": made},
                {"method": "POST", "body": made, "mode": "no-cors"},
                {"method": "POST", "mode": "no-cors", "body": made, "credentials": "include"},
                {"method": "POST", "body": made, "headers": {"X-ClickHouse-User": "default"}},
            ):
                answer = page.evaluate(attack, [url, options])
                assert answer == "refused" or answer.startswith("opaque"), answer
            page.set_content(
                f'<form action="{url}" method="post" enctype="text/plain"><input name="{made} -- " value=""></form>'
            )
            page.evaluate("document.forms[0].submit()")
            page.wait_for_url(f"{here}/**")
            assert "another origin" in page.content()
            # The attacker's name now resolves to the server: to the browser, page and server have the same origin.
            rebound = f"http://{REBOUND}:{server.port}"
            page.goto(f"{rebound}/ping")
            assert "is not this server" in page.content()
            answer = page.evaluate(
                attack, [f"{rebound}/?{login}", {"method": "POST", "body": "SELECT 'got in'"}]
            )
            assert answer.startswith("basic 403")
            assert "got in" not in answer
            # A query typed into the address bar is answered.
            page.goto(f"{here}/?{login}&query=SELECT+'asked+for'+FORMAT+JSON")
            assert "asked for" in page.content()
        finally:
            browser.close()
    assert http_query("EXISTS TABLE made_by_page").text == "0\n"
