"""Log files are rotated when a part starts, and the oldest is deleted."""

from pathlib import Path

from endpoint_analytics.infra.local.system.logs import rotate


def test_the_newest_three_runs_are_kept(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "x.log"
    for number in range(6):
        rotate(log)
        log.write_text(str(number))
    found = {path.name: path.read_text() for path in log.parent.iterdir()}
    assert found == {"x.log": "5", "x.log.1": "4", "x.log.2": "3", "x.log.3": "2"}


def test_an_empty_log_is_not_worth_keeping(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.touch()
    rotate(log)
    assert [path.name for path in tmp_path.iterdir()] == ["x.log"]
