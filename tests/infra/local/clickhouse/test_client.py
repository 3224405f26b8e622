"""clickhouse-connect, with its defaults, against the server."""

import asyncio
import datetime as dt

import clickhouse_connect
import numpy as np
import pytest
from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError, StreamFailureError

from .conftest import connect


def test_rows_in_and_out(client, table):
    client.insert(table, [[1, "x"], [2, "ÿ\n"]], column_names=["a", "b"])
    assert client.query(f"SELECT a, b FROM {table} ORDER BY a").result_rows == [(1, "x"), (2, "ÿ\n")]
    assert client.command(f"SELECT count() FROM {table}") == 2


def test_columns_of_numpy_and_the_summary(client, table):
    columns = [np.arange(10_000, dtype="u8"), [str(i) for i in range(10_000)]]
    summary = client.insert(table, columns, column_names=["a", "b"], column_oriented=True)
    assert summary.written_rows == 10_000
    assert client.command(f"SELECT sum(a) FROM {table}") == sum(range(10_000))


@pytest.mark.parametrize("compress", [True, False, "lz4", "zstd", "gzip"])
def test_every_compression(server, table, compress):
    with connect(server, compress=compress) as client:
        client.insert(table, [[i, "x" * 100] for i in range(2000)], column_names=["a", "b"])
        rows = client.query(f"SELECT a, b FROM {table} ORDER BY a").result_rows
    assert rows == [(i, "x" * 100) for i in range(2000)]


def test_types(client):
    client.command(
        "CREATE TABLE types (d DateTime64(3, 'UTC'), m Map(String, UInt64), l LowCardinality(String), "
        "n Nullable(Float64), a Array(Int32)) ENGINE = Memory"
    )
    moment = dt.datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=dt.UTC)
    row = (moment, {"k": 2**63}, "low", None, [1, -1])
    client.insert("types", [row])
    (found,) = client.query("SELECT * FROM types").result_rows
    assert found[0].replace(tzinfo=dt.UTC) == moment
    assert found[1:] == row[1:]
    client.command("DROP TABLE types")


def test_parameters(client):
    found = client.query("SELECT {a:UInt8} + 1, {s:String}", parameters={"a": 4, "s": "it's"})
    assert found.result_rows == [(5, "it's")]
    many = list(range(20_000))  # sent as a form
    assert client.query("SELECT length({a:Array(UInt32)})", parameters={"a": many}).result_rows == [(20_000,)]


def test_settings_and_columns_only(client):
    assert client.query("SELECT getSetting('max_threads')", settings={"max_threads": 3}).result_rows == [(3,)]
    assert client.query("SELECT 1 AS x, 'a' AS y LIMIT 0").column_names == ("x", "y")


def test_streams(client):
    with client.query_rows_stream("SELECT number FROM numbers(500000)") as rows:
        assert sum(row[0] for row in rows) == sum(range(500_000))


def test_errors(client):
    with pytest.raises(DatabaseError, match="UNKNOWN_TABLE") as error:
        client.query("SELECT * FROM missing")
    assert error.value.code == 60
    late = client.query_rows_stream("SELECT throwIf(number = 3000000) FROM numbers(10000000)")
    with late as rows, pytest.raises(StreamFailureError, match="Code: 395"):
        list(rows)
    with pytest.raises(ClickHouseError):
        client.insert("missing", [[1]], column_names=["a"])


def test_raw_insert_and_external_data(client, table):
    client.raw_insert(table, ["a", "b"], b"1,x\n2,y\n", fmt="CSV")
    from clickhouse_connect.driver.external import ExternalData

    data = ExternalData(file_name="wanted", data=b"2\n", fmt="CSV", structure="w UInt64")
    found = client.query(f"SELECT b FROM {table} WHERE a IN (SELECT w FROM wanted)", external_data=data)
    assert found.result_rows == [("y",)]


def test_the_async_client(server, table):
    async def work():
        client = await clickhouse_connect.get_async_client(
            host=server.host,
            port=server.port,
            password=server.config().password,
            autogenerate_session_id=False,
        )
        async with client:
            inserts = (client.insert(table, [[i, "x"]], column_names=["a", "b"]) for i in range(10))
            await asyncio.gather(*inserts)
            found = await client.query(f"SELECT count(), sum(a) FROM {table}")
            return found.result_rows

    assert asyncio.run(work()) == [(10, 45)]
