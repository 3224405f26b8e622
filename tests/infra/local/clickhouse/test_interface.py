"""ClickHouse's HTTP interface as curl sees it."""

import base64
import gzip
import http.client
import json
import socket
import uuid

import lz4.frame
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.support.waiting import until

from endpoint_analytics.infra.local.clickhouse.blocks import BlockDecoder, pack_blocks

from .conftest import login, request_head


@pytest.mark.parametrize("path", ["/", "/ping", "/replicas_status"])
def test_health(http_query, path):
    answer = http_query(path=path)
    assert (answer.status, answer.body) == (200, b"Ok.\n")


def test_an_unknown_path_is_not_found(http_query):
    assert http_query(path="/nowhere").status == 404


def test_query_in_url_in_body_and_in_both(http_query):
    assert http_query(query="SELECT 1").body == b"1\n"
    assert http_query("SELECT 2").body == b"2\n"
    assert http_query("+ 3", query="SELECT 4").body == b"7\n"


def test_headers_that_clients_read(http_query):
    answer = http_query("SELECT number FROM numbers(3) FORMAT JSONEachRow", query_id="my-query")
    assert answer.headers["x-clickhouse-query-id"] == "my-query"
    assert answer.headers["x-clickhouse-format"] == "JSONEachRow"
    assert answer.headers["x-clickhouse-timezone"]
    assert answer.headers["x-clickhouse-server-display-name"]
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    summary = json.loads(answer.headers["x-clickhouse-summary"])
    assert (summary["read_rows"], summary["result_rows"]) == ("3", "3")


def test_formats_by_clause_parameter_and_header(http_query):
    assert http_query("SELECT 1 AS x", default_format="JSONEachRow").text == '{"x":1}\n'
    assert http_query("SELECT 1 AS x", headers={"X-ClickHouse-Format": "CSVWithNames"}).text == '"x"\n1\n'
    assert http_query("SELECT 1 AS x FORMAT TSV", default_format="JSON").text == "1\n"
    assert json.loads(http_query("SELECT 1 AS x WHERE 0 FORMAT JSON").body)["data"] == []
    assert http_query("SELECT 1 AS x FORMAT Parquet").body[:4] == b"PAR1"


@pytest.mark.parametrize(
    "sql",
    [
        "SHOW DATABASES",
        "DESCRIBE system.one",
        "EXISTS system.one",
        "EXPLAIN SELECT 1",
        "SELECT 1 SETTINGS max_threads=1",
    ],
)
def test_statements_that_give_rows(http_query, sql):
    answer = http_query(f"{sql}\n-- a comment at the end")
    assert answer.status == 200
    assert answer.body


def test_database_by_parameter_and_header(http_query):
    assert http_query("SELECT currentDatabase()", database="system").text == "system\n"
    assert (
        http_query("SELECT currentDatabase()", headers={"X-ClickHouse-Database": "system"}).text == "system\n"
    )
    assert http_query("SELECT 1", database="no such").status == 404


def test_parameters_work_as_on_a_server(http_query):
    answer = http_query(
        "SELECT {n:UInt8} + 1, {s:String}, {a:Array(UInt8)}, {t:Identifier}.dummy FROM {t:Identifier}",
        param_n="41", param_s="it's \\\\ \\t", param_a="[1,2]", param_t="one", database="system",
    )  # fmt: skip
    assert answer.text == "42\tit\\'s \\\\ \\t\t[1,2]\t0\n"


def test_settings_are_passed_to_the_engine(http_query):
    assert http_query("SELECT getSetting('max_threads')", max_threads=3).text == "3\n"
    assert http_query("SELECT getSetting('max_threads')").text != "3\n"
    wrong = http_query("SELECT 1", no_such_setting=1)
    assert (wrong.status, wrong.headers["x-clickhouse-exception-code"]) == (404, "115")
    limited = http_query("SELECT count() FROM numbers(1e9)", max_rows_to_read=10)
    assert limited.headers["x-clickhouse-exception-code"] == "158"


