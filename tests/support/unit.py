"""Selects the unit tests: those that start no process and open no connection. `make test-unit` runs them.

They are found by the names that a test, its fixtures and the functions they call in tests/ refer to; if only the code
under test reaches outside, the test is marked `outside`. A unit test that starts a process or connects anyway fails.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any

import pytest

OUTSIDE = (
    "aiohttp",
    "aiokafka",
    "clickhouse_connect",
    "confluent_kafka",
    "endpoint_analytics.infra.local.clickhouse.process",
    "endpoint_analytics.infra.local.kafka.process",
    "endpoint_analytics.infra.local.system.child",
    "endpoint_analytics.infra.local.system.port",
    "http.client",
    "http.server",
    "multiprocessing",
    "playwright",
    "socket",
    "socketserver",
    "subprocess",
    "trustme",
    "urllib.request",
    "uvicorn",
    "websockets",
)
"""Modules that reach outside the test process."""

FORBIDDEN = {"subprocess.Popen", "os.fork", "os.exec", "os.posix_spawn", "socket.connect", "socket.bind"}
"""Audit events that unit tests must not cause."""


class OutsideUse:
    """Finds which functions in tests/ reach outside; each is examined once."""

    def __init__(self) -> None:
        self._found: dict[int, bool] = {}

    def __call__(self, thing: object) -> bool:
        """Return whether a function, a class or a module reaches outside the process."""
        if isinstance(thing, ModuleType):
            return _is_outside(thing.__name__)
        function = getattr(thing, "__wrapped__", thing)
        module = getattr(function, "__module__", None) or ""
        if _is_outside(module):
            return True
        if not module.startswith("tests.") or id(function) in self._found:
            return self._found.get(id(function), False)
        self._found[id(function)] = False  # recursion adds nothing
        found = any(map(self, _used(function)))
        self._found[id(function)] = found
        return found


def _is_outside(name: str) -> bool:
    return any(name == outside or name.startswith(f"{outside}.") for outside in OUTSIDE)


def _used(thing: object) -> Iterator[object]:
    """Yield the objects that a function or a class refers to: globals, members, bases."""
    if isinstance(thing, type):
        yield from thing.__bases__
        for member in vars(thing).values():
            yield getattr(member, "__func__", getattr(member, "fget", member))
    elif isinstance(thing, FunctionType):
        for code in _codes(thing.__code__):
            for name in code.co_names:
                if name in thing.__globals__:
                    yield thing.__globals__[name]


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def functions_of(item: pytest.Function) -> Iterator[Any]:
    """Yield the functions of a test and of its fixtures."""
    yield item.function
    for definitions in item._fixtureinfo.name2fixturedefs.values():
        yield from (definition.func for definition in definitions)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep only the unit tests."""
    reaches = OutsideUse()
    units = [
        item
        for item in items
        if isinstance(item, pytest.Function)
        and not item.get_closest_marker("outside")
        and not any(map(reaches, functions_of(item)))
    ]
    others = [item for item in items if item not in set(units)]
    items[:] = units
    config.hook.pytest_deselected(items=others)


def pytest_configure() -> None:
    """Enforce that unit tests do not reach outside."""
    sys.addaudithook(_forbid)


def _forbid(event: str, arguments: tuple[object, ...]) -> None:
    if event not in FORBIDDEN:
        return
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if "/tests/" in frame.f_code.co_filename and frame.f_code.co_name.startswith("test_"):
            raise RuntimeError(f"a unit test may not cause {event} {arguments!r}: mark it `outside`")
        frame = frame.f_back
