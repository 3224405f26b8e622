"""`make screenshots`: pictures of every view, light, dark and narrow, of a story that lasts until now.

They are written to build/screenshots; `--docs` updates those in the documentation.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright
from tests.page.conftest import FLAGS, browser_path
from tests.page.story import Life, Story
from tests.pipeline.serve.conftest import ServeProcess
from tests.pipeline.store import rows
from tests.pipeline.store.rows import all_known

from endpoint_analytics.infra.local.clickhouse.process import ClickHouseProcess
from endpoint_analytics.pipeline.store.connect import Client, connect
from endpoint_analytics.pipeline.store.migrate import migrate
from endpoint_analytics.pipeline.store.tokens import create_token

ROOT = Path(__file__).parent.parent.parent
OUT = ROOT / "build" / "screenshots"
DOCS = ROOT / "docs" / "images"
LLM = "?endpoint=acme/llm"


@dataclass(frozen=True)
class Shot:
    """A view, and the actions before the picture is taken."""

    name: str
    query: str
    scheme: str = "light"
    width: int = 1280
    height: int = 900
    signed_in: bool = True
    act: Callable[[Page], None] | None = None
    docs: bool = False


def point(selector: str, share: float) -> Callable[[Page], None]:
    def act(page: Page) -> None:
        box = page.locator(selector).first.bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + box["width"] * share, box["y"] + box["height"] / 2)

    return act


FAILED = '[data-replica="llm-7d4f-p8wvn"] .state-failed'
SHOTS = (
    Shot("sign-in", "", signed_in=False, width=900, height=600),
    Shot("list", "", height=480),
    Shot("list-dark", "", "dark", height=480),
    Shot("list-narrow", "", "dark", 390, 844),
    Shot("requests", f"{LLM}&range=1h", height=944, act=point(".u-over", 0.7), docs=True),
    Shot("requests-dark", f"{LLM}&range=1h&events=1", "dark", height=944, act=point(".u-over", 0.7)),
    Shot("requests-status", f"{LLM}&range=3h&by=status"),
    Shot("requests-narrow", f"{LLM}&range=1h", width=390, height=844),
    Shot("compute", f"{LLM}&range=1h&section=compute"),
    Shot("compute-dark", f"{LLM}&range=1h&section=compute&details=1", "dark"),
    Shot("compute-narrow", f"{LLM}&range=1h&section=compute", "dark", 390, 844),
    Shot("engine", f"{LLM}&range=1h&section=engine", act=point(".u-over", 0.7), docs=True),
    Shot("engine-dark", f"{LLM}&range=1h&section=engine&details=1", "dark"),
    Shot("engine-narrow", f"{LLM}&range=1h&section=engine", width=390, height=844),
    Shot("timeline", f"{LLM}&range=3h&section=timeline", act=point(FAILED, 0.5)),
    Shot("timeline-dark", f"{LLM}&range=3h&section=timeline", "dark", act=point(FAILED, 0.5), docs=True),
    Shot("timeline-narrow", f"{LLM}&range=1h&section=timeline", width=390, height=844),
    Shot("empty", "?endpoint=acme/new-model", width=1100, height=640),
)


def stories(now_s: int) -> tuple[Story, ...]:
    """Three endpoints: a busy one, a quick one without GPUs, and one that went silent."""
    return (
        Story(now_s),
        Story(now_s, endpoint="embedder", rate=60, median_us=18_000, gpus=0, gap_s=None, hours=1, seed=3,
              lives=(Life("embedder-0", 20_000), Life("embedder-1", 9_000))),
        Story(now_s - 900, endpoint="whisper", rate=2, median_us=2_400_000, gap_s=(1_500, 1_200), hours=1, seed=4,
              lives=(Life("whisper-0", 5_000, 900),)),
    )  # fmt: skip


def keep_alive(client: Client, stored: tuple[Story, ...], stop: threading.Event) -> None:
    """Keep storing: the current window grows each second, as it does with a running worker."""
    while not stop.wait(1):
        now_s = time.time()
        start = int(now_s) // 10 * 10
        for story in stored:
            alive = [life for life in story.lives if not life.runs_until]
            grown = [
                story.window(life.replica, start, len(alive), width_s=now_s - start + 0.1) for life in alive
            ]
            rows.insert(client, "request_windows", grown)
            rows.insert(
                client, "hardware_windows", [x for life in alive for x in story.samples(life.replica, start)]
            )
            if story.engine:
                told_now = [x for life in alive for x in story.engine_samples(life.replica, start)]
                rows.insert(client, "engine_windows", told_now)
            rows.insert(client, "boot_states", story.boots(datetime.now(UTC)))


def take(browser: Browser, address: str, token: str, shot: Shot) -> Path:
    context = browser.new_context(
        color_scheme=shot.scheme,  # type: ignore[arg-type]
        viewport={"width": shot.width, "height": shot.height},
        timezone_id="Europe/Paris",
        reduced_motion="reduce",
        is_mobile=shot.width < 500,
        has_touch=shot.width < 500,
    )
    page = context.new_page()
    if shot.signed_in:
        context.request.post(f"{address}/session", data={"token": token})
    page.goto(f"{address}/{shot.query}")
    page.locator(".stage[aria-busy=false]" if shot.signed_in else "#token").wait_for()
    page.wait_for_timeout(700)
    if shot.act:
        shot.act(page)
        page.wait_for_timeout(300)
    path = OUT / f"{shot.name}.png"
    page.screenshot(path=path)
    context.close()
    return path


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.page.screenshots")
    parser.add_argument("--docs", action="store_true", help="also renew the pictures of the documentation")
    arguments = parser.parse_args()
    path = browser_path()
    if path is None:
        parser.error("no Chromium is installed: apt-get install chromium")
    OUT.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as directory,
        ClickHouseProcess(Path(directory) / "clickhouse") as server,
    ):
        config = server.config("pictures")
        migrate(config)
        client, stop = connect(config), threading.Event()
        all_known(client)
        stored = stories(int(time.time()))
        for story in stored:
            story.store(client, datetime.now(UTC))
        token = create_token(client, "acme", "pictures", datetime.now(UTC))
        alive = threading.Thread(target=keep_alive, args=(client, stored[:2], stop))
        alive.start()
        service = ServeProcess(config, Path(directory) / "log")
        try:
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
                for shot in SHOTS:
                    picture = take(browser, f"http://127.0.0.1:{service.port}", token, shot)
                    if arguments.docs and shot.docs:
                        DOCS.mkdir(parents=True, exist_ok=True)
                        shutil.copy(picture, DOCS / picture.name)
                    print(f"{picture.relative_to(ROOT)}  {picture.stat().st_size / 1000:.0f} kB", flush=True)
                browser.close()
        finally:
            stop.set()
            alive.join()
            service.stop()


if __name__ == "__main__":
    main()
