"""The demo application on a real uvicorn, with its agent but without Kafka."""

import asyncio
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from io import BytesIO
from urllib.request import urlopen

import aiohttp
import pytest
from tests.support.waiting import PATIENCE, until_open

from endpoint_analytics.agents.scrape.settings import parse_own
from endpoint_analytics.infra.local.demo.app import MAX_BODY_BYTES
from endpoint_analytics.infra.local.demo.engine_metrics import MAPPING, PATH
from endpoint_analytics.infra.local.demo.inference import QUEUE_LIMIT
from endpoint_analytics.infra.local.system.port import free_port

PYTHON = b"import os\n\n\ndef main():\n    for name in os.listdir('.'):\n        print(name)\n" * 3
SQL = b"SELECT name, count(*) FROM users WHERE id > 10 GROUP BY name ORDER BY 2 DESC;\n" * 3


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port("127.0.0.1")
    log = tmp_path_factory.mktemp("app") / "log"
    words = [
        "-m",
        "uvicorn",
        "--factory",
        "endpoint_analytics.infra.local.demo.app:create",
        "--port",
        str(port),
    ]
    environ = {**os.environ, "ENDPOINT_ANALYTICS_KAFKA": "127.0.0.1:1", "ENDPOINT_ANALYTICS_REPLICA_ID": "r1"}
    with log.open("wb") as file:
        server = subprocess.Popen([sys.executable, *words], env=environ, stdout=file, stderr=file)
    try:
        until_open(port, server, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


def post(url: str, path: str, body: object = None) -> tuple[int, bytes]:
    async def send() -> tuple[int, bytes]:
        async with (
            aiohttp.ClientSession() as session,
            session.post(url + path, data=body) as response,
        ):
            return response.status, await response.read()

    return asyncio.run(send())


def archive() -> bytes:
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as writer:
        writer.writestr("a.txt", "a" * 500)
        writer.writestr("b.txt", "b" * 500)
    return file.getvalue()


def test_the_model_distinguishes_types(url: str) -> None:
    status, body = post(url, "/predict", PYTHON)
    assert (status, body[:18]) == (200, b'{"label":"python",')
    assert b'"sql"' in post(url, "/predict", SQL)[1]
    assert b'"zip:2"' in post(url, "/predict", archive())[1]
    assert b'"unknown"' in post(url, "/predict?min_score=1", b"neither fish nor flesh, 12 34")[1]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/predict", b"", 400),
        ("/predict/stream", b"", 400),
        ("/nothing", PYTHON, 404),
        ("/predict", bytes(MAX_BODY_BYTES + 1), 413),
        ("/predict?min_score=high", PYTHON, 422),
        ("/predict?min_score=nan", PYTHON, 422),
        ("/predict", archive()[:-40], 500),
    ],
)
def test_errors_have_their_statuses(url: str, path: str, body: bytes, status: int) -> None:
    assert post(url, path, body)[0] == status


def test_a_body_that_grows_too_large_is_refused(url: str) -> None:
    async def pieces():
        for _ in range(MAX_BODY_BYTES // 65_536 + 1):
            yield bytes(65_536)

    assert post(url, "/predict", pieces())[0] == 413


def test_parts_are_answered_while_the_body_is_still_being_sent(url: str) -> None:
    async def talk() -> list[bytes]:
        answered = asyncio.Event()

        async def pieces():
            yield PYTHON + b"\n---\n"
            await answered.wait()
            yield SQL

        async with (
            aiohttp.ClientSession() as session,
            session.post(url + "/predict/stream", data=pieces()) as response,
        ):
            lines = [await response.content.readline()]
            answered.set()
            return [*lines, await response.content.read()]

    lines = asyncio.run(asyncio.wait_for(talk(), 20 * PATIENCE))
    assert [b'"python"' in lines[0], b'"sql"' in lines[1]] == [True, True]


def test_a_full_queue_turns_requests_away_and_is_open_again_afterwards(url: str) -> None:
    async def crowd() -> list[int]:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

            async def one() -> int:
                async with session.post(url + "/predict", data=PYTHON) as response:
                    return response.status

            return await asyncio.gather(*(one() for _ in range(8 * QUEUE_LIMIT)))

    statuses = asyncio.run(crowd())
    assert set(statuses) == {200, 503}
    assert statuses.count(200) >= QUEUE_LIMIT
    assert post(url, "/predict", PYTHON)[0] == 200


def test_the_engine_exposes_the_metrics_that_its_agent_scrapes(url: str) -> None:
    def reported() -> dict[str, float]:
        with urlopen(f"{url}{PATH}") as answer:
            lines = answer.read().decode().splitlines()
        return {name: float(value) for name, value in (line.split() for line in lines if line[0] != "#")}

    before = reported()
    post(url, "/predict", PYTHON)
    after = reported()
    assert after["demo_requests_finished_total"] == before["demo_requests_finished_total"] + 1
    assert after["demo_bytes_read_total"] == before["demo_bytes_read_total"] + len(PYTHON)
    assert (after["demo_requests_running"], after["demo_requests_waiting"]) == (0, 0)
    assert {name for source in parse_own(MAPPING.split(",")) for name in source.names} == set(after)
