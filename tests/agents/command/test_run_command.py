"""`endpoint-analytics agent run` as its users run it, on a real Kafka: states, signals, statuses, environment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from tests.agents.middleware.frameworks.applications import APPLICATIONS
from tests.agents.middleware.frameworks.served import read_all, read_when, served

from endpoint_analytics.agents.command.run_command import child_environment
from endpoint_analytics.agents.core.config import AgentConfig, KafkaConfig

RUN = [sys.executable, "-m", "endpoint_analytics.infra.command", "agent", "run"]
WHOSE = ["--namespace", "acme", "--endpoint", "classifier", "--replica-id", "replica-1"]

SLOW_SERVER = """
import http.server, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    asked = 0
    def do_GET(self):
        Handler.asked += 1
        self.send_response(503 if self.path == "/ready" and Handler.asked < 4 else 200)
        self.end_headers()
    def log_message(self, *words): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def run(kafka: KafkaConfig, *words: str, **more: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*RUN, *WHOSE, "--kafka", kafka.bootstrap_servers, "--topic-prefix", kafka.topic_prefix, *words],
        capture_output=True,
        timeout=60,
        check=False,
        **more,
    )


@pytest.mark.parametrize(
    ("code", "status", "last"),
    [
        ("", 0, ("terminated", "exited with status 0")),
        ("import sys; sys.exit(7)", 7, ("failed", "exited with status 7")),
        ("import os; os.kill(os.getpid(), 9)", 137, ("failed", "killed by SIGKILL")),
    ],
)
def test_its_status_is_the_servers_and_the_end_is_reported_with_its_reason(kafka_config, code, status, last):
    done = run(kafka_config, "--", sys.executable, "-c", code)
    assert done.returncode == status, done.stderr
    found = read_all(kafka_config)
    assert found.states == ["initializing", "running", last[0]]
    assert found.reasons[-1] == last[1]
    assert found.boots == {}, "it does not watch requests, so it tells none"


def test_a_command_that_there_is_not(kafka_config):
    done = run(kafka_config, "--", "no-such-command-anywhere")
    assert done.returncode == 127
    assert b"no-such-command-anywhere: No such file" in done.stderr
    assert read_all(kafka_config).states == ["initializing", "failed"]


def test_usage():
    nowhere = KafkaConfig(bootstrap_servers="127.0.0.1:1", topic_prefix="x")
    assert b"no command" in run(nowhere).stderr
    done = run(nowhere, "--ready-url", "localhost:80", "--", "true")
    assert done.returncode == 2
    assert b"--ready-url is 'localhost:80'" in done.stderr


def test_without_kafka_the_server_runs_all_the_same():
    nowhere = KafkaConfig(bootstrap_servers="127.0.0.1:1", topic_prefix="x")
    done = run(
        nowhere, "--timeout", "0.1", "--", sys.executable, "-c", "print('served'); raise SystemExit(5)"
    )
    assert (done.returncode, done.stdout) == (5, b"served\n")


def test_it_runs_when_the_url_says_so_and_drains_on_a_signal(kafka_config, tmp_path):
    (tmp_path / "server.py").write_text(SLOW_SERVER)
    words = lambda port: [  # noqa: E731
        *RUN, "--ready-url", f"http://127.0.0.1:{port}/ready", "--", sys.executable, "server.py", str(port),
    ]  # fmt: skip
    with served(words, tmp_path, kafka_config) as running:
        read_when(kafka_config, lambda found: found.states[-1:] == ["running"], "that it runs")
        read_when(kafka_config, lambda found: len(found.hardware) > 1, "hardware samples")
        assert running.stop() == 128 + signal.SIGTERM
    found = read_all(kafka_config)
    assert found.states == ["initializing", "running", "draining", "terminated"]
    assert found.reasons[-1] == "killed by SIGTERM"
    assert found.hardware[-1].replica["memory_used_bytes"][0] > 10_000_000
    assert found.hardware[-1].replica["cpu_percent"][0] is not None


