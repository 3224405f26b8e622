"""SQL cannot reach outside: every way of this engine to a file, a program or another machine, as both users.

The ways are read from the engine itself: one that a new version brings and that is not judged here fails the test. That
each would work if nothing stood against it is shown by the same engine without our walls (the last test).
"""

import json
import socket
import sqlite3
import subprocess
import sys
import threading
from dataclasses import dataclass, field

import pytest

from endpoint_analytics.infra.local.clickhouse.privileges import TABLE_ENGINES

SECRET = "9f1d-no-query-may-read-this"

# Functions that work on tables, on memory, or on their own arguments.
LOCAL_FUNCTIONS = set(  # as words, to be compared at a glance
    """SQLStandardValues dictionary eval format fuzzJSON fuzzQuery generateRandom generateSeries generate_series input
    loop merge mergeTreeAnalyzeIndexes mergeTreeAnalyzeIndexesUUID mergeTreeCodecBlockCounts mergeTreeIndex
    mergeTreeProjection mergeTreeTextIndex null numbers numbers_mt primes prometheusQuery prometheusQueryRange
    timeSeriesData timeSeriesMetricFamilies timeSeriesMetrics timeSeriesSamples timeSeriesSelector timeSeriesTags values
    view viewExplain viewIfPermitted zeros zeros_mt""".split()  # noqa: SIM905
)
# Functions that reach further, with arguments: {url}, {host} (of a listener), {file} and {sqlite} (with a secret).
_OBJECT = "'{url}/bucket/d.csv', 'key', 'secret', 'CSV', 'a String'"
_TABLE = "'{url}/bucket/t', 'key', 'secret'"
_AZURE = (
    "'DefaultEndpointsProtocol=http;AccountName=a;AccountKey=YQ==;BlobEndpoint={url}', 'c', 'p', 'CSV', "
    "'auto', 'a String'"
)
_HDFS = "'hdfs://{host}/x', 'CSV', 'a String'"
_DATABASE = "'{host}', 'd', 't', 'u', 'p'"
_FILE = "'{file}', 'LineAsString', 'a String'"
REACHING_FUNCTIONS = {
    "arrowstream": "'x'", "bigquery": "'project', 'd', 't'", "executable": "'cat {file}', 'LineAsString', 'a String'",
    "python": "settings", "url": "'{url}', 'LineAsString', 'a String'", "file": _FILE, "filesystem": "'{directory}'",
    "remote": "'{host}', system.one", "remoteSecure": "'{host}', system.one", "mysql": _DATABASE,
    "postgresql": _DATABASE, "mongodb": "'mongodb://{host}/d', 'c', 'a String'", "odbc": "'DSN=x', 'd', 't'",
    "jdbc": "'jdbc:x', 'd', 't'", "redis": "'{host}', 'k', 'k String, v String'", "sqlite": "'{sqlite}', 't'",
    "ytsaurus": "'{url}', '//t', 'token', 'a String'", "cluster": "'default', system.one",
    "clusterAllReplicas": "'default', system.one", "icebergLocal": "'{directory}'", "deltaLakeLocal": "'{directory}'",
    "paimonLocal": "'{directory}'", "hdfs": _HDFS, "icebergHDFS": _HDFS, "paimonHDFS": _HDFS,
    **dict.fromkeys(("s3", "gcs", "oss", "cosn"), _OBJECT),
    **dict.fromkeys(("hudi", "deltaLake", "deltaLakeS3", "iceberg", "icebergS3", "paimon", "paimonS3"), _TABLE),
    **dict.fromkeys(("azureBlobStorage", "icebergAzure", "deltaLakeAzure", "paimonAzure"), _AZURE),
}  # fmt: skip
REACHING_FUNCTIONS |= {
    name: f"'default', {REACHING_FUNCTIONS[name.removesuffix('Cluster')]}"
    for name in (
        "azureBlobStorageCluster", "deltaLakeAzureCluster", "deltaLakeCluster", "deltaLakeS3Cluster", "fileCluster",
        "hdfsCluster", "hudiCluster", "icebergAzureCluster", "icebergCluster", "icebergHDFSCluster",
        "icebergLocalCluster", "icebergS3Cluster", "paimonAzureCluster", "paimonCluster", "paimonHDFSCluster",
        "paimonS3Cluster", "s3Cluster", "urlCluster",
    )
}  # fmt: skip

