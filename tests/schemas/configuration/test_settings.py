"""Environment variables: every name is known, commands refuse wrong ones, and errors say what to write instead."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from endpoint_analytics.infra.command import COMMANDS, main
from endpoint_analytics.schemas.configuration.settings import (
    PREFIX,
    SETTINGS,
    ConfigurationError,
    check_environment,
    invalid_setting,
    number_option,
    parse_number,
    parse_servers,
    parse_switch,
    parse_url,
    read_text,
    variable_of,
)

ROOT = Path(__file__).parents[3]
KNOWN = {variable_of(name) for name in SETTINGS}

# Valid arguments for each command, so that only the environment is refused.
WORDS = {
    "run": ["--no-demo", "--data", "/dev/null/none"],
    "kafka": ["--data", "/dev/null/none"],
    "clickhouse": ["--data", "/dev/null/none"],
    "messages": ["requests"],
    "partitions": ["list"],
    "token": ["list"],
    "agent": ["proxy", "--to", "http://127.0.0.1:1"],
    "push": ["otlp", "--endpoint", "http://127.0.0.1:1"],
    "replica": ["set", "--namespace", "a", "--endpoint", "b", "--replica-id", "c", "--state", "running"],
    "endpoint": ["set", "--namespace", "a", "--endpoint", "b", "--min-replicas", "1", "--max-replicas", "1"],
}


def test_every_variable_in_the_sources_is_known():
    names = set()
    for directory in ("agents", "pipeline", "infra", "schemas", "docs", "tests", "README.md"):
        paths = [ROOT / directory] if (ROOT / directory).is_file() else (ROOT / directory).rglob("*")
        for path in paths:
            if path.suffix in {".py", ".md", ".yaml", ".yml", ".json", ".sh"} and path != Path(__file__):
                names |= set(re.findall(rf"{PREFIX}[A-Z0-9_]*[A-Z0-9]\b", path.read_text(encoding="utf-8")))
    assert names - KNOWN == set()
    assert len(names) > 30


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_refuses_an_unknown_variable(command, monkeypatch, capsys):
    monkeypatch.setenv("ENDPOINT_ANALYTICS_CLICKHOUSE_PASWORD", "hunter2")
    assert main([command, *WORDS.get(command, [])]) == 2
    said = capsys.readouterr().err
    assert "ENDPOINT_ANALYTICS_CLICKHOUSE_PASWORD is not a known variable" in said
    assert "did you mean ENDPOINT_ANALYTICS_CLICKHOUSE_PASSWORD?" in said
    assert "hunter2" not in said


@pytest.mark.parametrize(
    ("words", "variable", "value"),
    [
        (["agent", "proxy", "--to", "http://127.0.0.1:1"], "KAFKA", "kafka"),
        (["agent", "proxy", "--to", "http://127.0.0.1:1"], "HARDWARE", "fasle"),
        (["agent", "log", "x.log", "--format", "nginx"], "SCRAPE", "ftp://127.0.0.1/metrics"),
        (["agent", "run", "--", "true"], "STATES", "2"),
        (["agent", "scrape", "http://127.0.0.1:1"], "SPOOL_BYTES", "64 MiB"),
        (["replica", *WORDS["replica"]], "KAFKA", "::1"),
        (["endpoint", *WORDS["endpoint"]], "KAFKA", "kafka:0"),
        (["worker"], "KAFKA", "kafka"),
        (["worker"], "CLICKHOUSE_URL", "tcp://127.0.0.1:9000"),
        (["signals"], "KAFKA", "kafka-1:9092,kafka-2"),
        (["signals"], "CLICKHOUSE_URL", "127.0.0.1:8123"),
        (["serve"], "CLICKHOUSE_URL", "http://127.0.0.1:99999"),
        (["migrate"], "CLICKHOUSE_DATABASE", "my-database"),
        (["migrate"], "RETENTION_1H_DAYS", "a year"),
        (["token", "list"], "CLICKHOUSE_URL", "http://:8123"),
    ],
)
def test_a_wrong_value_is_named_with_its_variable_and_an_example(words, variable, value, monkeypatch, capsys):
    for name in ("NAMESPACE", "ENDPOINT"):
        monkeypatch.setenv(PREFIX + name, "acme")
    monkeypatch.setenv(PREFIX + variable, value)
    assert main(words) in {1, 2}
    said = capsys.readouterr().err
    assert PREFIX + variable in said
    assert repr(value) in said
    assert "expected" in said
    assert SETTINGS[variable.lower()].example in said


def test_an_installed_command_says_so_in_one_line():
    environment = {**os.environ, "ENDPOINT_ANALYTICS_HARDWRE": "off"}
    command = [sys.executable, "-m", "endpoint_analytics.infra.command", "fleet", "--seconds", "1"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "endpoint-analytics fleet: ENDPOINT_ANALYTICS_HARDWRE is not a known variable: "
        "did you mean ENDPOINT_ANALYTICS_HARDWARE?\n"
    )


def test_variables_that_kubernetes_sets_for_a_service_are_ignored():
    check_environment(
        {
            "ENDPOINT_ANALYTICS_SERVICE_HOST": "10.0.0.1",
            "ENDPOINT_ANALYTICS_SERVICE_PORT": "8080",
            "ENDPOINT_ANALYTICS_SERVICE_PORT_HTTP": "8080",
            "ENDPOINT_ANALYTICS_PORT": "tcp://10.0.0.1:8080",
            "ENDPOINT_ANALYTICS_PORT_8080_TCP": "tcp://10.0.0.1:8080",
            "ENDPOINT_ANALYTICS_KAFKA_PORT_9092_TCP_ADDR": "10.0.0.1",
            "ENDPOINT_ANALYTICS_KAFKA_PORT": "tcp://10.0.0.1:9092",
            "ENDPOINT_ANALYTICS_KAFKA_SERVICE_HOST": "10.0.0.1",
            "HOME": "/",
        }
    )
    for name, value in {"KAFKA_PORT": "9092", "Kafka": "a:1", "SERVICE": "x", "": "x"}.items():
        with pytest.raises(ConfigurationError, match="is not a known variable"):
            check_environment({PREFIX + name: value})


def test_a_secret_is_not_shown():
    assert "s3cret" not in str(invalid_setting("kafka_password", "s3cret", "why s3cret"))
    assert "s3cret" not in str(invalid_setting("scrape", "ftp://user:s3cret@host/?key=s3cret"))
    for value in (
        "u:s3cret@host:9092",
        "http://u:a/s3cret@h:1/x",
        "http://u:a?s3cret@h",
        "http://u:p@s3cret@h",
        "a:1,u:s3cret@b:2",
    ):
        assert "s3cret" not in str(invalid_setting("kafka", value))
    assert invalid_setting("scrape", "x" * 900).args[0].count("x") < 250


@pytest.mark.parametrize("text", ["on", "TRUE", " yes ", "1"])
def test_switches(text):
    assert parse_switch("hardware", text) is True


@pytest.mark.parametrize("text", ["nan", "inf", "1e999", "1_000", "\u0661", "", "1s", "--1"])
def test_what_is_no_number(text):
    with pytest.raises(ConfigurationError):
        parse_number("flush_interval_s", text)


def test_numbers():
    assert (parse_number("flush_interval_s", " .5 "), parse_number("spool_bytes", "65536", int)) == (
        0.5,
        65_536,
    )
    with pytest.raises(ConfigurationError, match="spool_bytes is '1e6'"):
        parse_number("spool_bytes", "1e6", int)


def test_servers():
    assert parse_servers("kafka", "a:1, [::1]:9092 ,k_1.x:65535") == ("a:1", "[::1]:9092", "k_1.x:65535")
    assert parse_servers("kafka", "kafka.svc.cluster.local.:9092") == ("kafka.svc.cluster.local.:9092",)
    for text in (
        "",
        "a",
        "a:",
        ":1",
        "a:0",
        "a:65536",
        "a:1,",
        "::1:1",
        "[::1]",
        "http://a:1",
        "a b:1",
        "a:1;b:2",
        "a..b:1",
        "a..:1",
        ".:1",
        f"{'a' * 64}.b:1",
    ):
        with pytest.raises(ConfigurationError, match="HOST:PORT"):
            parse_servers("kafka", text)


@pytest.mark.parametrize(
    "text",
    [
        "ftp://a",
        "a:1",
        "http:/a",
        "http://",
        "http://a:",
        "http://a:0",
        "http://a:x",
        "http://[a",
        "http://a b",
        "http://ä",
    ],
)
def test_what_is_no_url(text):
    with pytest.raises(ConfigurationError, match="clickhouse_url is"):
        parse_url("clickhouse_url", text)


def test_urls():
    assert parse_url("scrape", "a:1/m", default_scheme="http").port == 1
    assert parse_url("scrape", "HTTPS://a/m").scheme == "https"
    assert parse_url("scrape", "http://[::1]:8/m").hostname == "::1"


def test_a_blank_variable_is_one_that_is_not_set():
    assert read_text({"ENDPOINT_ANALYTICS_KAFKA": " \n"}, "kafka") == ""
    with pytest.raises(KeyError):
        read_text({}, "kafk")


@pytest.mark.parametrize("text", ["nan", "x", "0", "61", "inf"])
def test_an_options_number_is_in_range(text):
    with pytest.raises(Exception, match="expected a number from 1 to 60"):
        number_option(1, 60)(text)
