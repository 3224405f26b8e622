"""The command as a process on a real Kafka: killed and started again while its log grows and turns over."""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time

import pytest
from tests.agents.folded import fold
from tests.agents.log.lines import nginx_line
from tests.agents.log.test_following import Log
from tests.agents.middleware.test_uvicorn_process import read
from tests.support.parts import Child
from tests.support.waiting import eventually

from endpoint_analytics.infra.command import main
from endpoint_analytics.schemas.codec import decode_replicas, decode_requests
from endpoint_analytics.schemas.topics import REPLICAS, REQUESTS

NAMES = ["--namespace", "acme", "--endpoint", "classifier", "--replica-id", "replica-1", "--no-hardware"]


def reader(kafka_config, path, directory, **environment) -> Child:
    words = [sys.executable, "-m", "endpoint_analytics.infra.command", "agent", "log", str(path), *NAMES]
    words += ["--kafka", kafka_config.bootstrap_servers, "--topic-prefix", kafka_config.topic_prefix]
    words += ["--format", "nginx", "--from", "start"]
    settings = {"ENDPOINT_ANALYTICS_FLUSH_INTERVAL_S": "0.05", **environment}
    return Child(words, {**os.environ, **settings}, directory / "reader.log", r"log reader ready .*\n")


def stored(kafka_config):
    return [(time.time_ns() // 1_000_000, value) for value in asyncio.run(read(kafka_config, REQUESTS))]


def end(child: Child) -> None:
    child.kill()
    child.process.stdout.close()


def test_kills_lose_nothing_and_double_nothing(kafka_config, tmp_path):
    chance = random.Random(7)
    log = Log(tmp_path / "logs")
    written = 0

    def write(number: int) -> None:
        nonlocal written
        for _ in range(number):
            log.file.write((nginx_line(time.time(), chance.choice([200, 404, 503])) + "\n").encode())
        written += number

    def finished() -> int:
        return sum(len(decode_requests(value).finished.at_us) for _, value in stored(kafka_config))

    write(1)
    for turn in range(9):
        child = reader(kafka_config, log.path, tmp_path)
        child.start()
        try:
            for _ in range(chance.randrange(3, 12)):
                write(chance.randrange(200))
                time.sleep(chance.random() * 0.05)
            if turn in {2, 5}:
                log.rename()
                write(10)
            if turn == 8:
                eventually(finished, lambda found: found >= written, 60, "all lines in Kafka")
                assert child.stop(30) == 0
        finally:
            end(child)
    log.close()
    result = fold(stored(kafka_config))
    (boot,) = result.boots.values()
    assert (boot["finished"], boot["missing"], result.rejected) == (written, 0, {})
    last = decode_requests(stored(kafka_config)[-1][1])
    assert last.totals.finished == last.totals.arrived == written
    assert result.boot_totals(last.boot_id).status == last.totals.status
    states = {decode_replicas(value).state for value in asyncio.run(read(kafka_config, REPLICAS))}
    assert states == {"initializing", "running", "terminated"}


def test_one_log_is_counted_once_whatever_the_position_file(capsys, tmp_path, kafka_config):
    log = Log(tmp_path / "logs")
    child = reader(kafka_config, log.path, tmp_path)
    child.start()
    words = ["agent", "log", str(log.path), "--format", "nginx", "--topic-prefix", kafka_config.topic_prefix]
    try:
        assert main([*words, *NAMES]) == 2
        assert "another log reader already reads" in capsys.readouterr().err
        assert main([*words, *NAMES, "--position", str(tmp_path / "other")]) == 2
        assert "would count each request twice" in capsys.readouterr().err
        other = [*NAMES[:3], "other", *NAMES[4:]]
        assert main([*words, *other]) == 2  # another endpoint's, and the same position file
        assert "--position" in capsys.readouterr().err
        assert not (tmp_path / "other").exists()
    finally:
        end(child)
        log.close()


def test_a_pipe_is_refused(capsys, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert main(["agent", "log", str(tmp_path / "pipe"), "--format", "nginx", *NAMES]) == 2
    assert "is not a regular file" in capsys.readouterr().err


def test_a_missing_directory_is_refused(capsys, tmp_path):
    assert main(["agent", "log", str(tmp_path / "nosuch" / "log"), "--format", "nginx", *NAMES]) == 2
    assert (
        f"the directory {tmp_path / 'nosuch'} of the access log log does not exist" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--format", "pattern"], "--pattern require each other"),
        (["--format", "nginx", "--pattern", "x"], "--pattern require each other"),
        (["--format", "pattern", "--pattern", "("], "not a valid regular expression"),
        (["--format", "nginx", "--position", "/nowhere/position"], "--position"),
        (["--format", "nginx", "--exclude-paths", "health"], "exclude_paths is 'health'"),
        (["--format", "nginx", "--scrape", "ftp://a"], "scrape is 'ftp://a'"),
    ],
)
def test_unusable_settings_are_reported(capsys, tmp_path, words, said):
    assert main(["agent", "log", str(tmp_path / "access.log"), *words, *NAMES]) == 2
    assert said in capsys.readouterr().err
