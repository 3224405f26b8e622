"""A real Chromium with the real service on a real ClickHouse, which contains a story with known numbers."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from tests.page.seen import Seen
from tests.page.story import Life, Story
from tests.pipeline.serve.conftest import ServeProcess
from tests.pipeline.store.rows import all_known

from endpoint_analytics.infra.local.clickhouse.process import ClickHouseProcess
from endpoint_analytics.pipeline.serve.static.static_files import DIST
from endpoint_analytics.pipeline.store.connect import Client, connect
from endpoint_analytics.pipeline.store.migrate import migrate
from endpoint_analytics.pipeline.store.tokens import create_token
from endpoint_analytics.schemas.configuration.clickhouse_config import ClickHouseConfig

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ZONE = "Europe/Paris"
SERVE_FLAGS = ("--cache", "0", "--rollup-every", "0")


def browser_path() -> str | None:
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


@pytest.fixture(scope="package")
def browser():
    path = browser_path()
    if path is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    if not (DIST / "index.html").is_file():
        pytest.fail("the page is not built: make page")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def config(tmp_path_factory) -> Iterator[ClickHouseConfig]:
    with ClickHouseProcess(tmp_path_factory.mktemp("page") / "clickhouse") as server:
        config = server.config("page")
        migrate(config)
        client = connect(config)
        all_known(client)
        client.close()
        yield config


@pytest.fixture(scope="package")
def client(config) -> Iterator[Client]:
    client = connect(config)
    yield client
    client.close()


@pytest.fixture(scope="package")
def story(client) -> Story:
    """Two and a half hours of acme/llm until now, and a smaller endpoint without GPUs."""
    now = datetime.now(UTC)
    story = Story(int(now.timestamp()) // 60 * 60)
    story.store(client, now)
    quiet = Story(
        int(now.timestamp()),
        endpoint="embedder",
        rate=5,
        median_us=18_000,
        hours=0.5,
        gap_s=None,
        gpus=0,
        lives=(Life("embedder-0", 5_000),),
    )
    quiet.store(client, now)
    return story


@pytest.fixture(scope="package")
def service(config, story, tmp_path_factory) -> Iterator[ServeProcess]:
    process = ServeProcess(config, tmp_path_factory.mktemp("service") / "log", *SERVE_FLAGS)
    yield process
    process.stop()


@pytest.fixture(scope="package")
def token(client) -> str:
    return create_token(client, "acme", "page", datetime.now(UTC))


@pytest.fixture(scope="package")
def signed_in(browser, service, token) -> dict:
    """The cookie of a user who signed in with the form."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{service.port}/")
    page.get_by_label("Access token").fill(token)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name="Endpoints").wait_for()
    state = context.storage_state()
    context.close()
    return state


@pytest.fixture
def visit(browser, service, signed_in):
    """Open an address in a separate browser; fails on console errors, and on requests to other servers."""
    contexts, troubles = [], []

    def visit(query: str = "", *, signed: bool = True, expect_trouble: bool = False, **options) -> Seen:
        settings = {
            "viewport": {"width": 1280, "height": 900},
            "timezone_id": ZONE,
            "reduced_motion": "reduce",
        }
        context = browser.new_context(**settings | options, storage_state=signed_in if signed else None)
        context.set_default_timeout(10_000)
        contexts.append(context)
        page = context.new_page()
        if not expect_trouble:
            page.on("console", lambda message: message.type == "error" and troubles.append(message.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on(
            "request", lambda request: _is_ours(request.url, service.port) or troubles.append(request.url)
        )
        page.goto(f"http://127.0.0.1:{service.port}/{query}")
        seen = Seen(page)
        if signed:
            seen.ready()
        return seen

    yield visit
    for context in contexts:
        context.close()
    assert troubles == []


def _is_ours(url: str, port: int) -> bool:
    return url.startswith((f"http://127.0.0.1:{port}/", "data:"))


@pytest.fixture
def hour(story) -> str:
    """The query string for the last hour of acme/llm in the story, as a fixed range."""
    return f"?endpoint=acme/llm&from={story.end_s - 3600}&to={story.end_s}"


@pytest.fixture
def beat(client, story):
    """Heartbeats, so that replicas run and data is fresh."""

    def beat() -> None:
        from tests.pipeline.store import rows

        rows.insert(client, "boot_states", story.boots(datetime.now(UTC)))

    return beat
