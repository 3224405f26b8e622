"""What one user, or a stalled client, can take away from the others."""

import gzip
import http.client
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from tests.support.sockets import is_open, many
from tests.support.waiting import eventually

from endpoint_analytics.infra.local.clickhouse.privileges import ANALYST_QUERIES
from endpoint_analytics.infra.local.clickhouse.process import ClickHouseProcess
from endpoint_analytics.pipeline.serve.http.connections import MAX_CONNECTIONS

from .conftest import Http, login, request_head

ENDLESS = "SELECT count() FROM numbers_mt(1000000000000) WHERE NOT ignore(sipHash64(number))"


@pytest.fixture(scope="module")
def impatient(tmp_path_factory):
    """A separate server with a stall timeout of half a second."""
    with ClickHouseProcess(
        tmp_path_factory.mktemp("fair") / "data", words=("--stall-timeout", "0.5")
    ) as server:
        yield server


def test_analysts_have_their_own_slots_and_waiting_line(impatient):
    writer, analyst = Http(impatient), Http(impatient, analyst=True)
    writer("CREATE TABLE kept (a UInt64) ENGINE = MergeTree ORDER BY a")
    crowd = ANALYST_QUERIES * 5 + 6  # beyond their slots and their line
    with ThreadPoolExecutor(crowd) as threads:
        asked = [threads.submit(analyst, ENDLESS, max_execution_time=2) for _ in range(crowd)]
        eventually(
            lambda: int(writer("SELECT count() FROM system.processes WHERE query LIKE '%sipHash64%'").text),
            lambda running: running >= ANALYST_QUERIES + 1,  # and the query that asks
            20,
            "running queries of analysts",
        )
        for number in range(40):
            assert writer(f"INSERT INTO kept VALUES ({number})").status == 200
        assert writer("SELECT count() FROM kept").text == "40\n"
        running = writer("SELECT count() FROM system.processes WHERE query LIKE '%sipHash64%'").text
        assert int(running) <= ANALYST_QUERIES + 1
        answers = [future.result() for future in asked]
    codes = {answer.headers["x-clickhouse-exception-code"] for answer in answers}
    assert codes <= {"159", "202"}  # too slow, and too many
    assert [answer.status for answer in answers].count(503) == 6


def test_an_analyst_cannot_raise_the_limits(impatient):
    analyst = Http(impatient, analyst=True)
    limits = [
        line.split("\t")
        for line in analyst(
            "SELECT name, value FROM system.settings WHERE name IN ('max_execution_time', 'max_memory_usage', "
            "'max_threads', 'max_result_rows', 'max_result_bytes', 'max_temporary_data_on_disk_size_for_query')"
        ).text.splitlines()
    ]
    assert len(limits) == 6
    for name, most in limits:
        for wrong in (0, int(most) + 1, 2**40):
            assert analyst("SELECT 1", **{name: wrong}).status != 200, (name, wrong)
        endless = analyst("SELECT 1", **{name: "9" * 5000})
        assert endless.status != 200
        assert "The server failed" not in endless.text
        assert analyst("SELECT 1", **{name: 1 if name == "max_threads" else most}).status == 200
        assert analyst(f"SELECT 1 SETTINGS {name} = {2**40}").status != 200
    for name in ("max_memory_usage_for_user", "max_temporary_data_on_disk_size_for_user", "priority"):
        assert analyst("SELECT 1", **{name: 1}).status != 200, name  # the engine applies it to the writer too
    for sql in ("SET readonly = 0", "SET profile = 'default'", "SET max_threads = 99"):
        assert analyst(sql).status != 200
    assert analyst("SELECT 1", profile="default").status != 200
    assert analyst("SELECT getSetting('readonly')", readonly=0).text == "1\n"
    greedy = analyst("SELECT groupArray(number) FROM numbers(1000000000)")
    assert greedy.headers["x-clickhouse-exception-code"] in ("241", "159"), greedy.text


