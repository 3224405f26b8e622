"""The command as a process, on a real Kafka: what the clients saw is what was sent, until the last batch."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys

import pytest
from tests.agents.behaviours import Seen, ask
from tests.agents.middleware.test_uvicorn_process import read
from tests.agents.proxy.running import behaviour_server
from tests.support.parts import Child

from endpoint_analytics.agents.command.agent_options import agent_config_of
from endpoint_analytics.agents.command.proxy_command import add_arguments
from endpoint_analytics.infra.command import main
from endpoint_analytics.schemas.codec import decode_replicas, decode_requests
from endpoint_analytics.schemas.topics import REPLICAS, REQUESTS

NAMES = ["--namespace", "acme", "--endpoint", "classifier", "--replica-id", "replica-1"]


def test_the_whole_life_of_a_proxy(kafka_config, tmp_path):
    server, server_port = behaviour_server(tmp_path)
    proxy = Child(
        [
            *(sys.executable, "-m", "endpoint_analytics.infra.command", "agent", "proxy"),
            *("--to", f"http://127.0.0.1:{server_port}", "--listen", "127.0.0.1:0", *NAMES),
            *("--kafka", kafka_config.bootstrap_servers, "--topic-prefix", kafka_config.topic_prefix),
            *("--no-hardware", "--drain", "5", "--exclude-paths", "/health, /status/204"),
        ],
        os.environ,
        tmp_path / "proxy.log",
        r"proxy ready http://127.0.0.1:(\d+) to http://127.0.0.1:\d+\n",
    )
    seen = Seen()
    try:
        port = int(proxy.start()[1])
        for path in ("/plain", "/status/404", "/stream", "/broken", "/broken_stream"):
            ask(port, seen, path)
        ask(port, Seen(), "/status/204")
        server.kill()
        ask(port, seen, "/plain")
        assert proxy.stop(30) == 0
    finally:
        proxy.kill()
        server.kill()
        for child in (proxy, server):
            child.process.stdout.close()
    batches = [decode_requests(value) for value in asyncio.run(read(kafka_config, REQUESTS))]
    assert [batch.seq for batch in batches] == list(range(len(batches)))
    totals = batches[-1].totals
    expected = seen.accepted().totals
    names = ("arrived", "finished", "aborted_pending", "aborted_streaming", "status")
    assert {name: getattr(totals, name) for name in names} == {
        name: getattr(expected, name) for name in names
    }
    assert totals.finished == sum(len(batch.finished.at_us) for batch in batches) == 5
    states = [decode_replicas(value).state for value in asyncio.run(read(kafka_config, REPLICAS))]
    assert states[:3] == ["initializing", "running", "failed"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--to", "ftp://a"], "--to is 'ftp://a'"),
        (["--to", "http://a/path"], "--to is"),
        (["--to", "http://a:99999"], "--to is"),
        (["--to", "http://a", "--listen", "nonsense"], "--listen is 'nonsense'"),
        (["--to", "http://a", "--hold", "-1"], "hold_s is -1"),
        (["--to", "http://a", "--response-timeout", "0"], "response_timeout_s is 0"),
        (["--to", "http://a", "--exclude-paths", "health"], "exclude_paths is 'health'"),
        (["--to", "http://a", "--scrape", "ftp://a"], "scrape is 'ftp://a'"),
    ],
)
def test_unusable_settings_are_reported(capsys, words, said):
    assert main(["agent", "proxy", *words, *NAMES]) == 2
    assert said in capsys.readouterr().err


def config_of(*words):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return agent_config_of(parser.parse_args(["--to", "http://a", *NAMES, *words]))


def test_which_outcomes_are_kept_comes_from_the_environment(monkeypatch):
    assert (config_of().outcomes, config_of().dimensions) == ("auto", ())
    for name, value in {
        "OUTCOMES": "all",
        "DIMENSIONS": "route, model,caller",
        "CALLER_HEADER": "X-Customer",
        "CALLER_HASHED": "on",
        "NAME_LIMIT": "7",
    }.items():
        monkeypatch.setenv(f"ENDPOINT_ANALYTICS_{name}", value)
    config = config_of()
    assert (config.outcomes, config.dimensions) == ("all", ("route", "model", "caller"))
    assert (config.caller_header, config.caller_hashed, config.name_limit) == ("X-Customer", True, 7)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("OUTCOMES", "some", "OUTCOMES is 'some'"),
        ("DIMENSIONS", "user", "DIMENSIONS is 'user'"),
        ("DIMENSIONS", "caller", "CALLER_HEADER is"),
        ("NAME_LIMIT", "0", "NAME_LIMIT is"),
    ],
)
def test_unusable_outcome_settings_are_reported(monkeypatch, capsys, name, value, said):
    monkeypatch.setenv(f"ENDPOINT_ANALYTICS_{name}", value)
    assert main(["agent", "proxy", "--to", "http://a", *NAMES]) == 2
    assert said.lower() in capsys.readouterr().err.lower()


def test_a_port_in_use_is_reported(capsys, tmp_path):
    server, port = behaviour_server(tmp_path)
    try:
        words = ["--to", "http://a", "--listen", f"127.0.0.1:{port}"]
        assert main(["agent", "proxy", *words, *NAMES, "--no-hardware"]) == 1
        said = f"cannot listen on 127.0.0.1:{port}: Address already in use: choose another address with --listen\n"
        assert capsys.readouterr().err == f"endpoint-analytics agent proxy: {said}"
    finally:
        server.kill()
        server.process.stdout.close()


def test_the_subcommands_are_listed(capsys):
    with pytest.raises(SystemExit):
        main(["agent", "--help"])
    assert "  proxy  " in capsys.readouterr().out
