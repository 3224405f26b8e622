"""The demo's traffic: when requests arrive, what they contain, and that the clients' own counts are right."""

import asyncio
import itertools
import random
from collections import Counter

import pytest
from aiohttp import web

from endpoint_analytics.infra.local.demo.arrivals import Arrivals
from endpoint_analytics.infra.local.demo.inputs import WEIGHTS, choose, plan
from endpoint_analytics.infra.local.demo.traffic import Traffic, TrafficTarget, pick


def arrivals_until(end_s: float, arrivals: Arrivals, seed: int = 1) -> list[float]:
    return list(itertools.takewhile(lambda at_s: at_s < end_s, arrivals.times(random.Random(seed))))


def test_over_whole_waves_the_mean_rate_is_the_one_asked_for() -> None:
    times = arrivals_until(3600, Arrivals(rate=40, wave_s=900))
    assert len(times) / 3600 == pytest.approx(40, rel=0.03)
    assert times == sorted(times)


def test_the_wave_and_the_bursts_are_seen() -> None:
    times = arrivals_until(900, Arrivals(rate=40, wave_s=900, wave_depth=0.5))
    per_second = Counter(int(at_s) for at_s in times)
    high = sum(per_second[second] for second in range(150, 300))
    low = sum(per_second[second] for second in range(600, 750))
    assert high > 1.7 * low
    assert max(per_second.values()) > 90


def test_the_same_seed_gives_the_same_traffic() -> None:
    assert arrivals_until(30, Arrivals()) == arrivals_until(30, Arrivals())
    assert arrivals_until(30, Arrivals()) != arrivals_until(30, Arrivals(), seed=2)
    first, second = random.Random(5), random.Random(5)
    assert [choose(first) for _ in range(200)] == [choose(second) for _ in range(200)]


def test_every_kind_of_request_can_be_made_and_weighs_its_share() -> None:
    assert sum(WEIGHTS.values()) == pytest.approx(1)
    rng = random.Random(1)
    assert [plan(kind, rng).kind for kind in WEIGHTS] == list(WEIGHTS)


def test_the_balancer_prefers_the_less_busy_of_two() -> None:
    rng = random.Random(1)
    busy, idle = TrafficTarget("busy", "", open=9), TrafficTarget("idle", "")
    assert {pick([busy, idle], rng).replica_id for _ in range(20)} == {"idle"}
    assert pick([busy], rng) is busy
    assert pick([], rng) is None


def test_the_clients_counts_are_those_of_the_server_and_nothing_is_left_open() -> None:
    async def talk() -> tuple[Traffic, TrafficTarget, Counter[int]]:
        served: Counter[int] = Counter()

        async def handler(request: web.Request) -> web.Response:
            await request.read()
            status = 200 if request.path.startswith("/predict") else 404
            served[status] += 1
            return web.Response(status=status)

        app = web.Application(client_max_size=1 << 20)
        app.router.add_route("*", "/{path:.*}", handler)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        target = TrafficTarget("r1", f"http://127.0.0.1:{runner.addresses[0][1]}")
        traffic = Traffic(lambda: [target], Arrivals(rate=150), seed=3)
        running = asyncio.create_task(traffic.run())
        while traffic.tally.status.total() < 200:
            await asyncio.sleep(0.02)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await runner.cleanup()
        return traffic, target, served

    traffic, target, served = asyncio.run(asyncio.wait_for(talk(), 30))
    tally = traffic.tally
    assert target.open == 0
    assert tally.broken == tally.skipped == 0
    assert all(0 <= served[status] - tally.status[status] <= 10 for status in served)
    assert tally.sent["r1"] >= tally.status.total() + tally.left.total()


@pytest.mark.outside
def test_a_replica_that_is_gone_is_counted_as_broken() -> None:
    async def talk() -> Traffic:
        traffic = Traffic(lambda: [TrafficTarget("r1", "http://127.0.0.1:1")], Arrivals(rate=100), seed=3)
        running = asyncio.create_task(traffic.run())
        while traffic.tally.broken < 5:
            await asyncio.sleep(0.02)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return traffic

    assert not asyncio.run(asyncio.wait_for(talk(), 30)).tally.status