# Engines that are not granted and reach nothing, because they need a missing service (Keeper) or generate data.
IDLE_ENGINES = {
    "KeeperMap", "FuzzJSON", "FuzzQuery", "Loop", "QueryRunner", "TimeSeries", "GraphiteMergeTree", "Dictionary",
    "ReplicatedGraphiteMergeTree",
} | {f"Replicated{name}" for name in TABLE_ENGINES if name.endswith("MergeTree")}  # fmt: skip
_S3 = "('{url}/bucket/d.csv', 'key', 'secret', 'CSV')"
REACHING_ENGINES = {
    "File": "(LineAsString, '{file}')", "URL": "('{url}', 'LineAsString')", "SQLite": "('{sqlite}', 't')",
    "MySQL": "('{host}', 'd', 't', 'u', 'p')", "PostgreSQL": "('{host}', 'd', 't', 'u', 'p')",
    "MaterializedPostgreSQL": "('{host}', 'd', 't', 'u', 'p') PRIMARY KEY a", "ODBC": "('DSN=x', 'd', 't')",
    "JDBC": "('jdbc:x', 'd', 't')", "MongoDB": "('mongodb://{host}/d', 'c')", "Redis": "('{host}') PRIMARY KEY a",
    "Kafka": "('{host}', 't', 'g', 'CSV')", "HDFS": "('hdfs://{host}/x', 'CSV')", "ArrowStream": "(x)",
    "Executable": "('cat', 'CSV')", "ExecutablePool": "('cat', 'CSV')", "Remote": "('{host}', 'system', 'one')",
    "RemoteSecure": "('{host}', 'system', 'one')", "Distributed": "('default', 'system', 'one')",
    "FileLog": "('{directory}', 'LineAsString')", "EmbeddedRocksDB": "(0, '{directory}/rocks') PRIMARY KEY a",
    "BigQuery": "('project', 'd', 't')", "YTsaurus": "('{url}', '//t', 'token')", "S3Queue": _S3,
    "AzureQueue": "('x', 'c', 'p', 'CSV')", "AzureBlobStorage": "('x', 'c', 'p', 'CSV')",
    **dict.fromkeys(("S3", "GCS", "OSS", "COSN"), _S3),
    **dict.fromkeys(("Hudi", "Iceberg", "IcebergS3", "DeltaLake", "DeltaLakeS3", "Paimon", "PaimonS3"), f"({_TABLE})"),
    **dict.fromkeys(("IcebergAzure", "DeltaLakeAzure", "PaimonAzure"), "('x', 'c', 'p')"),
    **dict.fromkeys(("IcebergHDFS", "PaimonHDFS"), "('hdfs://{host}/x')"),
    **dict.fromkeys(("IcebergLocal", "DeltaLakeLocal", "PaimonLocal"), "('{directory}')"),
}  # fmt: skip

OTHER_WAYS = [
    "SELECT file('{file}')",
    r"SELECT `f\x69le`('{file}')",
    "SELECT * APPLY(file) FROM (SELECT '{file}' AS a)",
    "SELECT arrayMap(file, ['{inside}'])[1]",
    "SELECT arrayMap((file), ['{inside}'])[1]",
    "SELECT arrayMap(file AS f, ['{inside}'])[1]",
    "SELECT arrayMap(`file`, ['{inside}'])[1]",
    r"SELECT arrayMap(`f\Nile`, ['{inside}'])[1]",
    "SELECT arrayMap(\"file\", ['{inside}'])[1]",
    "SELECT arrayMap(\N{LEFT DOUBLE QUOTATION MARK}file\N{RIGHT DOUBLE QUOTATION MARK}, ['{inside}'])[1]",
    "SELECT * FROM view(SELECT arrayMap(file, ['{inside}'])[1])",
    "SELECT arrayMap({f:Identifier}, ['{inside}'])[1]",
    "SELECT * FROM `{file}`",
    "SELECT * FROM _files.`{file}`",
    "SELECT 1 INTO OUTFILE '{directory}/out'",
    "SELECT 1 AS a$x$ INTO OUTFILE '{directory}/out' -- $x$",
    "INSERT INTO t FROM INFILE '{file}' FORMAT LineAsString",
    "INSERT INTO t/**/FROM/**/INFILE '{file}' FORMAT LineAsString",
    "SELECT * FROM url('file://{file}', 'LineAsString', 'a String')",
    "SELECT * FROM eval('SELECT file(''{file}'')')",
    "ATTACH TABLE attached FROM '{directory}' (a String) ENGINE = MergeTree ORDER BY a",
    "CREATE TABLE d1 (a String) ENGINE = MergeTree ORDER BY a SETTINGS disk = disk(type=local, path='{directory}/')",
    "BACKUP DATABASE default TO File('{directory}/backup')",
    "BACKUP DATABASE default TO Disk('default', 'backup')",
    "BACKUP DATABASE default TO S3('{url}/bucket/b', 'key', 'secret')",
    "RESTORE DATABASE default FROM S3('{url}/bucket/b', 'key', 'secret')",
    "CREATE DATABASE x ENGINE = Filesystem('{directory}')",
    "CREATE DATABASE x ENGINE = SQLite('{sqlite}')",
    "CREATE DATABASE x ENGINE = MySQL('{host}', 'd', 'u', 'p')",
    "CREATE DATABASE x ENGINE = PostgreSQL('{host}', 'd', 'u', 'p')",
    "CREATE DATABASE x ENGINE = DataLakeCatalog('{url}') SETTINGS catalog_type = 'rest', warehouse = 'w'",
    "CREATE DATABASE x ENGINE = Backup('d', File('{directory}/backup'))",
    "CREATE DICTIONARY dd (a String) PRIMARY KEY a SOURCE(FILE(path '{file}' format 'TSV')) LAYOUT(FLAT()) LIFETIME(0)",
    "CREATE DICTIONARY dd (a String) PRIMARY KEY a SOURCE(HTTP(url '{url}' format 'TSV')) LAYOUT(FLAT()) LIFETIME(0)",
    "CREATE DICTIONARY dd (a String) PRIMARY KEY a SOURCE(EXECUTABLE(command 'c' format 'CSV')) LAYOUT(FLAT())",
    "CREATE NAMED COLLECTION c AS url = '{url}'",
    "CREATE USER intruder",
    "GRANT FILE ON *.* TO default",
    "EXECUTE AS default SELECT 1",
    "SET profile = 'default'; SELECT 1",
    "SYSTEM SHUTDOWN",
    "SYSTEM KILL",
    "SYSTEM START LISTEN HTTP",
    "SYSTEM RELOAD CONFIG",
    "SELECT * FROM system.users",
    "SELECT addressToSymbol(1)",
]


