"""The table that `make bench` ends with. The benchmarks themselves are not tests."""

import importlib

import pytest
from tests.benchmarks import __main__ as command
from tests.benchmarks.results import GOALS, Figure, Goal, render_table

GOAL = Goal("cost", 2.0, "s")


def test_a_line_has_ours_the_goal_and_the_peers() -> None:
    figures = [
        Figure("cost", 1.5, "s", "10 replicas"),
        Figure("cost", 1234.5, "s", "10 replicas", "peer"),
        Figure("cost", 7.0, "s", "1 replica", "other"),
    ]
    assert render_table(figures, [GOAL]) == (
        "what  now    goal       peers                            shape\n"
        "cost  1.5 s  <= 2  met  peer 1,234; other 7 (1 replica)  10 replicas"
    )


def test_lines_stand_in_the_goals_order_and_what_has_no_goal_last() -> None:
    figures = [Figure(name, 1.0, "s", "any") for name in ("free", "second", "first")]
    lines = render_table(figures, [Goal("first", 1, "s"), Goal("second", 1, "s")]).splitlines()
    assert [line.split()[0] for line in lines] == ["what", "first", "second", "free"]


def test_goals_without_a_figure_are_named() -> None:
    assert render_table([], [GOAL]).splitlines()[1:] == ["not measured in this run: cost"]


@pytest.mark.parametrize(
    ("value", "at_least", "verdict"),
    [(2.0, False, "met"), (2.1, False, "missed"), (2.0, True, "met"), (1.9, True, "missed")],
)
def test_a_goal_is_met_or_missed(value: float, at_least: bool, verdict: str) -> None:
    table = render_table([Figure("cost", value, "s", "any")], [Goal("cost", 2.0, "s", at_least)])
    assert verdict in table.splitlines()[1].split()


def test_a_peer_alone_meets_no_goal() -> None:
    (line,) = render_table([Figure("cost", 1.0, "s", "any", "peer")], [GOAL]).splitlines()[1:]
    assert line.split() == ["cost", "s", "<=", "2", "peer", "1", "any"]


def test_the_last_figure_of_a_name_counts() -> None:
    table = render_table([Figure("cost", value, "s", "any") for value in (3.0, 1.0)], [GOAL])
    assert table.splitlines()[1].split()[:3] == ["cost", "1", "s"]


def test_units_may_not_differ() -> None:
    with pytest.raises(ValueError, match="cost: figures in different units: ms, s"):
        render_table([Figure("cost", 1.0, "ms", "any")], [GOAL])


def test_goals_have_names_of_their_own() -> None:
    assert len({goal.name for goal in GOALS}) == len(GOALS)


def test_the_command_prints_what_this_run_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Silent:
        @staticmethod
        def main() -> None:
            print("measured")

    class Reporting:
        @staticmethod
        def main() -> list[Figure]:
            return [Figure("cost", 1.0, "s", "any")]

    modules = {"tests.benchmarks.silent": Silent, "tests.benchmarks.reporting": Reporting}
    monkeypatch.setattr(importlib, "import_module", modules.__getitem__)
    assert command.main(["silent", "reporting"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("\n== silent\nmeasured\n\n== reporting\n\n== results\nwhat")
    assert "cost" in printed
