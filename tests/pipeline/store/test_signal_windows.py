"""The last 20 s of an agent's requests according to SQL, against sums over the requests themselves."""

import random
import time
from dataclasses import dataclass

import pytest
from tests.pipeline.core.worker import Table, Worker
from tests.support.stored import insert_rows

from endpoint_analytics.pipeline.core.chunks import ChunkRule, Record
from endpoint_analytics.pipeline.core.row_block import RowBlock
from endpoint_analytics.pipeline.core.rows import Row
from endpoint_analytics.pipeline.store.connect import connect
from endpoint_analytics.schemas.codec import encode
from endpoint_analytics.schemas.requests import Arrived, Finished, RequestBatch, Responded

S = 1_000_000
START_US = (int(time.time()) // 10 - 60) * 10 * S
"""On a window's start; all moments of these tests are after it."""


@dataclass(frozen=True)
class Case:
    """Requests by when they arrive and get their status, and how long the agent reported, all after START_US."""

    requests: tuple[tuple[int, int], ...]
    until_us: int
    from_us: int = 0
    every_us: int = S


def batches(name: str, case: Case):
    arrived = sorted(arrival for arrival, _ in case.requests)
    answered = sorted((answer, answer - arrival) for arrival, answer in case.requests)
    for seq, start in enumerate(range(case.from_us, case.until_us, case.every_us)):
        end = min(start + case.every_us, case.until_us)
        within = [(at, wait) for at, wait in answered if start <= at < end]
        at_us = [at - start for at, _ in within]
        waits = [wait for _, wait in within]
        yield RequestBatch(
            namespace="laws",
            endpoint=name,
            replica_id="r1",
            boot_id="b1",
            seq=seq,
            start_us=START_US + start,
            end_us=START_US + end,
            pending=sum(arrival < start for arrival in arrived) - sum(at < start for at, _ in answered),
            streaming=0,
            arrived=Arrived([at - start for at in arrived if start <= at < end]),
            responded=Responded(at_us, waits, [200] * len(within)),
            finished=Finished(at_us, waits, [200] * len(within)),
        )


def pending_us(case: Case, from_us: int, to_us: int) -> int:
    """Time that requests were pending in [from_us, to_us), summed over them."""
    return sum(max(0, min(answer, to_us) - max(arrival, from_us)) for arrival, answer in case.requests)


def expected(case: Case) -> float:
    """The mean over the last 20 s; a partly covered window is assumed to be uniform."""
    until, total, length = case.until_us, 0.0, 0.0
    for window in range(0, until, 10 * S):
        begin, end = max(window, case.from_us), min(window + 10 * S, until)
        if begin < end:
            share = min(1.0, max(0.0, (window + 10 * S - (until - 20 * S)) / (10 * S)))
            total += share * pending_us(case, begin, end)
            length += share * (end - begin)
    return total / length


def rows_of(name: str, case: Case, rule: ChunkRule, twice: bool = False) -> list[Row | RowBlock]:
    worker = Worker("requests", Table(), rule)
    offset = 0
    for batch in batches(name, case):
        for _ in range(2 if twice else 1):
            worker.read([Record(offset, batch.end_us // 1000 + 200, encode(batch))])
            offset += 1
        if offset % 3 == 0:
            worker.flush()
    worker.close()
    return worker.table.written


ONE = ((0, 10**12),)
EDGES = {
    "one all the time": (Case(ONE, 40 * S), 1.0),
    "arrives 20 s before the end": (Case(((20 * S, 10**12),), 40 * S), 1.0),
    "answered 20 s before the end": (Case(((5 * S, 20 * S),), 40 * S), 0.0),
    "answered a microsecond later": (Case(((5 * S, 20 * S + 1),), 40 * S), 1 / (20 * S)),
    "arrives a microsecond before the end": (Case(((40 * S - 1, 10**12),), 40 * S), 1 / (20 * S)),
    "half of the time": (Case(((30 * S, 10**12),), 40 * S), 0.5),
    "two, one after the other": (Case(((20 * S, 30 * S), (30 * S, 40 * S)), 40 * S), 1.0),
    "an agent of 5 s": (Case(((31 * S, 10**12),), 35 * S, from_us=30 * S), 0.8),
    "end within a window, even": (Case(((0, 10**12), (0, 10**12)), 47 * S), 2.0),
    "end within a window, only the newest": (Case(((40 * S, 10**12),), 45 * S), 0.25),
    "end within a window, the cut one": (Case(((20 * S, 30 * S),), 45 * S), 0.25),
    "end within a window, cut one half full": (Case(((20 * S, 25 * S),), 45 * S), 0.125),
    "long batches": (Case(((30 * S, 10**12),), 40 * S, every_us=25 * S), 0.5),
}


def random_case(seed: int) -> Case:
    chance = random.Random(seed)
    from_us = chance.choice([0, chance.randrange(30 * S)])
    until = chance.choice([30 * S, 40 * S, chance.randrange(from_us + 1, 60 * S)])
    grid = chance.choice([1, S, 5 * S])
    requests = []
    for _ in range(chance.randrange(40)):
        arrival = max(from_us, chance.randrange(until) // grid * grid)
        requests.append((arrival, arrival + chance.randrange(1, 40 * S) // grid * grid + 1))
    return Case(tuple(requests), max(until, from_us + 1), from_us, chance.choice([S, 700_000, 13 * S]))


CASES = {name: case for name, (case, _) in EDGES.items()} | {
    f"random {seed}": random_case(seed) for seed in range(60)
}


def endpoint(name: str, way: str) -> str:
    return f"{name} {way}".replace(" ", "_").replace(",", "")


def moment(case: Case) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime((START_US + case.until_us) // S + 1))


@pytest.fixture(scope="module")
def means(config):
    """Means of all cases, by name, divided into chunks in three ways, the last with each message twice."""
    client = connect(config)
    rows = []
    for name, case in CASES.items():
        for way, rule in (("a", ChunkRule()), ("b", ChunkRule(max_offsets=2)), ("c", ChunkRule())):
            rows += rows_of(endpoint(name, way), case, rule, way == "c")
    insert_rows(client, rows)
    found = {}
    for case in CASES.values():
        at = moment(case)
        if at not in found:
            found[at] = dict(
                client.query(
                    "SELECT endpoint, pending FROM agent_levels_at(at = {at:DateTime64(3, 'UTC')}) "
                    "WHERE namespace = 'laws'",
                    parameters={"at": at},
                ).result_rows
            )
    client.close()

    def mean(name: str, way: str) -> float:
        return found[moment(CASES[name])][endpoint(name, way)]

    return mean


@pytest.mark.parametrize("name", EDGES)
def test_edges(means, name):
    assert means(name, "a") == pytest.approx(EDGES[name][1], abs=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_the_mean_is_that_of_the_requests(means, name):
    assert means(name, "a") == pytest.approx(expected(CASES[name]), abs=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_neither_chunks_nor_doubles_change_it(means, name):
    assert means(name, "b") == pytest.approx(means(name, "a"), abs=1e-9)
    assert means(name, "c") == pytest.approx(means(name, "a"), abs=1e-9)


def test_at_a_window_s_end_it_is_exact():
    """Without a partly covered window, the reference is the plain mean of the last 20 s."""
    for case in CASES.values():
        if case.until_us % (10 * S) == 0 and case.until_us - case.from_us >= 20 * S:
            exact = pending_us(case, case.until_us - 20 * S, case.until_us) / (20 * S)
            assert expected(case) == pytest.approx(exact)
