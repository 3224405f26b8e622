"""Kafka, ClickHouse and the proxy for all fault tests; the table of what they found at the end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.faults.rig import TABLE, Parts, Rig, Row


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    with Parts(tmp_path_factory.mktemp("faults")) as running:
        yield running


@pytest.fixture
def rig(parts: Parts, request: pytest.FixtureRequest) -> Iterator[Rig]:
    parts.mend()
    made = Rig(parts, request.node.name.removeprefix("test_").split("[")[0][:30].replace("_", "-"))
    yield made
    parts.proxy.reset()
    made.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if TABLE:
        terminalreporter.section("faults, each judged by the oracle without tolerance")
        terminalreporter.write_line(Row.HEAD)
        for row in TABLE:
            terminalreporter.write_line(str(row))
