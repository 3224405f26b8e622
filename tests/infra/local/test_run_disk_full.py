"""A run whose disk fills to the last byte: it reports that, recovers once there is space, and has lost nothing.

The disk is a separate, small, real file system, which needs the permission to mount one.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.faults.rig import FleetRun, accepted_by
from tests.support.mounts import small_filesystem
from tests.support.oracle import differences
from tests.support.waiting import eventually

from endpoint_analytics.infra.fleet.config import FleetConfig
from endpoint_analytics.infra.fleet.fleet import Fleet
from endpoint_analytics.infra.local.clickhouse.passwords import WRITER, password_file
from endpoint_analytics.pipeline.store.connect import connect
from endpoint_analytics.schemas.configuration.clickhouse_config import ClickHouseConfig
from endpoint_analytics.schemas.configuration.kafka_config import KafkaConfig

SIZE_BYTES = 1600 << 20


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    with small_filesystem(tmp_path / "disk", SIZE_BYTES, on_disk=True) as disk:
        yield disk


def fill(disk: Path) -> None:
    """Use up every free byte, including bytes that are freed meanwhile."""
    with (disk / "ballast").open("ab") as file:
        while True:
            try:
                os.write(file.fileno(), b"\0" * (1 << 20))
            except OSError:
                break
    with (disk / "grains").open("ab") as file:
        try:
            while True:
                os.write(file.fileno(), b"\0" * 4096)
        except OSError:
            pass


@pytest.mark.whole
@pytest.mark.slow
def test_a_full_disk_is_reported_and_the_run_recovers(small_disk, tmp_path):
    data, output = small_disk / "data", small_disk / "run.log"
    ports = [word for name in ("kafka", "clickhouse", "serve") for word in (f"--{name}-port", "0")]
    command = [
        sys.executable,
        "-m",
        "endpoint_analytics.infra.command",
        "run",
        "--no-demo",
        "--data",
        str(data),
    ]
    with output.open("wb") as file:  # its own output is on the full disk too
        run = subprocess.Popen([*command, *ports], stdout=file, stderr=file)
    try:
        said = output.read_text

        def until(words: str, within_s: float = 90) -> None:
            eventually(said, lambda text: words in text or run.poll() is not None, within_s, words)
            assert words in said(), said()
            assert run.poll() is None, said()

        until("Endpoint Analytics is ready")
        kafka = said().partition("ENDPOINT_ANALYTICS_KAFKA=")[2].split()[0]
        config = FleetConfig(name="full", replicas=20, interval_s=0.5, seed=1)
        fleet = Fleet(config, KafkaConfig(bootstrap_servers=kafka))
        sending = FleetRun(fleet, fleet.run_steadily(30))
        time.sleep(5)
        end = time.monotonic() + 15
        while time.monotonic() < end:
            fill(small_disk)
            time.sleep(0.5)
        assert run.poll() is None, said()
        (small_disk / "ballast").unlink()
        (small_disk / "grains").unlink()
        until(f"the disk of {data} is full")
        until(f"the disk of {data} has space again")
        sending.join()
        url = next(word for word in said().split() if word.startswith("http://") and "?" not in word)
        password = password_file(data / "clickhouse", WRITER).read_text().strip()
        client = connect(ClickHouseConfig(url, password=password))
        try:
            accepted = accepted_by([fleet])
            eventually(
                lambda: differences(client, "full", accepted),
                lambda wrong: not wrong,
                120,
                "all is stored once",
            )
        finally:
            client.close()
        run.send_signal(signal.SIGINT)
        assert run.wait(30) == 0, said()
    finally:
        run.kill()
        run.wait()
