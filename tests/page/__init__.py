"""Tests of the page, a package so that the browser ends with them.

Playwright's loop runs in the main thread while it is open: tests after it that call `asyncio.run` would fail.
"""
