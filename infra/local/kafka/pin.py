"""Rewrites `jars.json` for a new version of Kafka: `python -m endpoint_analytics.infra.local.kafka.pin`.

Kafka is resolved alone: jgo applies the managed versions of every root to all, and log4j's would give the broker
an older kafka-clients. The log binding has the log4j version that Kafka resolves.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from jgo.maven import MavenContext

from endpoint_analytics.infra.local.kafka.jars import KAFKA_VERSION, PINS
from endpoint_analytics.infra.local.kafka.repository import Jar, sha256_of


def resolve(repository: Path) -> list[Jar]:
    """Return Kafka, its runtime dependencies and an slf4j 1.7 binding, downloaded below `repository`."""
    context = MavenContext(repo_cache=repository)
    roots, others = context.resolver.resolve(
        [context.create_dependency(f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}")]
    )
    log4j = next(found.version for found in others if found.artifactId == "log4j-core")
    binding = context.create_dependency(f"org.apache.logging.log4j:log4j-slf4j-impl:{log4j}")
    jars = [
        Jar(
            found.groupId,
            found.artifactId,
            found.version,
            sha256_of(Path(found.artifact.resolve())),
        )
        for found in [*roots, *others, binding]
    ]
    return sorted(jars, key=lambda jar: (jar.group, jar.artifact))


def main() -> int:
    """Resolve and write the pins; return the exit status."""
    with tempfile.TemporaryDirectory() as directory:
        jars = resolve(Path(directory))
    lines = ",\n".join("  " + json.dumps(asdict(jar)) for jar in jars)
    PINS.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    print(f"{PINS}: {len(jars)} jars")
    return 0


if __name__ == "__main__":
    sys.exit(main())