def test_one_that_is_not_ready_in_time_has_failed_and_lives_on(kafka_config, tmp_path):
    (tmp_path / "server.py").write_text(SLOW_SERVER)
    words = lambda port: [  # noqa: E731
        *RUN, "--ready-url", "http://127.0.0.1:1/", "--ready-within", "0.3", "--",
        sys.executable, "server.py", str(port),
    ]  # fmt: skip
    with served(words, tmp_path, kafka_config) as running:
        read_when(kafka_config, lambda found: found.states[-1:] == ["failed"], "that it failed")
        assert running.process.poll() is None
        running.stop()
    found = read_all(kafka_config)
    assert found.states == ["initializing", "failed", "terminated"]
    assert found.reasons[1].startswith("not ready within 0.3 s: http://127.0.0.1:1/: ")


def test_signals_go_to_the_server_and_once(kafka_config, tmp_path):
    (tmp_path / "server.py").write_text(
        "import os, signal, sys, time\n"
        "def note(number, _):\n"
        "    os.write(1, signal.Signals(number).name.encode() + b'\\n')\n"
        "    if number == signal.SIGINT: sys.exit(4)\n"
        "for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGTTIN, signal.SIGINT):\n"
        "    signal.signal(number, note)\n"
        "print('ready', flush=True)\n"
        "while True: time.sleep(0.05)\n"
    )
    process = subprocess.Popen(
        [*RUN, *WHOSE, "--kafka", kafka_config.bootstrap_servers, "--topic-prefix",
         kafka_config.topic_prefix, "--", sys.executable, "server.py"],
        cwd=tmp_path, stdout=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    try:
        assert process.stdout.readline() == b"ready\n"
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGTTIN):
            process.send_signal(number)
            assert process.stdout.readline() == f"{number.name}\n".encode()
        os.killpg(process.pid, signal.SIGINT)  # as a terminal's Ctrl-C
        assert process.stdout.read() == b"SIGINT\n"
        assert process.wait(60) == 4
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        process.stdout.close()
    found = read_all(kafka_config)
    assert found.states == ["initializing", "running", "draining", "terminated"]
    assert found.reasons[-1] == "exited with status 4"


def test_a_middleware_in_the_server_sends_requests_alone(kafka_config, tmp_path):
    """Only the launcher reports the states, once, and samples hardware."""
    (tmp_path / "application.py").write_text(APPLICATIONS["flask"])
    words = lambda port: [  # noqa: E731
        *RUN, "--ready-url", f"http://127.0.0.1:{port}/hello", "--",
        "gunicorn", "application:app", "--bind", f"127.0.0.1:{port}", "--workers", "1",
    ]  # fmt: skip
    with served(words, tmp_path, kafka_config) as running:
        read_when(kafka_config, lambda found: found.states[-1:] == ["running"], "that it runs")
        assert running.ask("/hello", 50) == {200: 50}
        assert running.stop() == 0
    found = read_all(kafka_config)
    assert found.states == ["initializing", "running", "draining", "terminated"]
    assert found.status["200"] >= 51
    assert len({batch.boot_id for batch in found.hardware}) == 1
    assert {batch.boot_id for batch in found.hardware}.isdisjoint(found.boots)


def test_the_servers_environment():
    config = AgentConfig(
        namespace="acme", endpoint="x", replica_id="r", kafka=KafkaConfig(bootstrap_servers="k:1")
    )
    reported = child_environment({"PATH": "/bin"}, config)
    assert reported["PATH"] == "/bin"
    assert reported["ENDPOINT_ANALYTICS_STATES"] == reported["ENDPOINT_ANALYTICS_HARDWARE"] == "off"
    assert reported["ENDPOINT_ANALYTICS_KAFKA"] == "k:1"
    assert "ENDPOINT_ANALYTICS_SPOOL" not in reported
