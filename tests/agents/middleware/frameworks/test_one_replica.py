"""One replica of two worker processes through the whole pipeline: one set of figures in SQL and for scrapers."""

from __future__ import annotations

import pytest
from tests.agents.middleware.frameworks.applications import APPLICATIONS
from tests.agents.middleware.frameworks.served import served
from tests.agents.middleware.frameworks.test_servers import command
from tests.support.parts import Stack
from tests.support.waiting import eventually

from endpoint_analytics.agents.core.config import KafkaConfig

NAMES = {"namespace": "acme", "endpoint": "classifier"}

REQUESTS = """
SELECT sum(arrived), sum(finished), sum(latency_count), sum(arraySum(status.2)), uniqExact(replica_id)
FROM requests_10s WHERE namespace = {namespace:String} AND endpoint = {endpoint:String}
"""
# A second has one sample, whichever process took it.
HARDWARE = """
SELECT max(samples), uniqExact(replica_id) FROM hardware_10s
WHERE namespace = {namespace:String} AND endpoint = {endpoint:String} AND metric = 'memory_used_bytes'
"""
TIMELINE = """
SELECT state FROM replica_timeline
WHERE namespace = {namespace:String} AND endpoint = {endpoint:String} AND state != 'draining' ORDER BY entered_at
"""


@pytest.mark.slow
@pytest.mark.whole
def test_two_workers_are_one_replica_everywhere(tmp_path):
    (tmp_path / "application.py").write_text(APPLICATIONS["flask"])
    with Stack(tmp_path / "parts", partitions=1) as stack:
        kafka = KafkaConfig(bootstrap_servers=stack.kafka.bootstrap_servers)
        with served(command("gunicorn-gthread", 2), tmp_path, kafka) as running:
            assert running.ask("/hello", 200) == {200: 200}
            total = lambda: stack.counted("classifier", "http_requests_total", "acme")  # noqa: E731
            found = eventually(total, lambda samples: sum(samples.values()) == 200, 60, "200 requests")
            assert len(found) == 1, "one series: two processes add up"
            boots = stack.rows("SELECT boot_id, finished FROM boots FINAL WHERE stream = 'requests'")
            assert len(boots) == 2
            assert sum(finished for _, finished in boots) == 200
            states = stack.samples("classifier", "replica_state", "acme")
            assert sum(states.values()) == 1
            running_replicas = stack.samples("classifier", "running_replicas", "acme")
            assert list(running_replicas.values()) == [1]
            memory = stack.samples("classifier", "memory_used_bytes", "acme")
            assert len(memory) == 1
            eventually(
                lambda: stack.rows(HARDWARE, **NAMES)[0],
                lambda row: row[0] >= 4,
                60,
                "hardware samples in one window",
            )
            running.stop()
        eventually(
            lambda: [state for (state,) in stack.rows(TIMELINE, **NAMES)],
            lambda states: states == ["initializing", "running", "terminated"],
            60,
            "the replica's life",
        )
        assert stack.rows(REQUESTS, **NAMES) == [(200, 200, 200, 200, 1)]
        samples, replicas = stack.rows(HARDWARE, **NAMES)[0]
        assert samples <= 11
        assert replicas == 1
