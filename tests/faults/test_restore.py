"""The database is replaced by an older one, as after a restore: `partitions rewind` gets back what it lacks."""

from __future__ import annotations

import math
import shutil
import time
from datetime import UTC, datetime

import pytest
from tests.faults.rig import Rig

from endpoint_analytics.pipeline.core.chunks import ChunkRule
from endpoint_analytics.pipeline.store.migrate import migrate
from endpoint_analytics.schemas.topics import REQUESTS

TRAFFIC = {"rate": 8.0, "duplicates": 0.1, "gaps": 0.02, "late": 0.05, "restarts": 0.05, "hardware": True}


@pytest.mark.slow
@pytest.mark.parametrize("since", ["", "backup"])
def test_a_restored_database_gets_what_it_lacks(rig: Rig, since: str) -> None:
    data, backup = rig.directory / "clickhouse", rig.directory / f"backup-{since or 'hour'}"
    worker = rig.worker()
    rig.send_steadily(6, **TRAFFIC).join()
    rig.wait_for_commits()
    rig.verify("before the backup")
    assert worker.stop(30) == 0
    rig.parts.clickhouse.stop()
    shutil.copytree(data, backup, symlinks=True)
    at = datetime.now(UTC)
    rig.parts.clickhouse.start()

    worker = rig.worker("worker-2", static=False)  # it leaves the group as soon as it stops
    rig.send_steadily(6, name=f"{rig.name}-more", **TRAFFIC).join()
    rig.wait_for_last_chunks()
    rig.verify("after the backup")
    stored = rig.stored_batches()
    group = worker.words[worker.words.index("--group") + 1]
    rewind = ("partitions", "rewind", "--group", group, *(("--to", at.isoformat()) if since else ()))
    assert "has members: stop its workers" in rig.refused(*rewind)
    assert worker.stop(30) == 0

    rig.parts.clickhouse.stop()
    shutil.rmtree(data)
    shutil.copytree(backup, data, symlinks=True)
    rig.parts.clickhouse.start()
    assert rig.stored_batches() < stored
    assert "on again, instead of" in rig.command(*rewind)
    assert "nothing is read again" in rig.command(*rewind)
    rig.worker("worker-3")
    rig.send_steadily(2, name=f"{rig.name}-last", **TRAFFIC).join()
    rig.wait_for_last_chunks()
    rig.verify(f"an older database restored, and read again since {since or 'an hour before it'}")


@pytest.mark.slow
def test_what_was_read_again_from_too_late_on_is_read_again_from_earlier_on(rig: Rig) -> None:
    """A chunk that the database lacks is never read from its middle on: a later reader would count the rest twice.

    No batch is sent twice: one whose first is before the hole, and the second after it, was counted by then.
    """
    length_s = ChunkRule().length_ms / 1000
    begun = math.ceil(time.time() / length_s) * length_s
    worker = rig.worker(static=False)
    sending = rig.send_steadily(begun + 2 * length_s - time.time(), rate=8.0, restarts=0.05, hardware=True)
    sending.join()
    rig.wait_for_last_chunks()
    assert worker.stop(30) == 0

    rig.client.command(f"DROP DATABASE {rig.database} SYNC")
    migrate(rig.parts.clickhouse.config(rig.database))
    rewind = ("partitions", "rewind", "--group", worker.words[worker.words.index("--group") + 1])
    middle = datetime.fromtimestamp(begun + length_s / 2, UTC)
    assert "on again, instead of" in rig.command(*rewind, "--to", middle.isoformat())
    worker = rig.worker("worker-2", static=False)
    rig.eventually(rig.stored_batches, lambda stored: stored > 0, "batches from the middle on")
    rig.wait_for_last_chunks()
    assert worker.stop(30) == 0
    assert "on again, instead of" in rig.command(*rewind)
    rig.worker("worker-3")
    rig.wait_for_last_chunks()
    rig.verify("an empty database, read again from too late on, then from the beginning")


@pytest.mark.slow
def test_what_kafka_no_longer_has_is_named(rig: Rig) -> None:
    worker = rig.worker(static=False)
    rig.send_steadily(6, **TRAFFIC).join()
    rig.wait_for_commits()
    assert worker.stop(30) == 0
    group = worker.words[worker.words.index("--group") + 1]
    first = min(partition for partition, offset in rig.committed().items() if offset > 1)
    rig.trim({first: 1})
    lines = rig.command("partitions", "rewind", "--group", group).splitlines()
    [cut] = [line for line in lines if "Kafka has nothing older than" in line]
    assert cut.startswith(f"{REQUESTS.name(rig.name)}/{first}: from 1 on again, instead of ")
    assert len(lines) > 1


def test_a_group_that_has_read_nothing_is_not_rewound(rig: Rig) -> None:
    said = rig.refused("partitions", "rewind", "--group", "misspelt")
    assert "the group misspelt has read nothing" in said
    assert "--group or ENDPOINT_ANALYTICS_GROUP" in said