def test_an_analyst_only_reads(impatient):
    writer, analyst = Http(impatient), Http(impatient, analyst=True)
    writer("CREATE TABLE read_only (a UInt64) ENGINE = MergeTree ORDER BY a")
    writer("INSERT INTO read_only VALUES (1)")
    for sql in (
        "INSERT INTO read_only VALUES (2)",
        "INSERT INTO read_only SELECT 2",
        "ALTER TABLE read_only DELETE WHERE 1",
        "DROP TABLE read_only",
        "TRUNCATE TABLE read_only",
        "CREATE TABLE other (a UInt8) ENGINE = Memory",
        "CREATE TEMPORARY TABLE other (a UInt8) ENGINE = Memory",
        "CREATE FUNCTION f AS x -> x",
        "OPTIMIZE TABLE read_only FINAL",
        "KILL MUTATION WHERE 1",
        "SYSTEM FLUSH LOGS",
        "WITH 1 AS x INSERT INTO read_only SELECT x",
    ):
        for session in ({}, {"session_id": "s"}):
            answer = analyst(sql, **session)
            assert answer.status != 200, sql
            assert answer.headers["x-clickhouse-exception-code"] in ("164", "497"), answer.text
    assert analyst("SELECT a FROM read_only", session_id="s").text == "1\n"
    assert analyst("SELECT a FROM read_only", session_id="s", max_threads=1).text == "1\n"


def test_connections_with_endless_heads_are_closed(impatient):
    half = b"POST /?query=SELECT+1 HTTP/1.1\r\nHost: localhost\r\nX-"
    with many(impatient.port, 600, half) as halves, many(impatient.port, 1, b"") as silent:
        assert Http(impatient)("SELECT 1").text == "1\n"
        eventually(
            lambda: sum(map(is_open, [*halves, *silent])), lambda left: left == 0, 20, "heads are over"
        )
    again = socket.create_connection((impatient.host, impatient.port), timeout=20)
    with again:  # a connection that was used, and then sends half a head
        again.sendall(request_head(impatient, "GET /ping", Content_Length=0))
        answer = b""
        while not answer.endswith(b"Ok.\n"):
            piece = again.recv(1000)
            assert piece, answer
            answer += piece
        again.sendall(half)
        assert again.recv(1000).startswith(b"HTTP/1.1 408 ")


def test_connections_are_bounded_and_idle_ones_are_closed(server):
    """Idle connections that were used before: each got a response and is now silent."""
    idle = b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n"
    writer = Http(server)
    with many(server.port, MAX_CONNECTIONS + 100, idle) as made:
        assert [writer("SELECT 1").text for _ in range(20)] == ["1\n"] * 20
        assert 0 < sum(map(is_open, made)) <= MAX_CONNECTIONS


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (
            b"GET /ping HTTP/1.1\r\nHost: localhost\r\n" + b"a:\r\n" * 256 + b"\r\n",
            "more than 256 header fields",
        ),
        (
            b"GET /" + b"%41" * 10_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
            "path is longer than 8192 bytes",
        ),
    ],
    ids=["fields", "path"],
)
def test_an_expensive_head_is_refused_with_a_reason(impatient, head, words):
    with socket.create_connection((impatient.host, impatient.port), timeout=20) as connection:
        connection.sendall(head)
        answer = b"".join(iter(partial(connection.recv, 1000), b"")).decode()
    assert answer.startswith("HTTP/1.1 431 ")
    assert words in answer


def test_the_documented_number_of_header_fields_is_accepted(impatient):
    with socket.create_connection((impatient.host, impatient.port), timeout=20) as connection:
        connection.sendall(b"GET /ping HTTP/1.1\r\nHost: localhost\r\n" + b"a:\r\n" * 255 + b"\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")


@pytest.mark.slow
def test_a_slowly_read_answer_is_complete(server):
    """Even if it is the connection's last one: it exceeds the kernel's buffers, and takes 16 s to send."""
    size = 7_900_000
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        slow.settimeout(20)
        slow.connect((server.host, server.port))
        url = f"GET /?query=SELECT+repeat('x',{size // 10 - 1})+FROM+numbers(10)&wait_end_of_query=1"
        slow.sendall(request_head(server, url, Connection="close"))
        answer = bytearray()
        while piece := slow.recv(1 << 17):
            answer += piece
            time.sleep(len(piece) / 500_000)
    assert len(answer) > size
    assert answer.endswith(b"xxx\n")


