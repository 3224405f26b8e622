"""The exact text that a run shows, on a terminal and in a file."""

import io

import pytest

from endpoint_analytics.infra.local.supervise import Report
from endpoint_analytics.infra.local.terminal import Terminal


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_in_a_file_each_part_has_one_line_and_nothing_is_taken_back() -> None:
    file = io.StringIO()
    terminal = Terminal(file)
    terminal.show(Report("Kafka", "starting"))
    terminal.progress("Kafka", "3 of 46 jars")
    terminal.show(Report("Kafka", "up", "127.0.0.1:9092", 2.14))
    terminal.show(Report("Worker", "ended", "ended with status -9", 0.5))
    terminal.show(Report("Worker", "given up", "did not start"))
    terminal.show(Report("Kafka", "stopped", "", 0.4))
    assert file.getvalue() == (
        "    3 of 46 jars\n"
        "  ✓ Kafka           127.0.0.1:9092                     2.1 s\n"
        "  ! Worker ended with status -9: restarting in 0.5 s\n"
        "  ! Worker did not start: giving up\n"
        "  ✓ Kafka           stopped                            0.4 s\n"
    )


def test_on_a_terminal_what_is_under_way_is_shown_and_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    screen = Screen()
    terminal = Terminal(screen)
    terminal.begin("Kafka")
    terminal.begin("ClickHouse")
    terminal.progress("Kafka", "3 of 46 jars")
    terminal.done("ClickHouse", "x", 1)
    terminal.forget()
    assert screen.getvalue().split("\r\033[K") == [
        "",
        "  … Kafka",
        "  … Kafka, ClickHouse",
        "  … Kafka (3 of 46 jars), ClickHouse",
        "  ✓ ClickHouse      x                                  1.0 s\n  … Kafka (3 of 46 jars)",
        "",
    ]


def test_a_terminal_that_is_gone_is_no_error() -> None:
    file = io.StringIO()
    terminal = Terminal(file)
    file.close()
    terminal.print("nobody reads this")
