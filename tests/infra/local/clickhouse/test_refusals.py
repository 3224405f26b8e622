"""Inserts that the engine itself refuses get its error as the response, in whichever form they are sent."""

from __future__ import annotations

import gzip
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.mounts import small_filesystem

from endpoint_analytics.infra.local.clickhouse.process import ClickHouseProcess

from .conftest import Answer, Http

ROWS = 10
CSV = b"".join(b"%d,row\n" % number for number in range(ROWS))
BOUNDARY = "b0undary"


def in_the_body(ask: Http, table: str, **settings) -> Answer:
    return ask(f"INSERT INTO {table} FORMAT CSV\n".encode() + CSV, **settings)


def beside_the_url(ask: Http, table: str, **settings) -> Answer:
    return ask(CSV, query=f"INSERT INTO {table} (a, b) FORMAT CSV", **settings)


def as_values(ask: Http, table: str, **settings) -> Answer:
    values = ", ".join(f"({number}, 'row')" for number in range(ROWS))
    return ask(f"INSERT INTO {table} VALUES {values}", **settings)


def with_a_settings_clause(ask: Http, table: str, **settings) -> Answer:
    return ask(CSV, query=f"INSERT INTO {table} SETTINGS log_comment = 'mine' FORMAT CSV", **settings)


def in_pieces(ask: Http, table: str, **settings) -> Answer:
    pieces = (b"%d,%s\n" % (number, b"x" * 100_000) for number in range(ROWS))
    return ask(pieces, method="POST", query=f"INSERT INTO {table} FORMAT CSV", **settings)


def in_gzip(ask: Http, table: str, **settings) -> Answer:
    headers = {"Content-Encoding": "gzip"}
    return ask(gzip.compress(CSV), headers=headers, query=f"INSERT INTO {table} FORMAT CSV", **settings)


