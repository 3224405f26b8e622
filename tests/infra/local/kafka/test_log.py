"""Only lines logged since the last start are read."""

from pathlib import Path

from endpoint_analytics.infra.local.kafka.log import ERROR_LINES, TAIL_LINES, ServerLog, read_tail


def test_lines_before_the_mark_are_not_read(tmp_path: Path) -> None:
    log = ServerLog(tmp_path)
    log.mark()
    assert log.read_tail() == []
    (tmp_path / "server.log").write_text("before\n")
    assert log.read_tail() == ["before"]
    log.mark()
    with (tmp_path / "server.log").open("a") as file:
        file.write("after 1\nafter 2\n")
    assert log.read_tail() == ["after 1", "after 2"]


def test_a_rotated_log_is_read_from_its_start(tmp_path: Path) -> None:
    path = tmp_path / "server.log"
    path.write_text("a long line before\n")
    log = ServerLog(tmp_path)
    log.mark()
    path.write_text("new\n")
    assert log.read_tail() == ["new"]


def test_only_the_last_lines_are_read(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("".join(f"{number}\n" for number in range(20_000)))
    assert read_tail(path) == [str(number) for number in range(20_000 - TAIL_LINES, 20_000)]


def test_an_error_is_not_cut_away_by_what_was_logged_after_it(tmp_path: Path) -> None:
    log = ServerLog(tmp_path)
    error = ["2026-11-29T14:33:25,689 ERROR Kafka$: Exiting Kafka", "java.lang.RuntimeException: no port"]
    later = [f"2026-11-29T14:33:25,7{number:02} INFO Metrics: closed" for number in range(TAIL_LINES)]
    trace = [
        "\tat kafka.Kafka.main(Kafka.scala)",
        "Caused by: java.net.BindException: in use",
        "\t... 9 more",
    ]
    (tmp_path / "server.log").write_text("\n".join([later[0], *error, *trace, *later]))
    assert log.read_tail() == [*error, trace[1], *later]
    (tmp_path / "server.log").write_text("\n".join([*error * 100, *later]))
    assert log.read_tail() == [*(error * 100)[-ERROR_LINES:], *later]
