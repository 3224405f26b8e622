"""`endpoint-analytics kafka` reports when it is ready, ends on a signal, and leaves nothing behind."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from endpoint_analytics.infra.local.kafka.probe import read_answers

MAIN = [
    sys.executable,
    "-c",
    "import sys; from endpoint_analytics.infra.command import main; sys.exit(main())",
]


@contextmanager
def running(data: Path) -> Iterator[subprocess.Popen[str]]:
    command = [*MAIN, "kafka", "--data", str(data), "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_ready(process: subprocess.Popen[str]) -> tuple[str, int]:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("kafka ready 127.0.0.1:"), (line, process.communicate(timeout=15))
    host, port = line.removeprefix("kafka ready ").split(":")
    return host, int(port)


def java_of(process: subprocess.Popen[str]) -> psutil.Process:
    (java,) = psutil.Process(process.pid).children()
    return java


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_it_prints_one_line_and_ends_cleanly_on_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    with running(tmp_path) as process:
        host, port = wait_ready(process)
        assert read_answers(host, port, timeout_s=5)
        java = java_of(process)
        process.send_signal(number)
        assert process.communicate(timeout=15) == ("", "")
        assert process.returncode == 0
        assert not java.is_running()
    assert (tmp_path / "log" / ".kafka_cleanshutdown").exists()


def test_a_second_one_on_its_directory_is_an_error_and_its_own_kill_ends_java(tmp_path: Path) -> None:
    with running(tmp_path) as process:
        wait_ready(process)
        java = java_of(process)
        with running(tmp_path) as second:
            output, error = second.communicate(timeout=30)
            assert (second.returncode, output) == (1, "")
            assert error == (
                f"the data directory {tmp_path} is in use by process {process.pid}: "
                "stop it, or choose another directory\n"
            )
        process.kill()
        assert java.wait(10) is None  # not our child, so its status is not ours to know


def test_a_signal_ends_it_while_it_starts(tmp_path: Path) -> None:
    with running(tmp_path) as process:
        while not psutil.Process(process.pid).children():
            assert process.poll() is None
        process.terminate()
        assert process.communicate(timeout=15)[0] == ""
        assert process.returncode == 0


def test_it_ends_with_the_log_when_java_ends_by_itself(tmp_path: Path) -> None:
    with running(tmp_path) as process:
        wait_ready(process)
        java_of(process).kill()
        _, error = process.communicate(timeout=15)
        assert process.returncode == 1
        assert error.startswith("Kafka ended unexpectedly with status -9:\n")
        assert "Kafka Server started" in error


@pytest.mark.parametrize("port", ["-1", "65536", "x"])
def test_a_port_that_is_none_is_a_usage_error(tmp_path: Path, port: str) -> None:
    done = subprocess.run(
        [*MAIN, "kafka", "--data", str(tmp_path), f"--port={port}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "--port" in done.stderr
