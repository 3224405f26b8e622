"""A user of a stack's page: a real browser, signed in through the form."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.page.conftest import FLAGS, browser_path
from tests.support.parts import Stack


@contextmanager
def signed_in(stack: Stack) -> Iterator[Any]:
    """Yield a browser context whose first tab shows the overview page."""
    path = browser_path()
    if path is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        context = browser.new_context()
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{stack.serve_port}/")
        page.get_by_label("Access token").fill(stack.token)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("heading", name="Endpoints").wait_for()
        yield context
        browser.close()


def open_endpoint(
    context: Any, stack: Stack, namespace: str, endpoint: str, section: str = "requests"
) -> Any:
    """Return a new tab with the endpoint's last five minutes."""
    page = context.new_page()
    page.goto(
        f"http://127.0.0.1:{stack.serve_port}/?endpoint={namespace}/{endpoint}&section={section}&range=5m&refresh=1"
    )
    return page
