"""The configuration file: its settings where the environment has none, and errors that name what is wrong."""

import os
import subprocess
import sys

import pytest

from endpoint_analytics.agents.core.config import read_config
from endpoint_analytics.schemas.configuration.config_file import (
    read_config_file,
    with_config_file,
    without_secrets,
)
from endpoint_analytics.schemas.configuration.settings import ConfigurationError

VARIABLE = "ENDPOINT_ANALYTICS_CONFIG_FILE"


@pytest.fixture
def file(tmp_path):
    def write(text, mode=0o644):
        path = tmp_path / "settings.toml"
        path.write_text(text)
        path.chmod(mode)
        return path

    return write


def test_a_setting_is_read_as_if_it_were_a_variable(file):
    path = file(
        'kafka = "broker-1:9092"\nhardware = false\nstates = true\nspool_bytes = 1000000\n'
        'flush_interval_s = 0.5\nexclude_paths = ["/health", "/metrics"]\n'
    )
    found = with_config_file({VARIABLE: str(path), "PATH": "/bin"})
    assert found == {
        VARIABLE: str(path),
        "PATH": "/bin",
        "ENDPOINT_ANALYTICS_KAFKA": "broker-1:9092",
        "ENDPOINT_ANALYTICS_HARDWARE": "off",
        "ENDPOINT_ANALYTICS_STATES": "on",
        "ENDPOINT_ANALYTICS_SPOOL_BYTES": "1000000",
        "ENDPOINT_ANALYTICS_FLUSH_INTERVAL_S": "0.5",
        "ENDPOINT_ANALYTICS_EXCLUDE_PATHS": "/health,/metrics",
    }
    assert with_config_file({"PATH": "/bin"}) == {"PATH": "/bin"}


def test_the_environment_takes_precedence(file):
    path = file('kafka = "a:1"\nkafka_password_file = "/run/secrets/kafka"\nkafka_username = "file"\n')
    found = with_config_file(
        {
            VARIABLE: str(path),
            "ENDPOINT_ANALYTICS_KAFKA": "b:2",
            "ENDPOINT_ANALYTICS_KAFKA_PASSWORD": "s3cret",
        }
    )
    assert found["ENDPOINT_ANALYTICS_KAFKA"] == "b:2"
    assert found["ENDPOINT_ANALYTICS_KAFKA_USERNAME"] == "file"
    assert "ENDPOINT_ANALYTICS_KAFKA_PASSWORD_FILE" not in found  # both would be refused


def test_an_empty_variable_is_not_set(file):
    path = file('kafka = "a:1"\nkafka_password_file = "/run/secrets/kafka"\n')
    empty = {"ENDPOINT_ANALYTICS_KAFKA": "", "ENDPOINT_ANALYTICS_KAFKA_PASSWORD": "", "OTHER": ""}
    assert with_config_file({VARIABLE: str(path), **empty}) == {
        VARIABLE: str(path),
        "OTHER": "",
        "ENDPOINT_ANALYTICS_KAFKA": "a:1",
        "ENDPOINT_ANALYTICS_KAFKA_PASSWORD_FILE": "/run/secrets/kafka",
    }