@pytest.mark.parametrize(
    ("sql", "status", "code"),
    [
        ("SELEC 1", 400, "62"),
        ("1 + 1", 400, "62"),
        ("help", 400, "62"),
        ("SELECT * FROM no_such_table", 404, "60"),
        ("SELECT no_such_column", 404, "47"),
        ("SELECT no_such_function()", 404, "46"),
        ("SELECT toUInt8('x')", 400, "6"),
        ("SELECT throwIf(1)", 500, "395"),
        ("SELECT 1 FORMAT NoSuchFormat", 404, "73"),
        ("SELECT 1; SELECT 2", 400, "62"),
        ("SELECT 1 INTO OUTFILE '/tmp/x'", 500, "358"),
        ("SELECT sleep(3) SETTINGS max_execution_time = 0.2", 408, "159"),
        ("INSERT INTO no_such_table FORMAT CSV\n1", 404, "60"),
    ],
)
def test_errors_have_clickhouses_status_code_and_text(http_query, sql, status, code):
    answer = http_query(sql)
    assert (answer.status, answer.headers["x-clickhouse-exception-code"]) == (status, code)
    assert answer.text.startswith(f"Code: {code}. DB::Exception: ")
    assert "(version " in answer.text


def test_bytes_that_are_not_utf8(http_query, table):
    assert http_query(b"SELECT hex('\xff\xfe')").text == "FFFE\n"
    assert http_query(b"SELECT '\xff\xfe'").body == b"\xff\xfe\n"
    assert http_query(b"\xff\xfe\xb1 nonsense").headers["x-clickhouse-exception-code"] == "62"
    assert http_query(b"INSERT INTO \xff FORMAT CSV\n1").headers["x-clickhouse-exception-code"] == "62"
    assert http_query(b"1,\xff\n", query=f"INSERT INTO {table} FORMAT CSV").status == 200
    assert http_query(f"SELECT hex(b) FROM {table}").text == "FF\n"


def test_an_error_in_mid_result_is_appended_and_the_result_left_unfinished(server):
    connection = http.client.HTTPConnection(server.host, server.port, timeout=30)
    connection.request(
        "POST", "/", "SELECT throwIf(number = 5000000), randomString(3) FROM numbers(10000000)", login(server)
    )
    response = connection.getresponse()
    assert response.status == 200
    tag = response.headers["X-ClickHouse-Exception-Tag"].encode()
    with pytest.raises(http.client.IncompleteRead) as error:
        response.read()
    mark = b"\r\n__exception__\r\n"
    _, _, end = error.value.partial.rpartition(mark + tag + b"\r\n")
    assert end.startswith(b"Code: 395. DB::Exception: ")
    assert end.endswith(b" " + tag + mark)
    connection.close()


def test_wait_end_of_query_gives_a_late_error_its_status(http_query):
    answer = http_query("SELECT throwIf(number = 5000000) FROM numbers(10000000)", wait_end_of_query=1)
    assert (answer.status, answer.headers["x-clickhouse-exception-code"]) == (500, "395")


def test_wait_end_of_query_gives_a_large_result_whole(http_query):
    answer = http_query("SELECT number FROM numbers(3000000) FORMAT RowBinary", wait_end_of_query=1)
    assert len(answer.body) == int(answer.headers["content-length"]) == 24_000_000


def test_get_is_readonly(http_query, table):
    answer = http_query(query=f"INSERT INTO {table} VALUES (1, 'x')")
    assert answer.headers["x-clickhouse-exception-code"] == "164"
    assert http_query(query=f"DROP TABLE {table}").headers["x-clickhouse-exception-code"] == "164"
    in_session = http_query(query=f"DROP TABLE {table}", session_id=uuid.uuid4().hex)
    assert in_session.headers["x-clickhouse-exception-code"] == "164"
    assert http_query(query=f"SELECT count() FROM {table}", readonly=0).text == "0\n"
    assert http_query(f"INSERT INTO {table} VALUES (1, 'x')", readonly=1).status == 500


def parquet():
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"a": pa.array([1, 2], pa.uint64()), "b": ["x", "y"]}), sink)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("JSONEachRow", b'{"a":1,"b":"x"}\n{"a":2,"b":"y"}'),
        ("CSV", b"1,x\n2,y\n"),
        ("TSV", b"1\tx\n2\ty\n"),
        ("RowBinary", b"\1\0\0\0\0\0\0\0\1x\2\0\0\0\0\0\0\0\1y"),
        ("Native", b"\2\2\1a\x06UInt64\1\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0\1b\x06String\1x\1y"),
        ("Values", b"(1,'x'),(2,'y')"),
        ("Parquet", parquet()),
    ],
)
def test_inserts_in_any_format(http_query, table, name, data):
    in_url = http_query(data, query=f"INSERT INTO {table} FORMAT {name}")
    assert in_url.status == 200, in_url.text
    assert json.loads(in_url.headers["x-clickhouse-summary"])["written_rows"] == "2"
    in_body = http_query(f"INSERT INTO {table} (a, b) FORMAT {name}\n".encode() + data)
    assert in_body.status == 200, in_body.text
    assert http_query(f"SELECT a, b FROM {table} ORDER BY a").text == "1\tx\n1\tx\n2\ty\n2\ty\n"


