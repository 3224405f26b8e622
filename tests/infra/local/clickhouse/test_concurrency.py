"""Concurrent readers and writers, including slow ones, and more than the server accepts."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
from tests.support.waiting import eventually

from .conftest import connect


def test_readers_and_writers_lose_nothing(server, http_query, table):
    writers, inserts, rows = 4, 25, 500
    done = threading.Event()

    def write(number):
        with connect(server) as client:
            for _ in range(inserts):
                client.insert(table, [[number, "x"]] * rows, column_names=["a", "b"])

    def read(_):
        counts = []
        with connect(server) as client:
            while not done.is_set():
                counts.append(client.command(f"SELECT count() FROM {table}"))
        return counts

    with ThreadPoolExecutor(writers + 4) as threads:
        reading = [threads.submit(read, number) for number in range(4)]
        list(threads.map(write, range(writers)))
        done.set()
        seen = [future.result() for future in reading]
    assert http_query(f"SELECT a, count() FROM {table} GROUP BY a ORDER BY a").text == "".join(
        f"{number}\t{inserts * rows}\n" for number in range(writers)
    )
    for counts in seen:
        assert counts == sorted(counts)
        assert all(count % rows == 0 for count in counts)


def test_a_slow_query_delays_no_other(http_query, table):
    with ThreadPoolExecutor(4) as threads:
        slow = [
            threads.submit(
                http_query, "SELECT sum(sleepEachRow(0.1)) FROM numbers(20) SETTINGS max_block_size = 1"
            )
            for _ in range(4)
        ]
        time.sleep(0.2)
        begun = time.monotonic()
        for number in range(10):
            assert http_query(f"INSERT INTO {table} VALUES ({number}, 'x')").status == 200
            assert http_query(f"SELECT count() FROM {table}").text == f"{number + 1}\n"
        assert time.monotonic() - begun < 1.5
        assert not any(future.done() for future in slow)
        assert all(future.result().status == 200 for future in slow)


def test_too_many_queries_are_refused_as_clickhouse_refuses_them(http_query):
    with ThreadPoolExecutor(120) as threads:
        answers = list(threads.map(lambda _: http_query("SELECT sleep(0.5)"), range(120)))
    refused = [answer for answer in answers if answer.status != 200]
    assert refused
    for answer in refused:
        assert (answer.status, answer.headers["x-clickhouse-exception-code"]) == (503, "202")
    assert sum(answer.status == 200 for answer in answers) >= 80
    assert http_query("SELECT 1").text == "1\n"


def test_a_session_is_for_one_query_at_a_time(http_query):
    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(lambda _: http_query("SELECT sleep(0.3)", session_id="one"), range(2))
    assert sorted((first.status, second.status)) == [200, 500]
    refused = first if first.status == 500 else second
    assert refused.headers["x-clickhouse-exception-code"] == "373"


def test_a_large_result_leaves_the_servers_memory_bounded(server):
    process = psutil.Process(server.pid)
    before = process.memory_info().rss
    peak = before
    size = 0
    with connect(server) as client:
        stream = client.raw_stream(
            "SELECT number, randomPrintableASCII(200) FROM numbers(4000000)", fmt="RowBinary"
        )
        while piece := stream.read(1 << 22):
            size += len(piece)
            peak = max(peak, process.memory_info().rss)
        stream.close()
    assert size > 800_000_000
    assert peak - before < 400_000_000


def test_no_descriptor_is_left(server, http_query, table):
    process = psutil.Process(server.pid)

    def use() -> None:
        for _ in range(30):
            http_query("SELECT * FROM missing")
            http_query("SELECT number FROM numbers(100000)")
            http_query(b"1,x\nfoo\n", query=f"INSERT INTO {table} FORMAT CSV")

    use()  # the engine's first error opens all libraries that a stack trace may name, once
    try:
        before = process.num_fds()
    except psutil.AccessDenied:
        pytest.skip("the kernel shows what this server has open to root alone, and the tests are not root's")
    use()
    # Merges of the engine's own logs open files for a while.
    eventually(process.num_fds, lambda found: found <= before + 5, 60, "descriptors closed")
