"""One replica of several worker processes that are recycled, killed, or all end: one set of figures, one life."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
from tests.agents.middleware.frameworks.applications import APPLICATIONS
from tests.agents.middleware.frameworks.served import Server, read_all, read_when, served
from tests.agents.middleware.frameworks.test_servers import command

from endpoint_analytics.agents.core.config import KafkaConfig

LIFE = ["initializing", "running", "terminated"]


def test_recycled_workers_end_no_replica(kafka_config, tmp_path):
    """gunicorn replaces each worker that ends, as after --max-requests."""
    (tmp_path / "application.py").write_text(APPLICATIONS["flask"])
    with served(command("gunicorn-gthread", 2), tmp_path, kafka_config) as running:
        read_when(kafka_config, lambda found: len(found.boots) == 2, "both workers")
        for number, worker in enumerate(psutil.Process(running.process.pid).children(), 3):
            assert running.ask("/hello", 30) == {200: 30}
            worker.send_signal(signal.SIGTERM)
            read_when(kafka_config, lambda found, number=number: len(found.boots) == number, "a new worker")
        assert running.ask("/hello", 30) == {200: 30}
        running.stop()
    found = read_all(kafka_config)
    assert found.status == {"200": 90}
    assert found.total("finished") == 90
    assert found.states == LIFE, running.log.read_text()


def kill_the_sampler(running: Server, kafka: KafkaConfig) -> str:
    """Kill -9 the worker that samples the hardware; return its boot."""
    sampler = read_when(kafka, lambda found: bool(found.hardware), "a hardware sample").hardware[-1].boot_id
    workers = psutil.Process(running.process.pid).children(recursive=True)
    holders = [worker.pid for worker in workers if holds_sampler(worker)]
    assert len(holders) == 1
    os.kill(holders[0], signal.SIGKILL)
    return sampler


def holds_sampler(worker: psutil.Process) -> bool:
    """Whether it keeps the file open: the others only try to lock it."""
    return any(str(link.readlink()).endswith(".sampler") for link in Path(f"/proc/{worker.pid}/fd").iterdir())


def test_a_killed_worker_is_replaced_and_its_sampling_taken_over(kafka_config, tmp_path):
    (tmp_path / "application.py").write_text(APPLICATIONS["fastapi"])
    with served(command("uvicorn", 3), tmp_path, kafka_config) as running:
        running.ask("/hello", 50)
        read_when(
            kafka_config,
            lambda found: found.total("finished") == 50 and len(found.boots) == 3,
            "the first requests, and every worker",
        )
        killed = kill_the_sampler(running, kafka_config)
        read_when(
            kafka_config, lambda found: found.hardware[-1].boot_id != killed, "another worker that samples"
        )
        assert running.ask("/hello", 50) == {200: 50}
        read_when(kafka_config, lambda found: len(found.boots) == 4, "the worker that replaces it")
        running.stop()
    found = read_all(kafka_config)
    assert found.total("finished") == 100
    assert [state for state in found.states if state != "draining"] == LIFE, running.log.read_text()
    seconds = sum(batch.end_us - batch.start_us for batch in found.hardware)
    span = max(batch.end_us for batch in found.hardware) - min(batch.start_us for batch in found.hardware)
    assert seconds <= span + 100_000, "no moment is sampled twice"