def test_inserts_of_values_selects_and_nothing(http_query, table):
    assert (
        http_query(f"INSERT INTO {table} VALUES (1 + 1, upper('x')), ({{n:UInt8}}, 'y');", param_n=7).status
        == 200
    )
    assert http_query(f"INSERT INTO {table} SELECT a + 10, b FROM {table}").status == 200
    assert http_query(b"", query=f"INSERT INTO {table} FORMAT CSV").status == 200
    assert http_query(f"SELECT a, b FROM {table} ORDER BY a").text == "2\tX\n7\ty\n12\tX\n17\ty\n"


def test_a_large_insert_in_pieces_is_complete(server, http_query, table):
    rows = 400_000
    pieces = (
        b"".join(b"%d,row %d\n" % (i, i) for i in range(at, at + 10_000)) for at in range(0, rows, 10_000)
    )
    answer = http_query(pieces, method="POST", query=f"INSERT INTO {table} FORMAT CSV")
    assert answer.status == 200, answer.text
    assert http_query(f"SELECT count(), sum(a) FROM {table}").text == f"{rows}\t{rows * (rows - 1) // 2}\n"


def test_bad_data_stores_nothing_and_reports_the_row(http_query, table):
    answer = http_query(b"1,x\nfoo,y\n", query=f"INSERT INTO {table} FORMAT CSV")
    assert (answer.status, answer.headers["x-clickhouse-exception-code"]) == (400, "27")
    assert "Row 2" in answer.text
    assert http_query(f"SELECT count() FROM {table}").text == "0\n"


def test_a_client_that_sends_much_gets_the_error_of_a_missing_table(http_query):
    answer = http_query(
        (b"1,x\n" * 100_000 for _ in range(20)), method="POST", query="INSERT INTO missing FORMAT CSV"
    )
    assert (answer.status, answer.headers["x-clickhouse-exception-code"]) == (404, "60")


@pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("lz4", lz4.frame.compress)])
def test_compressed_requests(http_query, table, coding, pack):
    headers = {"Content-Encoding": coding}
    assert http_query(pack(b"1,x\n"), headers=headers, query=f"INSERT INTO {table} FORMAT CSV").status == 200
    assert http_query(pack(f"SELECT * FROM {table}".encode()), headers=headers).text == "1\tx\n"
    bad = http_query(b"not packed at all", headers=headers, query=f"INSERT INTO {table} FORMAT CSV")
    assert bad.headers["x-clickhouse-exception-code"] == "271"


def test_compressed_results_only_when_asked_for(http_query):
    sql = "SELECT number FROM numbers(300000)"
    plain = http_query(sql).body
    accept = {"Accept-Encoding": "gzip"}
    packed = http_query(sql, headers=accept)
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain
    assert http_query(sql, headers=accept, enable_http_compression=0).body == plain
    assert "content-encoding" not in http_query("SELECT * FROM missing", headers=accept).headers


def test_a_session_keeps_settings_tables_and_database(http_query):
    session = uuid.uuid4().hex
    state = "SELECT getSetting('max_threads'), currentDatabase()"
    for sql in ("SET max_threads = 3", "USE system", "CREATE TEMPORARY TABLE mine (x UInt8)"):
        assert http_query(sql, session_id=session).status == 200
    assert http_query("INSERT INTO mine VALUES (5)", session_id=session).status == 200
    assert http_query("SELECT x FROM mine", session_id=session).text == "5\n"
    assert http_query(state, session_id=session).text == "3\tsystem\n"
    # Settings in the URL apply to one request.
    assert http_query(state, session_id=session, max_threads=2, database="default").text == "2\tdefault\n"
    assert http_query(state, session_id=session).text == "3\tsystem\n"
    assert http_query("SELECT x FROM mine", session_id=uuid.uuid4().hex).status == 404


def test_a_session_can_be_checked_and_closed(http_query):
    session = uuid.uuid4().hex
    missing = http_query("SELECT 1", session_id=session, session_check=1)
    assert missing.headers["x-clickhouse-exception-code"] == "372"
    assert http_query("SELECT 1", session_id=session).text == "1\n"
    assert http_query("SELECT 1", session_id=session, session_check=1, close_session=1).text == "1\n"
    assert http_query("SELECT 1", session_id=session, session_check=1).status == 500


