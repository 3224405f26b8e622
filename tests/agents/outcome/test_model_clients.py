"""OpenAI's and Anthropic's own clients judge what is reported: they count tokens and stop the time themselves.

A client starts its watch before the request is at the server, and sees a token after it was sent: its times are never
shorter than the reported ones. A busy machine may stop any of us for a while, so of TIMES calls of a kind the closest
is held to be at most TOLERANCE_US longer: what is measured wrongly is wrong in all of them.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.agents.collected import Collected, Row, collect
from tests.agents.middleware.test_harmless import uvicorn_of
from tests.agents.outcome.model_app import CACHED, FIRST_S, MODEL, NEXT_S, app
from tests.agents.proxy.running import run_proxy
from tests.support.judges import virtual_environment

from endpoint_analytics.agents.core.config import AgentConfig
from endpoint_analytics.agents.middleware.asgi import AnalyticsMiddleware

pytestmark = [pytest.mark.judge, pytest.mark.slow]

CLIENTS = ("openai==3.51.0", "anthropic==2.10.0")
TOKENS, TIMES = 16, 5
INPUT_TOKENS = 7
TOLERANCE_US = 10_000
EARLY_S = 0.002
"""Timers of an event loop may be early by the resolution of its clock."""
STREAMED = ("chat, streamed", "completions, streamed", "responses, streamed", "messages, streamed")
WHOLE = ("chat", "responses", "embeddings", "messages")
LEFT = "chat, left"


@dataclass
class Seen:
    """A call as its client saw it, and as it was reported."""

    kind: str
    tokens_us: Sequence[int]
    total_us: int
    usage: dict[str, int | None]
    row: Row

    def gap_max_us(self) -> int:
        return max(
            later - earlier for earlier, later in zip(self.tokens_us, self.tokens_us[1:], strict=False)
        )


@contextmanager
def by_middleware(config: AgentConfig) -> Iterator[tuple[int, Collected]]:
    middleware = AnalyticsMiddleware(app, config=config)
    with uvicorn_of(middleware) as port:
        agent = middleware.agent
        yield port, collect(agent)
    agent.stop()


@contextmanager
def by_proxy(config: AgentConfig) -> Iterator[tuple[int, Collected]]:
    with uvicorn_of(app) as upstream, run_proxy(config, upstream) as running:
        yield running.port, collect(running.agent)


@pytest.fixture(params=[by_middleware, by_proxy])
def seen(request, make_config) -> list[Seen]:
    python = virtual_environment("model-clients", *CLIENTS) / "bin" / "python"
    script = Path(__file__).with_name("model_clients.py")
    config = make_config(dimensions=("model", "caller", "route"), caller_header="X-Case")
    with request.param(config) as (port, collected):
        words = [str(python), str(script), str(port), str(TOKENS), str(TIMES)]
        said = subprocess.run(words, check=True, capture_output=True, text=True, timeout=240).stdout
        calls: list[dict[str, Any]] = json.loads(said)
        rows = {row.slice.caller: row for row in collected.rows(len(calls))}
    return [
        Seen(call["kind"], call["tokens_us"], call["total_us"], call["usage"], rows[call["name"]])
        for call in calls
        if call["name"] != "warm"
    ]


def later_by(later_us: Sequence[int]) -> None:
    """Clients saw something later than it was reported, by so much: never before, and soon."""
    assert min(later_us) >= 0, later_us
    assert min(later_us) <= TOLERANCE_US, later_us


def of(seen: list[Seen], kind: str) -> list[Seen]:
    found = [one for one in seen if one.kind == kind]
    assert len(found) == TIMES
    return found


def test_clients_agree(seen):
    tokens_agree([one for one in seen if one.kind != LEFT])
    for kind in STREAMED:
        times_of_streams_agree(of(seen, kind))
    for kind in WHOLE:
        for one in of(seen, kind):
            assert (one.row["first_token_us"], one.row["ended"]) == (None, "complete")
        later_by([one.total_us - one.row["first_byte_us"] for one in of(seen, kind)])
    left_early(of(seen, LEFT))


def tokens_agree(seen: list[Seen]) -> None:
    for one in seen:
        assert one.usage == one.row.says(**one.usage), one.kind
        expected = (INPUT_TOKENS, None if one.kind == "embeddings" else TOKENS)
        assert (one.usage["input_tokens"], one.usage["output_tokens"]) == expected
        assert one.usage["cached_tokens"] == (None if one.kind == "embeddings" else CACHED)
        assert not one.row["estimated"]
        assert one.row.slice.model == MODEL


def times_of_streams_agree(seen: list[Seen]) -> None:
    for one in seen:
        row = one.row
        assert (row["ended"], row["events"], len(one.tokens_us)) == ("complete", TOKENS, TOKENS)
        assert row.slice.streamed
        assert row["first_token_us"] >= (FIRST_S - EARLY_S) * 1e6
        assert row["last_token_us"] - row["first_token_us"] >= ((TOKENS - 1) * NEXT_S - FIRST_S) * 1e6
    later_by([one.tokens_us[0] - one.row["first_token_us"] for one in seen])
    later_by([one.tokens_us[-1] - one.row["last_token_us"] for one in seen])
    assert min(abs(one.total_us - one.row["duration_us"]) for one in seen) <= TOLERANCE_US
    gaps_us = [abs(one.gap_max_us() - one.row["gap_max_us"]) for one in seen]
    assert min(gaps_us) <= TOLERANCE_US, gaps_us


def left_early(seen: list[Seen]) -> None:
    """What was sent before the server knew is counted, too: a few tokens at most."""
    for one in seen:
        assert one.row["ended"] == "aborted"
        assert len(one.tokens_us) <= one.row["events"] < TOKENS
        assert one.row["status"] == 200
    later_by([one.tokens_us[0] - one.row["first_token_us"] for one in seen])
