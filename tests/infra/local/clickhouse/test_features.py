"""The ClickHouse engine's features that the pipeline relies on, through the server."""

from tests.support.waiting import until


def rows(answer):
    assert answer.status == 200, answer.text
    return [line.split("\t") for line in answer.text.splitlines()]


def test_replacing_merge_tree_with_final(http_query):
    http_query(
        "CREATE TABLE rep (k String, v UInt64, ver UInt64) ENGINE = ReplacingMergeTree(ver) ORDER BY k"
    )
    for version in (2, 1, 3):
        http_query(f"INSERT INTO rep VALUES ('a', {version * 10}, {version})")
    assert rows(http_query("SELECT * FROM rep FINAL")) == [["a", "30", "3"]]
    http_query("DROP TABLE rep")


def test_materialized_views_feed_their_tables(http_query):
    http_query("CREATE TABLE src (k String, v UInt64) ENGINE = MergeTree ORDER BY k")
    http_query("CREATE TABLE dst (k String, s UInt64) ENGINE = SummingMergeTree ORDER BY k")
    http_query("CREATE MATERIALIZED VIEW mv TO dst AS SELECT k, sum(v) AS s FROM src GROUP BY k")
    http_query(b"a,1\na,2\nb,3\n", query="INSERT INTO src FORMAT CSV")
    assert rows(http_query("SELECT k, sum(s) FROM dst GROUP BY k ORDER BY k")) == [["a", "3"], ["b", "3"]]
    for name in ("mv", "dst", "src"):
        http_query(f"DROP TABLE {name}")


def test_background_merges_and_ttl(http_query, table):
    http_query(
        "CREATE TABLE ttl (t DateTime, v UInt8) ENGINE = MergeTree ORDER BY v TTL t + INTERVAL 1 SECOND "
        "SETTINGS merge_with_ttl_timeout = 0"
    )
    http_query("INSERT INTO ttl VALUES (now() - 100, 1), (now() + 1000, 2)")
    for number in range(12):
        http_query(f"INSERT INTO {table} VALUES ({number}, 'x')")
    http_query("OPTIMIZE TABLE ttl FINAL")
    assert rows(http_query("SELECT v FROM ttl")) == [["2"]]
    parts = f"SELECT count() FROM system.parts WHERE table = '{table}' AND active"
    until(lambda: int(http_query(parts).text) < 12, 15, "merges")
    http_query("DROP TABLE ttl")


def test_alter_comments_and_system_tables(http_query, table):
    assert http_query(f"ALTER TABLE {table} ADD COLUMN c UInt8 DEFAULT 7 COMMENT 'a column'").status == 200
    assert http_query(f"ALTER TABLE {table} MODIFY COMMENT 'a table'").status == 200
    assert rows(http_query(f"SELECT comment FROM system.tables WHERE name = '{table}'")) == [["a table"]]
    columns = http_query(
        f"SELECT name, type, comment FROM system.columns WHERE table = '{table}' AND name = 'c'"
    )
    assert rows(columns) == [["c", "UInt8", "a column"]]


def test_functions_of_sketches(http_query):
    answer = http_query(
        "SELECT sumMap(m), quantileDD(0.01, 0.5)(v) FROM "
        "(SELECT map(number % 2, toUInt64(1)) AS m, number + 1000 AS v FROM numbers(1000))"
    )
    ((counts, median),) = rows(answer)
    assert counts == "{0:500,1:500}"
    assert abs(float(median) - 1500) <= 15


def test_inserts_are_flushed_to_the_disk(http_query):
    wanted = "SELECT value FROM system.merge_tree_settings WHERE name IN ('fsync_after_insert', 'fsync_part_directory')"
    assert rows(http_query(wanted)) == [["1"], ["1"]]