def test_a_session_times_out(http_query):
    session = uuid.uuid4().hex
    assert http_query("SELECT 1", session_id=session, session_timeout=0).status == 200
    assert (
        http_query("SELECT 1", session_id=session, session_check=1).headers["x-clickhouse-exception-code"]
        == "372"
    )


def test_a_form_carries_query_parameters_and_a_table(http_query):
    boundary = "b0undary"
    parts = {
        'name="query"': b"SELECT sum(x) + {n:UInt32} FROM numbers_in",
        'name="param_n"': b"1000",
        'name="numbers_in"; filename="f"': b"1\n2\n3\n",
    }
    body = b"".join(
        f"--{boundary}\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() + content + b"\r\n"
        for head, content in parts.items()
    )
    answer = http_query(
        body + f"--{boundary}--\r\n".encode(),
        headers={"Content-Type": f"multipart/form-data; boundary={boundary}"},
        numbers_in_structure="x UInt32",
    )
    assert answer.text == "1006\n"


def test_wrong_users_are_refused(http_query):
    basic = base64.b64encode(b"default:wrong").decode()
    for answer in (
        http_query("SELECT 1", user="someone"),
        http_query("SELECT 1", headers={"X-ClickHouse-User": "default", "X-ClickHouse-Key": "wrong"}),
        http_query("SELECT 1", headers={"Authorization": f"Basic {basic}"}),
    ):
        assert (answer.status, answer.headers["x-clickhouse-exception-code"]) == (403, "516")
    assert http_query("SELECT 1", user="default", password="").status == 403


def test_a_truncated_upload_stores_nothing(server, http_query, table):
    head = request_head(server, f"POST /?query=INSERT+INTO+{table}+FORMAT+CSV", Content_Length=90_000_000)
    for rows in (10, 500_000):
        with socket.create_connection((server.host, server.port)) as connection:
            connection.sendall(head + b"1,x\n" * rows)
    running = f"SELECT count() FROM system.processes WHERE query LIKE 'INSERT INTO {table}%'"
    until(lambda: http_query(running).text == "0\n", 5, "the query's end")
    assert http_query(f"SELECT count() FROM {table}").text == "0\n"
    assert http_query(b"1,x\n", query=f"INSERT INTO {table} FORMAT CSV").status == 200


def test_a_long_url_and_a_long_query(http_query):
    values = ",".join(str(number) for number in range(40_000))
    sql = f"SELECT count() FROM numbers(100) WHERE number IN ({values})"
    assert http_query(sql).text == "100\n"
    assert http_query(query=sql[:30_000].rpartition(",")[0] + ")").text == "100\n"


def test_a_query_ends_when_its_client_disconnects(server, http_query):
    mark = uuid.uuid4().hex
    connection = http.client.HTTPConnection(server.host, server.port, timeout=30)
    connection.request("POST", "/", f"SELECT number, '{mark}' FROM numbers(1000000000000)", login(server))
    connection.getresponse().read(1000)
    running = (
        f"SELECT count() FROM system.processes WHERE query LIKE '%{mark}%' AND query NOT LIKE '%processes%'"
    )
    assert http_query(running).text == "1\n"
    connection.close()
    until(lambda: http_query(running).text == "0\n", 5, "the query's end")


@pytest.mark.parametrize(
    ("name", "value", "status", "code"),
    [
        ("role", "admin", 404, "511"),
        ("compress", "maybe", 400, "36"),
        ("wait_end_of_query", "yes", 400, "36"),
        ("buffer_size", "large", 400, "36"),
        ("stacktrace", "1", 501, "48"),
        ("add_http_cors_header", "1", 501, "48"),
        ("http_write_exception_in_output_format", "1", 501, "48"),
        ("http_response_headers", "{'A': 'b'}", 501, "48"),
        ("http_allow_filters_as_unrecognized_url_parameters", "1", 501, "48"),
        ("nothing_structure", "x UInt8", 404, "115"),
        ("quota", "x", 404, "115"),
    ],
)
def test_an_unsupported_parameter_is_refused(http_query, name, value, status, code):
    answer = http_query("SELECT 1", **{name: value})
    assert (answer.status, answer.headers["x-clickhouse-exception-code"]) == (status, code)
    assert name in answer.text or value in answer.text


