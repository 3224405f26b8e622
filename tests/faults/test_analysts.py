"""Analysts who query without pause, more of them than there are slots: rows are still stored exactly."""

from __future__ import annotations

import http.client
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.faults.rig import Parts, Rig
from tests.support.waiting import eventually

HEAVY = (
    "SELECT count() FROM numbers_mt(1000000000000) WHERE NOT ignore(sipHash64(number))",
    "SELECT number % 50000000 AS n, count() FROM numbers_mt(1000000000000) GROUP BY n FORMAT Null",
    "SELECT * FROM numbers(300000000) ORDER BY sipHash64(number) FORMAT Null",
    "SELECT number FROM numbers(1000000000000)",
)


@contextmanager
def analysts(parts: Parts, number: int) -> Iterator[Counter[int]]:
    """Query until the context ends; yields the number of responses by HTTP status."""
    config = parts.clickhouse.analyst_config()
    login = {"X-ClickHouse-User": config.user, "X-ClickHouse-Key": config.password}
    statuses: Counter[int] = Counter()
    over = threading.Event()

    def ask(sql: str) -> None:
        while not over.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", parts.clickhouse.port, timeout=120)
            try:
                connection.request("POST", "/?max_execution_time=3", sql, login)
                answer = connection.getresponse()
                statuses[answer.status] += 1
                while not over.is_set() and answer.read(1 << 20):
                    pass
            except (OSError, http.client.HTTPException):
                statuses[0] += 1
            finally:
                connection.close()
            if answer.status == http.client.SERVICE_UNAVAILABLE:
                over.wait(0.2)

    threads = [threading.Thread(target=ask, args=(HEAVY[index % len(HEAVY)],)) for index in range(number)]
    for thread in threads:
        thread.start()
    try:
        yield statuses
        assert all(thread.is_alive() for thread in threads)
    finally:
        over.set()
        for thread in threads:
            thread.join(150)


@pytest.mark.slow
def test_rows_are_stored_exactly_beside_analysts_without_measure(rig: Rig) -> None:
    worker = rig.worker()
    with analysts(rig.parts, 24) as statuses:
        eventually(lambda: statuses[503], lambda refused: refused > 3, 60, "analysts who are turned away")
        rig.send_steadily(5, rate=8.0, duplicates=0.05, gaps=0.02, restarts=0.02, hardware=True).join()
        row = rig.verify(f"24 analysts ask heavy queries without end ({statuses.total()} so far)")
    assert row.stored > 0
    assert worker.process.poll() is None
    assert "TOO_MANY_SIMULTANEOUS_QUERIES" not in worker.log.read_text()