def test_child_processes_do_not_inherit_the_secrets_of_the_file(file):
    path = file('clickhouse_password = "s3cret"\nclickhouse_user = "me"\n', 0o600)
    found = without_secrets(with_config_file({VARIABLE: str(path)}))
    assert found == {VARIABLE: str(path), "ENDPOINT_ANALYTICS_CLICKHOUSE_USER": "me"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('kafak = "a:1"', "kafak is not a setting: did you mean kafka?"),
        ("[kafka]\nservers = 1", "kafka must be a text in quotes, or a list"),
        ("spool_bytes = [1, 2]", "spool_bytes must be a number"),
        ("spool_bytes = 1e9", "spool_bytes must be a number: expected a whole number"),
        ("namespace = true", "namespace must be a text in quotes"),
        ('namespace = ["a"]', "namespace must be a text in quotes"),
        ('kafka = "a\\u0000"', "kafka must be a text"),
        ('exclude_paths = ["/a,b"]', "without commas in them"),
        ("kafka_password = 1.10", "kafka_password must be a text in quotes"),
        ("hardware = 1.5", "hardware must be true, false or a text"),
        ('ENDPOINT_ANALYTICS_KAFKA = "a:1"', "is not a setting: did you mean kafka?"),
        ('KAFKA_USERNAME = "a"', "is not a setting: did you mean kafka_username?"),
        ('kafka = "a:1"\nkafka = "b:1"', "kafka is given twice"),
        (f"spool_bytes = {'9' * 5000}", "settings.toml is not TOML"),
        (f"kafka = {'[' * 5000}", "settings.toml is not TOML"),
        ('config_file = "other"', "config_file is not a setting"),
        ("kafka = \n", "settings.toml is not TOML: Invalid value (at line 1, column 9)"),
    ],
)
def test_what_is_wrong_is_named(file, text, said):
    with pytest.raises(ConfigurationError, match=r"settings\.toml") as error:
        read_config_file(file(text))
    assert said in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        '\nkafka = "a:1"\n"kafak" = 1',
        "\n\n[kafka_]\nservers = 1",
        "# kafak = 1\n\nkafak.servers = 1",
        '\n\nkafka_password = "s3cret" # \udce9',
    ],
)
def test_the_line_is_named(tmp_path, text):
    path = tmp_path / "settings.toml"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ConfigurationError, match=r"settings\.toml:3: ") as error:
        read_config_file(path)
    assert "s3cret" not in str(error.value)


def test_a_byte_order_mark_and_windows_ends_of_lines_are_read(tmp_path):
    path = tmp_path / "settings.toml"
    path.write_bytes(b'\xef\xbb\xbfkafka = "a:1"\r\nspool_bytes = 70000\r\n')
    assert read_config_file(path) == {"kafka": "a:1", "spool_bytes": "70000"}


def test_a_home_that_does_not_exist():
    with pytest.raises(ConfigurationError, match="config_file is '~no-such-user/"):
        with_config_file({VARIABLE: "~no-such-user/settings.toml"})


def test_an_invalid_value_names_the_file_that_it_may_come_from(file, monkeypatch):
    path = file('namespace = "acme"\nendpoint = "llm"\nflush_interval_s = "soon"\n')
    monkeypatch.setenv(VARIABLE, str(path))
    with pytest.raises(ConfigurationError, match=f"flush_interval_s in {path}$"):
        read_config()
    monkeypatch.delenv(VARIABLE)
    with pytest.raises(ConfigurationError, match=r"_FLUSH_INTERVAL_S$"):
        read_config(
            environment={"ENDPOINT_ANALYTICS_FLUSH_INTERVAL_S": "soon"}, namespace="acme", endpoint="llm"
        )


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigurationError, match=r"config_file is .*nowhere.* No such file"):
        read_config_file(tmp_path / "nowhere")


def test_others_may_not_read_secrets(file):
    text = 'clickhouse_password = "s3cret"'
    with pytest.raises(
        ConfigurationError, match="clickhouse_password, and others may read it: chmod 600"
    ) as error:
        read_config_file(file(text, 0o640))
    assert "s3cret" not in str(error.value)
    assert read_config_file(file(text, 0o600)) == {"clickhouse_password": "s3cret"}


def test_an_agent_in_a_server_reads_it(file, monkeypatch):
    monkeypatch.setenv(
        VARIABLE, str(file('namespace = "acme"\nendpoint = "llm"\nkafka = "a:1"\nhardware = false\n'))
    )
    config = read_config()
    assert (config.namespace, config.endpoint, config.hardware) == ("acme", "llm", False)
    assert config.kafka.bootstrap_servers == "a:1"
    assert "ENDPOINT_ANALYTICS_NAMESPACE" not in os.environ  # the server's environment stays as it is


@pytest.mark.outside
def test_a_command_reads_it(file):
    path = file('clickhouse_url = "http://127.0.0.1:1"\n')
    words = [sys.executable, "-m", "endpoint_analytics.infra.command", "token", "list"]
    done = subprocess.run(
        words, env=os.environ | {VARIABLE: str(path)}, capture_output=True, text=True, check=False
    )
    assert "no ClickHouse answers at http://127.0.0.1:1" in done.stderr
    path = file('clickhouse_uri = "http://127.0.0.1:1"\n')
    done = subprocess.run(
        words, env=os.environ | {VARIABLE: str(path)}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, "did you mean clickhouse_url?" in done.stderr) == (2, True)
