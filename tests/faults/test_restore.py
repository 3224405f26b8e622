"""The database is replaced by an older one, as after a restore: `partitions rewind` gets back what it lacks."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime

import pytest
from tests.faults.rig import Rig

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
