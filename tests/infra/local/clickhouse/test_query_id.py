"""A client's query ID: running queries are found, stopped and replaced by it."""

from __future__ import annotations

import http.client
import time
import uuid
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from tests.support.waiting import eventually

from endpoint_analytics.infra.local.clickhouse.process import ClickHouseProcess

from .conftest import Answer, Http, request_head

SLOW = {
    "result": "SELECT sum(sleepEachRow(0.05)) FROM numbers(100000) SETTINGS max_block_size = 1",
    "rows": "SELECT number, sleepEachRow(0.01) FROM numbers(1000000)"
    " SETTINGS max_block_size = 1, log_comment = 'my own'",
    "command": "INSERT INTO FUNCTION null('a UInt64') SELECT number + sleepEachRow(0.05) FROM numbers(100000)"
    " SETTINGS max_block_size = 1, log_comment = 'my own'",
}


@pytest.fixture
def threads():
    with ThreadPoolExecutor(40) as pool:
        yield pool


def running(ask: Http, query_id: str) -> bool:
    return ask(f"SELECT count() FROM system.processes WHERE query_id = '{query_id}'").text == "1\n"


def started(ask: Http, threads: ThreadPoolExecutor, sql: str, query_id: str) -> Future[Answer]:
    answer = threads.submit(ask, sql, query_id=query_id)
    eventually(lambda: running(ask, query_id), bool, 20, f"{query_id} runs")
    return answer


@pytest.mark.parametrize("kind", SLOW)
@pytest.mark.parametrize("mode", ["", "SYNC", "ASYNC"])
def test_kill_query_ends_what_has_this_id(http_query, threads, kind, mode):
    mine, other = f"it's {uuid.uuid4()}", uuid.uuid4().hex
    waiting = started(http_query, threads, SLOW["result"], other)
    quoted = mine.replace("'", "\\'")
    answer = threads.submit(http_query, SLOW[kind], query_id=mine)
    eventually(lambda: running(http_query, quoted), bool, 20, "the query runs")
    killed = http_query(f"KILL QUERY WHERE query_id = '{quoted}' {mode} FORMAT JSONEachRow")
    assert killed.status == 200, killed.text
    assert killed.text.count("\n") == 1
    assert answer.result(20).headers["x-clickhouse-exception-code"] == "394"
    assert not running(http_query, quoted)
    assert not waiting.done()
    assert http_query(f"KILL QUERY WHERE query_id = '{other}' SYNC").status == 200
    assert waiting.result(20).headers["x-clickhouse-exception-code"] == "394"


def test_a_client_finds_its_id_in_the_engine(http_query):
    sql = "SELECT query_id, initial_query_id, queryID() FROM system.processes"
    answer = http_query(sql, query_id="mine alone")
    assert answer.text == "mine alone\tmine alone\tmine alone\n"
    assert answer.headers["x-clickhouse-query-id"] == "mine alone"
    fresh = http_query("SELECT query_id FROM system.processes")
    assert fresh.text == fresh.headers["x-clickhouse-query-id"] + "\n"


def test_a_running_id_is_refused_and_can_be_replaced(http_query, threads):
    query_id = uuid.uuid4().hex
    answer = started(http_query, threads, SLOW["result"], query_id)
    second = http_query("SELECT 1", query_id=query_id)
    assert (second.status, second.headers["x-clickhouse-exception-code"]) == (500, "216")
    assert http_query("SELECT 1", query_id=query_id, replace_running_query=1).text == "1\n"
    assert answer.result(20).headers["x-clickhouse-exception-code"] == "394"
    assert http_query("SELECT 1", query_id=query_id).text == "1\n"


def test_a_kill_does_not_wait_for_a_slot(http_query, threads):
    """All slots are taken by the queries to be killed."""
    names = [f"{uuid.uuid4()}" for _ in range(30)]
    answers = [threads.submit(http_query, SLOW["result"], query_id=name, max_threads=1) for name in names]
    ended = set()

    def kill_all() -> int:
        for name in names:
            killed = http_query(f"KILL QUERY WHERE query_id = '{name}'")
            assert killed.status == 200, killed.text
            if killed.body:
                ended.add(name)
        return sum(answer.done() for answer in answers)

    eventually(kill_all, lambda done: done == len(names), 60, "all queries ended")
    assert {answer.result().headers["x-clickhouse-exception-code"] for answer in answers} == {"394"}
    assert ended == set(names)


def test_an_insert_that_waits_for_its_data_is_killed(server: ClickHouseProcess, http_query, table):
    query_id = uuid.uuid4().hex
    line = f"POST /?query=INSERT+INTO+{table}+FORMAT+CSV&query_id={query_id}"
    connection = http.client.HTTPConnection(server.host, server.port, timeout=60)
    connection.connect()
    connection.sock.sendall(request_head(server, line, Content_Length=9_000_000) + b"1,x\n" * 500_000)
    eventually(lambda: running(http_query, query_id), bool, 20, "the insert runs")
    assert http_query(f"KILL QUERY WHERE query_id = '{query_id}' SYNC").status == 200
    assert not running(http_query, query_id)
    response = http.client.HTTPResponse(connection.sock, method="POST")
    response.begin()
    assert response.headers["X-ClickHouse-Exception-Code"] == "394"
    connection.close()
    assert http_query(f"SELECT count() FROM {table}").text == "0\n"


def test_a_read_only_user_can_kill_only_its_own_queries(server: ClickHouseProcess, http_query, threads):
    account = server.analyst_config()
    login = {"user": account.user, "password": account.password}

    def ask(sql: str, **parameters) -> Answer:
        return http_query(sql, **parameters, **login)

    others, own = uuid.uuid4().hex, uuid.uuid4().hex
    first = started(http_query, threads, SLOW["result"], others)
    second = threads.submit(ask, "SELECT sum(cityHash64(number)) FROM numbers(1000000000000)", query_id=own)
    eventually(lambda: running(http_query, own), bool, 20, "the query runs")
    for where in (f"query_id = '{others}'", "1) OR (1", "1"):
        ask(f"KILL QUERY WHERE {where}")
    replaced = ask("SELECT 1", query_id=others, replace_running_query=1)
    assert replaced.headers["x-clickhouse-exception-code"] == "216"
    assert second.result(20).headers["x-clickhouse-exception-code"] == "394"
    time.sleep(0.3)
    assert not first.done()
    assert (
        http_query(query=f"KILL QUERY WHERE query_id = '{others}'").headers["x-clickhouse-exception-code"]
        == "164"
    )
    http_query(f"KILL QUERY WHERE query_id = '{others}' SYNC")
    assert first.result(20).status == 500


def test_test_mode_only_looks(http_query, threads):
    query_id = uuid.uuid4().hex
    answer = started(http_query, threads, SLOW["result"], query_id)
    found = http_query(f"KILL QUERY WHERE query_id = '{query_id}' TEST FORMAT TSV")
    assert found.text.split("\t")[1] == query_id
    assert not answer.done()
    http_query(f"KILL QUERY WHERE query_id = '{query_id}' SYNC")
    answer.result(20)