def test_a_trickling_body_is_not_received_forever(impatient):
    """For a refused login and an analyst's query; a writer's INSERT may take longer."""
    analyst = "".join(f"{name}: {value}\r\n" for name, value in login(impatient, analyst=True).items())
    for user, status in (("X-ClickHouse-User: nobody\r\n", b"403"), (analyst, b"503")):
        with socket.create_connection((impatient.host, impatient.port), timeout=20) as connection:
            head = f"POST / HTTP/1.1\r\nHost: localhost\r\n{user}Content-Length: 100000\r\n\r\n"
            connection.sendall(head.encode())
            answer = eventually(
                lambda connection=connection: trickle(connection), lambda answer: answer, 20, "an answer"
            )
            assert answer.split()[1] == status
            assert b"connection: close" in answer
    with socket.create_connection((impatient.host, impatient.port), timeout=20) as connection:
        data = b"1\n" * 12
        url = "POST /?query=INSERT+INTO+FUNCTION+null('a+UInt8')+FORMAT+CSV"
        connection.sendall(request_head(impatient, url, Content_Length=len(data)))
        for byte in data:
            time.sleep(0.1)
            connection.sendall(bytes([byte]))
        assert b" 200 " in connection.recv(1000)


def trickle(connection):
    """Send a byte; return what has been received."""
    connection.sendall(b" ")
    time.sleep(0.1)
    connection.setblocking(False)
    try:
        return connection.recv(10_000)
    except BlockingIOError:
        return b""
    finally:
        connection.setblocking(True)


@pytest.mark.parametrize(
    ("head", "unit"),
    [
        ("INSERT INTO t ", ","),  # formerly each token looked back at all earlier ones
        ("SELECT ", "'\\"),  # formerly each quote searched for its end
        ("SELECT ", "\N{LEFT DOUBLE QUOTATION MARK}"),
        ("SELECT ", "system.processes,"),
        ("KILL QUERY WHERE 1", "()"),
    ],
    ids=["insert", "quotes", "typographic", "processes", "kill"],
)
def test_hostile_text_does_not_block_the_loop(impatient, head, unit):
    text = (head + unit * (1 << 17)).encode()[: 1 << 17]
    analyst, writer = Http(impatient, analyst=True), Http(impatient)
    with ThreadPoolExecutor(4) as threads:
        asked = [threads.submit(analyst, text) for _ in range(4)]
        assert [writer("SELECT 1").text for _ in range(10)] == ["1\n"] * 10
        assert all(400 <= future.result().status < 600 for future in asked)


@pytest.mark.slow
def test_analysts_kill_queries_in_their_own_waiting_line(impatient):
    analyst, writer = Http(impatient, analyst=True), Http(impatient)
    busy = "KILL QUERY WHERE 0 = (SELECT count() FROM numbers_mt(1000000000000) WHERE NOT ignore(sipHash64(number)))"
    crowd = ANALYST_QUERIES * 5 + 6
    with ThreadPoolExecutor(crowd) as threads:
        asked = [threads.submit(analyst, busy) for _ in range(crowd)]
        eventually(
            lambda: sum(future.done() for future in asked),
            lambda done: done >= 6,
            20,
            "those beyond the line",
        )
        assert writer("KILL QUERY WHERE query_id = 'nobody'").status == 200
        assert not all(future.done() for future in asked)
        codes = [future.result().headers["x-clickhouse-exception-code"] for future in asked]
    assert codes.count("202") == 6
    assert set(codes) == {"159", "202"}


@pytest.mark.parametrize("sent", [b"", b"x" * (1 << 17)], ids=["nothing", "some"])
def test_stalled_uploads_of_analysts_delay_no_analyst(server, sent):
    """More uploads than turns and waiting slots; `server` would wait half a minute for each."""
    analyst = "".join(f"{name}: {value}\r\n" for name, value in login(server, analyst=True).items())
    length = len(sent) + 1000
    head = f"POST / HTTP/1.1\r\nHost: localhost\r\n{analyst}Content-Length: {length}\r\n\r\n".encode()
    with many(server.port, ANALYST_QUERIES * 5 + 4, head + sent) as stalled:
        assert [Http(server, analyst=True)("SELECT 1").text for _ in range(10)] == ["1\n"] * 10
        assert all(map(is_open, stalled))