@dataclass
class Target:
    """The target of an attack; `seen` are the connections that arrived."""

    words: dict[str, str]
    seen: list = field(default_factory=list)


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    directory = tmp_path_factory.mktemp("target")
    (directory / "secret.csv").write_text(f"{SECRET}\n")
    database = sqlite3.connect(directory / "secret.sqlite")
    database.execute("CREATE TABLE t (a TEXT)")
    database.execute("INSERT INTO t VALUES (?)", (SECRET,))
    database.commit()
    database.close()
    before = {path: path.read_bytes() for path in directory.iterdir()}
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host = f"127.0.0.1:{listener.getsockname()[1]}"
        found = Target(
            {
                "host": host,
                "url": f"http://{host}",
                "directory": str(directory),
                "file": str(directory / "secret.csv"),
                "sqlite": str(directory / "secret.sqlite"),
            }
        )

        def accept():
            while True:
                try:
                    connection, address = listener.accept()
                except OSError:
                    return
                found.seen.append(address)
                connection.close()

        threading.Thread(target=accept, daemon=True).start()
        yield found
        assert {path: path.read_bytes() for path in directory.iterdir()} == before
        listener.shutdown(socket.SHUT_RDWR)


def fill(text, target):
    for name, word in target.words.items():
        text = text.replace(f"{{{name}}}", word)
    return text


def names(http_query, table):
    answer = http_query(f"SELECT name FROM system.{table} ORDER BY name")
    assert answer.status == 200, answer.text
    return set(answer.text.split())


def refused(answer, target):
    assert answer.status != 200, answer.text
    assert SECRET not in answer.text
    assert target.seen == []


def test_every_table_function_is_judged(http_query):
    assert names(http_query, "table_functions") == LOCAL_FUNCTIONS | set(REACHING_FUNCTIONS)


@pytest.mark.parametrize("name", REACHING_FUNCTIONS)
def test_no_table_function_reaches_further(http_query, analyst_query, target, name):
    call = f"{name}({fill(REACHING_FUNCTIONS[name], target)})"
    refused(http_query(f"SELECT * FROM {call}"), target)
    refused(analyst_query(f"SELECT * FROM {call}"), target)
    for ask in (http_query, analyst_query):
        refused(ask(f"INSERT INTO FUNCTION {call} SELECT 'x'"), target)


def test_every_table_engine_is_judged(http_query):
    known = {name for name in TABLE_ENGINES if name != "Atomic"}
    assert names(http_query, "table_engines") == known | IDLE_ENGINES | set(REACHING_ENGINES)


@pytest.mark.parametrize("name", REACHING_ENGINES)
def test_no_table_engine_reaches_further(http_query, analyst_query, target, name):
    made = f"CREATE TABLE reaching (a String) ENGINE = {name}{fill(REACHING_ENGINES[name], target)}"
    refused(analyst_query(made), target)
    answer = http_query(made)
    if answer.status == 200:  # only these can be created, and they have no effect
        assert name in {"Executable", "ExecutablePool"}
        refused(http_query("SELECT * FROM reaching"), target)
        http_query("DROP TABLE reaching SYNC")
    else:
        refused(answer, target)


