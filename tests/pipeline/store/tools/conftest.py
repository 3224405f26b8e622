"""A database whose requests are known, to be read through the views for tools by programs that others made.

Each judge logs in as the analyst, with its defaults, and prints one line of JSON, which is held to `Known.answers`.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from tests.pipeline.serve.api.executor import ClientExecutor
from tests.pipeline.serve.api.traffic import Request, exact_quantile, make_requests, window_rows
from tests.pipeline.store.rows import boot, hardware, insert
from tests.support.parts import ROOT

from endpoint_analytics.infra.local.clickhouse.process import ClickHouseProcess
from endpoint_analytics.pipeline.store.connect import connect
from endpoint_analytics.pipeline.store.rollup import roll_up
from endpoint_analytics.schemas.configuration.clickhouse_config import ClickHouseConfig

BOOTS = (("r1", "b1"), ("r1", "b2"), ("r2", "b3"))


@dataclass(frozen=True)
class Known:
    """Where the database is, and the requests in it: the last half hour, older minutes rolled up."""

    server: ClickHouseProcess
    database: str
    requests: Sequence[Request]
    from_s: int

    @property
    def login(self) -> ClickHouseConfig:
        """The analyst's login."""
        return self.server.analyst_config()

    def judge(self, words: Sequence[object], **environment: str) -> dict[str, object]:
        """Run a judge with where to log in, and return what it printed last."""
        told = {
            "JUDGE_HOST": self.server.host,
            "JUDGE_PORT": str(self.server.port),
            "JUDGE_DATABASE": self.database,
            "JUDGE_USER": self.login.user,
            "JUDGE_PASSWORD": self.login.password,
        }
        ran = subprocess.run(
            [str(word) for word in words], cwd=ROOT, env={**os.environ, **told, **environment}, check=False,
            capture_output=True, text=True, timeout=280,
        )  # fmt: skip
        assert ran.returncode == 0, f"{ran.stdout[-2000:]}\n{ran.stderr[-6000:]}"
        found = json.loads(ran.stdout.splitlines()[-1])
        assert isinstance(found, dict)
        return found

    def check_answers(self, found: dict[str, object]) -> None:
        """Hold a judge's answers to the truth; they are a row for each of `QUESTIONS`."""
        failed = sum(each.status >= 500 for each in self.requests)
        p95 = exact_quantile([each.latency_us for each in self.requests], 0.95)
        assert found["arrived"] == len(self.requests)
        assert found["failed"] == failed
        assert found["p95_seconds"] == pytest.approx(p95, rel=0.0055)
        assert found["first_minute"] == datetime.fromtimestamp(self.from_s, UTC).strftime(
            "%Y-%m-%dT%H:%M:%SZ"
        )
        assert found["dropped"] == 7
        assert found["cpu_percent"] == pytest.approx(42.0)
        assert found["replicas"] == ["r1", "r2"]


@pytest.fixture(scope="module")
def known(server, config) -> Known:
    client = connect(config)
    now = datetime.now(UTC)
    to_s = int(now.timestamp()) // 60 * 60
    from_s = to_s - 1800
    covered = [(replica, each, window) for replica, each in BOOTS for window in range(from_s, to_s, 10)]
    requests = make_requests(BOOTS, from_s, to_s, 3, random.Random(3))
    insert(client, "request_windows", window_rows(requests, covered))
    insert(client, "hardware_windows", [hardware(now, "cpu_percent", 42.0, replica="r1")])
    asyncio.run(roll_up(ClientExecutor(client)))
    insert(
        client,
        "boot_states",
        [boot(now, replica="r1", dropped={"queue_full": 7}), boot(now, replica="r2", boot_id="b3")],
    )
    client.close()
    return Known(server, config.database, requests, from_s)
