"""The service without ClickHouse: before it starts and after it died; and how the service stops."""

import http.client
import socket
import uuid

import pytest
from tests.support.waiting import until

from endpoint_analytics.infra.local.clickhouse.process import ClickHouseProcess
from endpoint_analytics.pipeline.store.connect import connect
from endpoint_analytics.pipeline.store.migrate import RECORD, migrate


def test_it_waits_for_clickhouse_and_outlives_it(tmp_path, start_service):
    database = ClickHouseProcess(tmp_path / "clickhouse")
    database.start()
    url, port = database.url, database.port
    config = database.config()
    database.stop()
    service = start_service(config)
    assert service.get("/health").status == 200
    ready = service.get("/ready")
    assert (ready.status, ready.headers["retry-after"]) == (503, "5")
    assert f"no ClickHouse answers at {url}" in ready.text
    scrape = service.scrape(f"eat_{'0' * 16}_{'a' * 43}")
    assert (scrape.status, scrape.headers["retry-after"]) == (503, "5")
    assert "ClickHouse cannot be queried right now" in scrape.text
    assert url not in scrape.text
    assert url not in service.get("/ready", {"X-Forwarded-For": "203.0.113.9"}).text
    assert service.get("/v2/endpoint/acme/llm/open-metrics").status == 401
    external = "/apis/external.metrics.k8s.io/v1beta1"
    assert service.get(external).status == 200  # else Kubernetes deletes no namespace any more
    value = service.get(
        f"{external}/namespaces/acme/cpu_percent?labelSelector=endpoint%3Dllm",
        {"Authorization": f"Bearer eat_{'0' * 16}_{'a' * 43}"},
    )
    assert (value.status, "retry-after" in value.headers) == (503, False)
    own = service.get("/metrics")
    assert own.status == 200
    assert "query_service_clickhouse_errors_total 0" not in own.text

    with ClickHouseProcess(tmp_path / "clickhouse", port=port):
        until(lambda: "endpoint-analytics migrate" in service.get("/ready").text)
        migrate(config)
        until(lambda: service.get("/ready").status == 200)
        assert service.scrape(f"eat_{'0' * 16}_{'a' * 43}").status == 401
    until(lambda: service.get("/ready").status == 503)
    assert service.get("/health").status == 200
    with ClickHouseProcess(tmp_path / "clickhouse", port=port):
        until(lambda: service.get("/ready").status == 200)
    assert service.log.read_text().count("a query failed") <= 3  # once an outage, however often it was asked


def test_a_newer_database_is_ready(server, start_service):
    """Its migrations have run, and services of the old version are replaced one after another."""
    config = server.config(f"newer_{uuid.uuid4().hex[:8]}")
    migrate(config)
    client = connect(config)
    client.command(RECORD, parameters={"number": 999, "name": "later", "digest": "f" * 64, "by": "9.9"})
    client.close()
    assert start_service(config).get("/ready").status == 200


def test_a_database_that_is_not_migrated_is_told(server, start_service):
    service = start_service(server.config(f"none_{uuid.uuid4().hex[:8]}"))
    answer = service.get("/ready")
    assert answer.status == 503
    assert "run 'endpoint-analytics migrate'" in answer.text


def test_it_says_one_line_and_stops_cleanly(config, start_service):
    service = start_service(config)
    assert service.line == f"serve ready http://127.0.0.1:{service.port}\n"
    idle = http.client.HTTPConnection("127.0.0.1", service.port, timeout=10)
    idle.request("GET", "/ready")
    assert idle.getresponse().read() == b"ready\n"
    silent = socket.create_connection(("127.0.0.1", service.port), timeout=10)
    status, seconds = service.stop()
    idle.close()
    silent.close()
    assert status == 0
    assert seconds < 3
    assert service.rest == b""
    assert "Traceback" not in service.log.read_text()


def test_a_port_that_is_taken_is_one_clear_line(config, service, capsys):
    from endpoint_analytics.infra.command import main

    words = ["serve", "--port", str(service.port), "--clickhouse-url", config.url]
    assert main(words) == 1
    assert f"cannot listen on 127.0.0.1:{service.port}" in capsys.readouterr().err


@pytest.mark.parametrize("flag", [["--port", "70000"], ["--cache", "-1"], ["--quantile-window", "x"]])
def test_wrong_flags_are_usage_errors(flag):
    from endpoint_analytics.infra.command import main

    with pytest.raises(SystemExit) as caught:
        main(["serve", *flag])
    assert caught.value.code == 2