@pytest.mark.parametrize("coding", ["", "gzip"])
def test_an_endless_body_of_an_analyst_is_refused_before_it_is_received(server, coding):
    """The rest never arrives: neither text beyond the limit of a query, nor data that decompresses to nothing."""
    analyst = login(server, analyst=True)
    data = gzip.compress(b"") * 20_000 if coding else b"SELECT 1" + b" " * (1 << 19)
    with socket.create_connection((server.host, server.port), timeout=20) as connection:
        head = request_head(server, "POST /", Content_Length=1 << 30, Content_Encoding=coding)
        for old, new in zip(login(server).values(), analyst.values(), strict=True):
            head = head.replace(f": {old}\r\n".encode(), f": {new}\r\n".encode())
        connection.sendall(head + data)
        answer = b"".join(iter(partial(connection.recv, 4000), b""))
    assert b"Query is too large" in answer


def test_a_stalled_upload_frees_its_slot(impatient):
    writer = Http(impatient)
    writer("CREATE TABLE uploads (a UInt64) ENGINE = MergeTree ORDER BY a")
    head = request_head(impatient, "POST /?query=INSERT+INTO+uploads+FORMAT+CSV", Content_Length=9_000_000)
    connections = []
    for _ in range(20):  # more than there are slots
        connection = socket.create_connection((impatient.host, impatient.port), timeout=30)
        connection.sendall(head + b"1\n" * 200_000)
        connections.append(connection)
    for connection in connections:
        with connection:
            answer = b"".join(iter(partial(connection.recv, 4000), b""))
            assert b"503" in answer.split(b"\r\n")[0], answer
            assert b"SOCKET_TIMEOUT" in answer or b"TOO_MANY" in answer, answer
    assert writer("INSERT INTO uploads VALUES (7)").status == 200
    assert writer("SELECT sum(a) FROM uploads").text == "7\n"


def test_a_client_that_does_not_read_its_result_frees_its_slot(impatient):
    writer = Http(impatient)
    body = b"SELECT number, 'taken by nobody' FROM numbers(1000000000000)"
    connections = []
    for _ in range(18):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((impatient.host, impatient.port))
        connection.sendall(request_head(impatient, "POST /", Content_Length=len(body)) + body)
        connections.append(connection)
    done = threading.Event()
    begun = time.monotonic()
    eventually(
        lambda: writer("SELECT count() FROM system.processes WHERE query LIKE '%taken by nobody%'").text,
        lambda running: running == "1\n" and time.monotonic() > begun + 1,
        30,
        "an end of the queries",
    )
    done.set()
    for connection in connections:
        connection.close()


def test_what_is_held_back_for_an_analyst_is_bounded(analyst_query):
    sql = "SELECT repeat('x', 1000) FROM numbers(100000)"
    held = analyst_query(sql, wait_end_of_query=1)
    assert held.headers["x-clickhouse-exception-code"] == "396"
    assert len(analyst_query(sql, buffer_size=1 << 40).body) == 100_100_000
    assert analyst_query("SELECT 1", wait_end_of_query=1).text == "1\n"


def test_the_text_of_an_analysts_result_is_bounded(analyst_query):
    """The engine counts one byte per row, but a hundred are sent. The query fails before its first byte, or later."""
    ask = f"SELECT toUInt8(1) AS {'a' * 100} FROM numbers(100000) FORMAT JSONEachRow"
    assert len(analyst_query(ask).body) > 10_000_000
    early = analyst_query(ask, max_result_bytes=500_000)
    assert early.headers["x-clickhouse-exception-code"] == "396"
    with pytest.raises(http.client.IncompleteRead) as late:
        analyst_query(ask, max_result_bytes=5_000_000)
    assert b"__exception__" in late.value.partial
    assert b"max bytes: 5000000 as sent" in late.value.partial