def in_a_form(ask: Http, table: str, **settings) -> Answer:
    """With an external table, from which it selects."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="given"; filename="x"\r\n\r\n'
    return ask(
        head.encode() + CSV + f"\r\n--{BOUNDARY}--\r\n".encode(),
        headers={"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"},
        query=f"INSERT INTO {table} SELECT * FROM given",
        **{"given_structure": "a UInt64, b String", "given_format": "CSV"} | settings,
    )


def as_a_select(ask: Http, table: str, **settings) -> Answer:
    return ask(f"INSERT INTO {table} SELECT number, 'row' FROM numbers({ROWS})", **settings)


def asynchronous(ask: Http, table: str, **settings) -> Answer:
    return beside_the_url(ask, table, async_insert=1, wait_for_async_insert=0, **settings)


def in_a_session(ask: Http, table: str, **settings) -> Answer:
    return beside_the_url(ask, table, session_id=uuid.uuid4().hex, **settings)


WAYS = [
    in_the_body, beside_the_url, as_values, with_a_settings_clause, in_pieces, in_gzip, in_a_form, as_a_select,
    asynchronous, in_a_session,
]  # fmt: skip

# SQL that makes the engine refuse, SQL that undoes it, the settings, and the engine's error code.
REFUSALS = {
    "constraint": ("ALTER TABLE {t} ADD CONSTRAINT c CHECK a < 5", "ALTER TABLE {t} DROP CONSTRAINT c", {}, 469),
    "parts": (
        "ALTER TABLE {t} MODIFY SETTING parts_to_throw_insert = 1, parts_to_delay_insert = 1",
        "ALTER TABLE {t} RESET SETTING parts_to_throw_insert, parts_to_delay_insert",
        {},
        252,
    ),
    "partitions": ("", "", {"max_partitions_per_insert_block": 2}, 252),
    "space": (
        "ALTER TABLE {t} MODIFY SETTING min_free_disk_bytes_to_perform_insert = 1000000000000000000",
        "ALTER TABLE {t} RESET SETTING min_free_disk_bytes_to_perform_insert",
        {},
        243,
    ),
    "memory": ("", "", {"max_memory_usage": 1000, "max_untracked_memory": 0}, 241),
    "view": (
        "CREATE MATERIALIZED VIEW {t}_view ENGINE = Null AS SELECT throwIf(a = 7) FROM {t}",
        "DROP TABLE {t}_view SYNC",
        {},
        395,
    ),
}  # fmt: skip


@pytest.fixture
def partitioned(http_query: Http) -> Iterator[str]:
    """A table with rows in separate partitions and without merges."""
    name = f"t_{uuid.uuid4().hex[:12]}"
    made = http_query(
        f"CREATE TABLE {name} (a UInt64, b String) ENGINE = MergeTree PARTITION BY a % 5 ORDER BY a"
    )
    assert made.status == 200, made.text
    http_query(f"SYSTEM STOP MERGES {name}")
    assert http_query(f"INSERT INTO {name} VALUES (0, 'first'), (1, 'second')").status == 200
    yield name
    http_query(f"DROP TABLE IF EXISTS {name}_view SYNC")
    http_query(f"DROP TABLE IF EXISTS {name} SYNC")


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("refusal", REFUSALS)
def test_the_engines_refusal_is_the_answer(http_query, partitioned, refusal, way: Callable[..., Answer]):
    refuse, put_right, settings, code = REFUSALS[refusal]
    for sql in filter(None, [refuse]):
        assert http_query(sql.format(t=partitioned)).status == 200
    answer = way(http_query, partitioned, **settings)
    assert (answer.status >= 400, answer.headers.get("x-clickhouse-exception-code")) == (True, str(code))
    assert answer.text.startswith(f"Code: {code}. DB::Exception: ")
    assert "/dev/fd" not in answer.text
    if refusal != "view":  # the table is written before its view throws
        assert http_query(f"SELECT count() FROM {partitioned}").text == "2\n"
    for sql in filter(None, [put_right]):
        assert http_query(sql.format(t=partitioned)).status == 200
    before = int(http_query(f"SELECT count() FROM {partitioned}").text)
    answer = way(http_query, partitioned)
    assert answer.status == 200, answer.text
    assert http_query(f"SELECT count() FROM {partitioned}").text == f"{before + ROWS}\n"


def test_a_partially_stored_insert_is_not_reported_as_stored(http_query, table):
    """A block of rows is already in the table when a later one is refused."""
    assert http_query(f"ALTER TABLE {table} ADD CONSTRAINT c CHECK a < 1900000").status == 200
    rows = b"".join(b"%d,x\n" % number for number in range(2_000_000))
    answer = http_query(rows, query=f"INSERT INTO {table} FORMAT CSV", min_insert_block_size_rows=100_000)
    assert answer.headers["x-clickhouse-exception-code"] == "469"
    assert 0 < int(http_query(f"SELECT count() FROM {table}").text) < 2_000_000


def test_an_invalid_external_table_is_refused(http_query):
    answer = in_a_form(http_query, "nowhere")
    assert answer.headers["x-clickhouse-exception-code"] == "60"
    body = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="g"; filename="x"\r\n\r\nx,y,z\r\n--{BOUNDARY}--\r\n'
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    wrong = http_query(
        body.encode(), headers=headers, query="SELECT * FROM g", g_structure="a UInt8", g_format="CSV"
    )
    assert wrong.headers["x-clickhouse-exception-code"] == "117"


@pytest.mark.parametrize(
    "wrong",
    [
        {"given_structure": "a UInt8) ENGINE = Memory; DROP TABLE {t}; CREATE TEMPORARY TABLE x (a UInt8"},
        {"given_structure": "a UInt8) ENGINE = File(CSV) AS SELECT (1"},
        {"given_structure": "a UInt8", "given_format": "CSV; DROP TABLE {t}"},
    ],
)
def test_an_external_table_cannot_inject_sql(http_query, table, wrong):
    """Its structure becomes SQL, which runs before the request is made read-only."""
    answer = in_a_form(
        http_query, table, **{name: text.format(t=table) for name, text in wrong.items()}, readonly=1
    )
    assert (answer.status, answer.headers["x-clickhouse-exception-code"]) == (400, "62")
    assert http_query(f"SELECT count() FROM {table}").text == "0\n"


def test_input_is_refused_and_not_ignored(http_query, table):
    """The embedded engine reports success without storing anything."""
    answer = http_query(
        CSV, query=f"INSERT INTO {table} SELECT a, b FROM input('a UInt64, b String') FORMAT CSV"
    )
    assert (answer.status, answer.headers["x-clickhouse-exception-code"]) == (501, "48")


def test_a_disk_that_is_full(tmp_path: Path):
    """Acknowledged rows are there, others got an error, and inserts succeed again once there is space."""
    with small_filesystem(tmp_path / "disk", 48 << 20) as disk, ClickHouseProcess(disk / "data") as server:
        ask = Http(server)
        assert ask("CREATE TABLE t (a UInt64, b String) ENGINE = MergeTree ORDER BY a").status == 200
        assert ask("SYSTEM STOP MERGES t").status == 200
        (disk / "filler").write_bytes(bytes(20 << 20))
        stored, refused = 0, []
        while len(refused) < 5:
            answer = ask("INSERT INTO t SELECT number, randomPrintableASCII(1000) FROM numbers(2000)")
            if answer.status == 200:
                stored += 1
            else:
                refused.append(answer)
            rows = (b"%d,%s\n" % (number, uuid.uuid4().hex.encode() * 30) for number in range(2000))
            answer = ask(b"".join(rows), query="INSERT INTO t FORMAT CSV")
            if answer.status == 200:
                stored += 1
            else:
                refused.append(answer)
        assert {answer.headers["x-clickhouse-exception-code"] for answer in refused} <= {
            "243",
            "75",
            "1001",
        }, refused
        assert stored > 0
        assert ask("SELECT count() FROM t").text == f"{stored * 2000}\n"
        (disk / "filler").unlink()
        assert ask(b"1,x\n", query="INSERT INTO t FORMAT CSV").status == 200
        assert ask("SELECT count() FROM t").text == f"{stored * 2000 + 1}\n"
