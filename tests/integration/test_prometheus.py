"""A real Prometheus scrapes the query service, in both text formats, and gets the data in ClickHouse."""

from __future__ import annotations

import http.client
import http.server
import json
import shutil
import socket
import subprocess
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.integration.replica import Replica
from tests.support.parts import Stack
from tests.support.waiting import eventually

PROMETHEUS = shutil.which("prometheus")
pytestmark = [
    pytest.mark.whole,
    pytest.mark.skipif(
        PROMETHEUS is None, reason="prometheus is not installed (Debian: apt-get install prometheus)"
    ),
]


@contextmanager
def classic_only(port: int) -> Iterator[int]:
    """Pass requests on with `Accept: text/plain`, like a scraper without OpenMetrics support."""

    class Pass(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            authorization = self.headers["Authorization"]
            connection.request(
                "GET", self.path, headers={"Authorization": authorization, "Accept": "text/plain"}
            )
            answer = connection.getresponse()
            body = answer.read()
            connection.close()
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.headers["Content-Type"])
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pass) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def prometheus(directory: Path, configuration: str) -> Iterator[str]:
    """Run a Prometheus on a free port; yields its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (directory / "prometheus.yml").write_text(configuration)
    words = [
        str(PROMETHEUS),
        f"--config.file={directory / 'prometheus.yml'}",
        f"--storage.tsdb.path={directory / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (directory / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(15)


def ask(address: str, query: str) -> dict[tuple[str, ...], float]:
    """Return the samples of an instant query by their `job` and `status_code`."""
    try:
        with urllib.request.urlopen(
            f"{address}/api/v1/query?query={urllib.parse.quote(query)}", timeout=5
        ) as answer:
            result = json.load(answer)["data"]["result"]
    except OSError:  # it has not started yet
        return {}
    return {
        (sample["metric"]["job"], sample["metric"].get("status_code", "")): float(sample["value"][1])
        for sample in result
    }


def test_prometheus_reads_both_texts(stack: Stack, tmp_path: Path) -> None:
    replica = Replica(stack, "scraped", "scraped-0").start()
    for status in [200] * 5 + [503] * 2:
        assert replica.get(f"/status/{status}") == status
    with classic_only(stack.serve_port) as classic_port:
        jobs = "".join(
            f"""
  - job_name: {job}
    scrape_interval: 1s
    metrics_path: /v2/endpoint/tests/scraped/open-metrics
    authorization: {{credentials: {stack.token}}}
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]"""
            for job, port in (("openmetrics", stack.serve_port), ("classic", classic_port))
        )
        with prometheus(tmp_path, f"scrape_configs:{jobs}\n") as address:
            counted = eventually(
                lambda: ask(address, "http_requests_total > 0"),
                lambda seen: len(seen) == 4,
                40,
                "the counters in Prometheus",
            )
            assert counted == {
                ("openmetrics", "200"): 5,
                ("openmetrics", "503"): 2,
                ("classic", "200"): 5,
                ("classic", "503"): 2,
            }
            assert ask(address, "up") == {("openmetrics", ""): 1, ("classic", ""): 1}
            assert ask(address, "latency_distribution_count") == {("openmetrics", ""): 7, ("classic", ""): 7}
            assert ask(address, 'replica_state{replica_state="running"}') == {
                ("openmetrics", ""): 1,
                ("classic", ""): 1,
            }
    replica.child.stop()