def test_parameters_without_effect_are_accepted(http_query):
    off = dict.fromkeys(("stacktrace", "add_http_cors_header", "http_write_exception_in_output_format"), 0)
    taken = {"role": "", "quota_key": "x", "cancel_http_readonly_queries_on_client_close": 1}
    assert http_query("SELECT 1", **off, **taken).text == "1\n"


def test_buffer_size_holds_back_what_an_error_may_follow(http_query):
    late = "SELECT throwIf(number = 3000000), randomPrintableASCII(10) FROM numbers(10000000)"
    answer = http_query(late, buffer_size=100_000_000)
    assert (answer.status, answer.headers["x-clickhouse-exception-code"]) == (500, "395")
    answer = http_query(late, http_wait_end_of_query=1)
    assert (answer.status, answer.headers["x-clickhouse-exception-code"]) == (500, "395")


def test_progress_stands_in_the_headers_when_asked_for(http_query):
    assert "x-clickhouse-progress" not in http_query("SELECT 1").headers
    answer = http_query("SELECT count() FROM numbers(1000)", send_progress_in_http_headers=1)
    assert json.loads(answer.headers["x-clickhouse-progress"])["read_rows"] == "1000"


def test_blocks_of_clickhouse_both_ways(http_query, table):
    rows = b"".join(b"%d,row\n" % number for number in range(300_000))
    sent = http_query(pack_blocks(rows), query=f"INSERT INTO {table} FORMAT CSV", decompress=1)
    assert sent.status == 200, sent.text
    answer = http_query(
        f"SELECT a, b FROM {table} ORDER BY a FORMAT CSV", compress=1, headers={"Accept-Encoding": "gzip"}
    )
    assert "content-encoding" not in answer.headers
    assert b"".join(BlockDecoder().decode(answer.body)) == rows.replace(b",row", b',"row"')
    broken = bytearray(pack_blocks(b"1,x\n"))
    broken[3] ^= 1
    refused = http_query(bytes(broken), query=f"INSERT INTO {table} FORMAT CSV", decompress=1)
    assert refused.headers["x-clickhouse-exception-code"] == "40"


def test_who_asks_for_blocks_gets_errors_in_one(http_query):
    for sql, code in (("SELECT nothing", 47), ("SELECT throwIf(number = 3) FROM numbers(10)", 395)):
        plain, packed = http_query(sql), http_query(sql, compress=1)
        assert packed.status == plain.status
        assert packed.headers["x-clickhouse-exception-code"] == plain.headers["x-clickhouse-exception-code"]
        text = b"".join(BlockDecoder().decode(packed.body))
        assert text == plain.body
        assert text.startswith(b"Code: %d. DB::Exception: " % code)


@pytest.mark.parametrize("given", [{"role": "admin"}, {"stacktrace": 1}, {"readonly": "x"}, {"a-b": 1}])
def test_a_request_that_is_refused_before_it_is_parsed_has_its_error_in_a_block_too(http_query, given):
    plain, packed = http_query("SELECT 1", **given), http_query("SELECT 1", compress=1, **given)
    assert plain.status == packed.status != 200
    assert b"".join(BlockDecoder().decode(packed.body)) == plain.body
    assert plain.body.startswith(b"Code: ")


def test_a_value_of_compress_that_is_not_understood_is_refused_in_plain_text(http_query):
    answer = http_query("SELECT 1", compress="yes")
    assert answer.status == 400
    assert answer.body.startswith(b"Code: 36. DB::Exception: compress is 'yes'")


def test_an_analysts_tool_asks_for_the_first_rows_only(analyst_query):
    """JDBC's setMaxRows, which DBeaver and Metabase always call."""
    given = {"max_result_rows": 200, "result_overflow_mode": "break"}
    answer = analyst_query("SELECT number FROM numbers(1000000) SETTINGS max_block_size = 100", **given)
    assert answer.status != 200  # no SETTINGS clause for an analyst
    answer = analyst_query("SELECT number FROM numbers(1000000)", max_block_size=100, **given)
    assert answer.status == 200
    assert 200 <= answer.body.count(b"\n") <= 300
    for more in ({"max_result_rows": 0}, {"max_result_rows": 10**9}):
        assert analyst_query("SELECT 1", result_overflow_mode="break", **more).status == 500


def test_a_number_of_thousands_of_digits_is_refused_with_a_reason(http_query):
    for name in ("readonly", "buffer_size", "client_protocol_version"):
        answer = http_query("SELECT 1", **{name: "9" * 5000})
        assert answer.headers["x-clickhouse-exception-code"] == "36"
        assert "whole number of up to 19 digits" in answer.text