@pytest.mark.parametrize("sql", OTHER_WAYS)
def test_no_other_sql_reaches_outside(server, http_query, analyst_query, target, table, sql):
    """{inside} is a file that the kernel lets the server read: only our refusal protects it."""
    sql = fill(sql.replace("INTO t", f"INTO {table}"), target).replace("{inside}", inside(server)).encode()
    given = {"param_f": "file"} if b"{f:" in sql else {}
    refused(http_query(sql, **given), target)
    refused(analyst_query(sql, **given), target)
    assert http_query(f"SELECT count() FROM {table}").text == "0\n"


def inside(server):
    return f"{server._data}/users.xml"


@pytest.mark.parametrize(
    "name", ["select", "filter", "order", "additional_result_filter", "additional_table_filters"]
)
def test_no_sql_in_settings_reaches_outside(server, analyst_query, name):
    sql = f"throwIf(1, file('{inside(server)}'))"
    if name == "additional_table_filters":
        sql = "{'system.one': '" + sql.replace("'", "\\'") + "'}"
    answer = analyst_query("SELECT dummy FROM system.one", **{name: sql})
    assert answer.headers["x-clickhouse-exception-code"] == "452", answer.text
    assert "<grants>" not in answer.text


def test_no_values_are_evaluated_for_an_analyst(server, analyst_query):
    for value in (f"file('{inside(server)}')", f"arrayMap(file, ['{inside(server)}'])[1]"):
        part = b'--x\r\nContent-Disposition: form-data; name="t"; filename="t"\r\n\r\n'
        answer = analyst_query(
            part + f"({value})".encode() + b"\r\n--x--\r\n",
            headers={"Content-Type": "multipart/form-data; boundary=x"},
            query="SELECT * FROM t",
            t_structure="a String",
            t_format="Values",
        )
        assert answer.status != 200
        assert "<grants>" not in answer.text


def test_no_setting_reaches_outside(server, http_query, analyst_query, target):
    avro = r"SELECT * FROM format(AvroConfluent, 'a Int8', '\0\0\0\0\x01\x02')"
    for ask in (http_query, analyst_query):
        refused(ask(avro, format_avro_schema_registry_url=target.words["url"]), target)
        refused(ask("SELECT 1 AS a FORMAT Protobuf", format_schema=f"{target.words['file']}:M"), target)
    inside = f"{server._data}/users.xml"
    for name in ("output_format_schema", "format_schema", "format_template_resultset", "format_template_row"):
        answer = analyst_query("SELECT 1 AS a FORMAT Protobuf", **{name: inside})
        assert answer.headers["x-clickhouse-exception-code"] == "452", answer.text
    assert "<grants>" in (server._data / "users.xml").read_text()
    default = f"a String, b String DEFAULT file('{target.words['file']}')"
    part = b'Content-Disposition: form-data; name="t"; filename="t"'
    form = b"--x\r\n" + part + b"\r\n\r\n1\n\r\n--x--\r\n"
    refused(
        analyst_query(
            form,
            headers={"Content-Type": "multipart/form-data; boundary=x"},
            query="SELECT * FROM t",
            t_structure=default,
            t_format="TSV",
        ),
        target,
    )
    local = f"SELECT * FROM eval('SELECT file(''{target.words['file']}'')')"
    refused(analyst_query(local, allow_experimental_eval_table_function=1), target)
    refused(http_query(local, allow_experimental_eval_table_function=1), target)


def test_the_same_engine_unconfined_reaches_everything(target, tmp_path):
    """Shows that the tests above can fail: without the restrictions, the same engine executes their queries."""
    ways = [
        f"SELECT * FROM {name}({fill(REACHING_FUNCTIONS[name], target)})"
        for name in ("file", "sqlite", "url")
    ]
    ways[-1] += " SETTINGS http_max_tries = 1"
    ways.append(fill("SELECT file('{file}')", target))
    code = """
import json, sys
from chdb.state.sqlitelike import Connection
connection, found = Connection(sys.argv[1]), []
for sql in json.loads(sys.argv[2]):
    try:
        found.append(bytes(connection.query(sql, "CSV").bytes()).decode())
    except Exception as error:
        found.append(str(error))
print(json.dumps(found), flush=True)
import os
os._exit(0)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "data"), json.dumps(ways)],
        capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert [SECRET in text for text in found] == [True, True, False, True], found
    assert target.seen
    target.seen.clear()
