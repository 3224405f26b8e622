"""Kafka, ClickHouse and the proxy for all fault tests; prints the table of results at the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.faults.rig import TABLE, Parts, Rig, Row


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Waits end with a stall (patience.py), which is more informative than the suite's own timeout."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.timeout(1800))


@pytest.fixture(scope="package")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    with Parts(tmp_path_factory.mktemp("faults")) as running:
        yield running


@pytest.fixture
def rig(parts: Parts, request: pytest.FixtureRequest) -> Iterator[Rig]:
    parts.repair()
    made = Rig(parts, request.node.name.removeprefix("test_").split("[")[0][:30].replace("_", "-"))
    yield made
    parts.proxy.reset()
    made.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if TABLE:
        terminalreporter.section("faults, each verified by the oracle without tolerance")
        terminalreporter.write_line(Row.HEAD)
        for row in TABLE:
            terminalreporter.write_line(str(row))
