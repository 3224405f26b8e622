"""A peer of the live benchmark: Kafka Streams. Fetches its jars and a Java compiler, and compiles `kafka_streams/`.

Streams keeps windows in RocksDB and in a changelog topic. With its default guarantee (at least once) a crash may add
again what lies behind the last commit, a second here; with `exactly_once_v2` it does not.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
from pathlib import Path

from endpoint_analytics.infra.local.kafka import jars
from endpoint_analytics.infra.local.kafka.java import find_java
from endpoint_analytics.infra.local.kafka.repository import Jar, download, sha256_of

SOURCE = Path(__file__).with_name("kafka_streams") / "Windows.java"
STREAMS = (
    Jar(
        "org.apache.kafka",
        "kafka-streams",
        jars.KAFKA_VERSION,
        "bd73f3805e116f711e8456ee89a8a5b43ff5dcf5a5bb865afae29deae89e7c4b",
    ),
    Jar(
        "org.rocksdb",
        "rocksdbjni",
        "10.1.3",
        "e7f925287d9fe2574fb7c7a86f7facaa9b8ab602a2eed0e598bf633528121498",
    ),
)
COMPILER = Jar(
    "org.eclipse.jdt",
    "ecj",
    "3.42.0",
    "29f6d3918ee02db4400c103bc25dd90a22491c3a395867d9393070cb96a7dd29",
)
TABLE = """
CREATE TABLE streams_windows (
    endpoint LowCardinality(String), replica_id String, window DateTime, version UInt64, requests UInt64,
    latency_sum_us UInt64, statuses Map(UInt16, UInt64), latency Map(UInt16, UInt64), ttfb Map(UInt16, UInt64)
) ENGINE = ReplacingMergeTree(version) PARTITION BY toDate(window) ORDER BY (endpoint, replica_id, window)
"""
STORED = "SELECT replica_id, sum(requests) FROM streams_windows FINAL GROUP BY replica_id"


def command(classes: Path) -> tuple[str, ...]:
    """Return the command without its arguments, once the jars are there and the source is compiled into `classes`.

    Raises KafkaError if a jar or Java is missing.
    """
    paths = [*jars.fetch(print), *map(_fetch, STREAMS)]
    java, path = str(find_java()), os.pathsep.join(map(str, paths))
    classes.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [java, "-jar", str(_fetch(COMPILER)), "-nowarn", "-17", "-cp", path, "-d", str(classes), str(SOURCE)],
        check=True,
    )
    return (java, "-Xmx1g", "-cp", os.pathsep.join((path, str(classes))), "Windows")


def _fetch(jar: Jar) -> Path:
    path = jars.cache_directory().parent / "benchmarks" / jar.file_name
    if not path.exists() or sha256_of(path) != jar.sha256:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as staging:
            download(jar, Path(staging), threading.Event()).replace(path)
    return path
