"""The command's settings: what it refuses to start with, and that it never shows the token."""

import socket

import pytest

from endpoint_analytics.infra.command import main

TOKEN = "s3cret-token"


@pytest.fixture
def refused(capsys):
    """Return the one line that the command ends with."""

    def run(*words: str) -> str:
        assert main(["agent", "otlp", *words]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        return line

    return run


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0", "otlp.example.com:4318"])
def test_other_machines_need_a_token(refused, listen):
    assert "must present a token" in refused("--listen", listen)


@pytest.mark.parametrize("content", ["", "\n", "s3cr\x07et-token\n", "s3crét-token\n"])
def test_a_token_that_cannot_be_used(refused, tmp_path, content):
    file = tmp_path / "token"
    file.write_text(content)
    assert "et-token" not in refused("--token-file", str(file))


def test_a_token_in_two_places(refused, monkeypatch, tmp_path):
    file = tmp_path / "token"
    file.write_text(TOKEN)
    monkeypatch.setenv("ENDPOINT_ANALYTICS_OTLP_TOKEN", TOKEN)
    monkeypatch.setenv("ENDPOINT_ANALYTICS_OTLP_TOKEN_FILE", str(file))
    line = refused()
    assert "ENDPOINT_ANALYTICS_OTLP_TOKEN_FILE are both set" in line
    assert TOKEN not in line


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["--namespace", "a/b"], "namespace"),
        (["--endpoint", "-"], "endpoint"),
        (["--replica-id", "a b"], "replica_id"),
        (["--listen", "nowhere"], "--listen"),
        (["--tls-key", "/none"], "--tls-certificate"),
        (["--tls-certificate", "/none"], "/none"),
        (["--kafka", "nowhere"], "kafka"),
    ],
)
def test_wrong_settings(refused, words, shown):
    assert shown in refused(*words)


@pytest.mark.outside
def test_a_port_that_is_taken(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["agent", "otlp", "--listen", f"127.0.0.1:{port}", "--kafka", "127.0.0.1:1"]) == 1
    said = (
        f"cannot listen on 127.0.0.1:{port}: Address already in use: choose another address with --listen\n"
    )
    assert capsys.readouterr().err == f"endpoint-analytics agent otlp: {said}"
