"""When an answer is made before its scraper comes, on an event loop whose time passes only while everybody waits."""

from __future__ import annotations

import asyncio
import selectors

import pytest

from endpoint_analytics.pipeline.exposition.accept import OPENMETRICS
from endpoint_analytics.pipeline.serve.scrape.read_ahead import (
    INTERVALS_S,
    LONGEST_LEAD_S,
    ON_TIME_S,
    SCRAPERS,
    WORTH_S,
    ReadAhead,
    Visitor,
)
from endpoint_analytics.pipeline.serve.scrape.selection import ALL
from endpoint_analytics.pipeline.store.errors import StoreError
from endpoint_analytics.pipeline.store.scope import Scope


class Skipping(selectors.DefaultSelector):
    """Does not wait: the time until which it would have waited has come."""

    now_s = 1000.0

    def select(self, timeout=None):
        assert timeout is not None, "everybody waits for ever"
        self.now_s += max(0, timeout)
        return super().select(0)


class Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.skipping = Skipping()
        super().__init__(self.skipping)

    def time(self) -> float:
        return self.skipping.now_s


class Exposition:
    def __init__(self, made_s: float) -> None:
        self._made_s = made_s

    async def body(self, form, gzip_accepted):
        return f"{form.media_type} {self._made_s:.2f}".encode(), gzip_accepted


class Readings:
    """In place of Scrapes: an exposition says when it was begun. `takes_s`, the outcome and failures may be changed."""

    def __init__(self) -> None:
        self.begun_s: list[float] = []
        self.takes_s = 1.0
        self.outcome = "miss"
        self.failures = 0

    def __len__(self) -> int:
        return 7

    async def scrape(self, scope, selection):
        begun_s = asyncio.get_running_loop().time()
        self.begun_s.append(begun_s - 1000)
        await asyncio.sleep(self.takes_s)
        if self.failures:
            self.failures -= 1
            raise StoreError("ClickHouse did not answer within 5 s")
        return (None if scope.endpoint == "unknown" else Exposition(begun_s - 1000)), self.outcome


class House:
    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.readings = Readings()
        self.ahead = ReadAhead(self.readings, self.loop.time)

    async def visit(
        self, at_s: float, address: str = "10.0.0.1", endpoint: str = "", namespace: str = "acme"
    ) -> tuple[str, float, float]:
        """Come at a time and return how the answer was found, when it was begun, and how long that took."""
        await asyncio.sleep(1000 + at_s - self.loop.time())
        visitor = Visitor(address, Scope(namespace, endpoint), ALL, OPENMETRICS, True)
        answer, outcome = await self.ahead.answer(visitor)
        begun_s = float(answer.body.split()[-1]) if answer is not None else -1
        return outcome, begun_s, round(self.loop.time() - 1000 - at_s, 2)


def at_house(test):
    """Run the test with a House on a loop of its own."""

    def run():
        async def live():
            await test(House())

        with asyncio.Runner(loop_factory=Loop) as runner:
            runner.run(live())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@at_house
async def test_who_was_on_time_twice_finds_the_answer_ready(house):
    assert await house.visit(0) == ("miss", 0, 1)
    assert await house.visit(15) == ("miss", 15, 1)
    assert await house.visit(30.5) == ("miss", 30.5, 1)
    outcome, begun_s, took_s = await house.visit(46)
    assert (outcome, took_s) == ("ahead", 0)
    assert 43 <= begun_s < 45
    assert (await house.visit(61.3))[::2] == ("ahead", 0)
    assert len(house.readings.begun_s) == 5  # one a visit


@at_house
async def test_each_scraper_has_its_own_interval(house):
    visits = sorted([(15 * n, "10.0.0.1") for n in range(6)] + [(7.0 + 20 * n, "10.0.0.2") for n in range(5)])
    seen = [(address, (await house.visit(at_s, address))[0]) for at_s, address in visits]
    assert [outcome for address, outcome in seen if address == "10.0.0.1"] == ["miss"] * 3 + ["ahead"] * 3
    assert [outcome for address, outcome in seen if address == "10.0.0.2"] == ["miss"] * 3 + ["ahead"] * 2


@at_house
async def test_who_comes_while_the_answer_is_made_waits_for_the_rest(house):
    for number in range(3):
        await house.visit(15 * number)
    assert await house.visit(44) == ("ahead", 43.5, 0.5)


@at_house
async def test_of_two_visits_at_once_the_one_that_was_on_time_counts(house):
    """Such as two scrapers behind one proxy."""
    for number in range(3):
        await asyncio.gather(house.visit(15 * number), house.visit(15 * number + 0.5))
    found = await asyncio.gather(house.visit(45), house.visit(45.5))
    assert [outcome for outcome, _, _ in found] == ["ahead", "miss"]
    await house.ahead.close()
    await asyncio.sleep(100)
    assert len(house.readings.begun_s) == 8  # one a visit, and none once it is closed


@at_house
async def test_who_comes_before_it_is_begun_gets_one_of_its_own(house):
    for number in range(3):
        await house.visit(15 * number)
    assert (await house.visit(35))[0] == "miss"
    await asyncio.sleep(60)
    assert len(house.readings.begun_s) == 4


@at_house
async def test_a_scraper_that_is_late_gets_fresh_figures_and_one_that_stops_costs_one_reading(house):
    for number in range(3):
        await house.visit(15 * number)
    assert await house.visit(45 + ON_TIME_S + 0.1) == ("miss", 45 + ON_TIME_S + 0.1, 1)
    assert len(house.readings.begun_s) == 5  # that of the visit that did not come
    await asyncio.sleep(600)
    assert len(house.readings.begun_s) == 5


@pytest.mark.parametrize(
    ("times", "why"),
    [
        ((0, 15, 32, 47.5, 61), "the intervals differ"),
        ((0, 1.5, 3, 4.5, 6), "somebody presses reload"),
        (tuple(n * (INTERVALS_S[1] + 1) for n in range(5)), "too rare"),
    ],
)
def test_nothing_is_made_ahead_for_others(times, why):
    @at_house
    async def visits(house):
        assert [(await house.visit(at_s))[0] for at_s in times] == ["miss"] * 5, why
        await asyncio.sleep(1000)
        assert len(house.readings.begun_s) == 5

    visits()


@at_house
async def test_what_is_quick_is_made_when_it_is_asked_for(house):
    house.readings.takes_s = WORTH_S / 2
    assert {(await house.visit(15 * number))[0] for number in range(6)} == {"miss"}


@at_house
async def test_the_figures_of_slow_answers_are_not_older(house):
    house.readings.takes_s = 9
    for number in range(3):
        await house.visit(30 * number)
    assert await house.visit(90) == ("ahead", 90 - LONGEST_LEAD_S, 9 - LONGEST_LEAD_S)


@at_house
async def test_a_reading_that_failed_ahead_is_tried_again(house):
    for number in range(3):
        await house.visit(15 * number)
    house.readings.failures = 1
    assert await house.visit(45) == ("miss", 45, 1)
    house.readings.failures = 2
    with pytest.raises(StoreError):
        await house.visit(60)
    assert (await house.visit(75))[0] == "miss"


@at_house
async def test_answers_that_others_had_made_say_nothing_of_how_long_they_take(house):
    for number in range(3):
        await house.visit(15 * number)
    house.readings.takes_s, house.readings.outcome = 0.01, "hit"
    assert (await house.visit(45))[0] == "ahead"
    house.readings.takes_s, house.readings.outcome = 1, "miss"
    assert (await house.visit(60))[::2] == ("ahead", 0)


@at_house
async def test_there_is_no_answer_for_an_unknown_endpoint(house):
    assert [(await house.visit(15 * n, endpoint="unknown"))[:2] for n in range(4)] == [("miss", -1)] * 4


@at_house
async def test_what_is_remembered_is_bounded_and_ends_with_the_service(house):
    addresses = [f"10.0.1.{number}" for number in range(SCRAPERS + 1)]
    for number in range(4):
        found = await asyncio.gather(*(house.visit(15 * number, each) for each in addresses))
    assert [outcome for outcome, _, _ in found] == ["miss"] + ["ahead"] * SCRAPERS
    assert len(house.readings.begun_s) == 4 * len(addresses)
    await house.ahead.close()
    await asyncio.sleep(100)
    assert len(house.readings.begun_s) == 4 * len(addresses)


@at_house
async def test_who_waits_for_a_reading_that_fails_does_not_wait_for_another(house):
    house.readings.takes_s = 5
    for number in range(3):
        await house.visit(15 * number)
    house.readings.failures = 1
    with pytest.raises(StoreError):
        await house.visit(45)
    assert house.loop.time() - 1000 == 45 + 5 - LONGEST_LEAD_S
    assert len(house.readings.begun_s) == 4


@at_house
async def test_the_service_ends_when_what_is_being_made_has_ended(house):
    for number in range(3):
        await house.visit(15 * number)
    await asyncio.sleep(1043.7 - house.loop.time())
    await house.ahead.close()
    assert house.loop.time() - 1000 == 43.5 + 1


@at_house
async def test_a_namespace_with_many_scrapers_takes_no_place_of_others(house):
    many = [f"10.0.1.{number}" for number in range(SCRAPERS + 20)]
    for number in range(4):
        few = house.visit(15 * number, namespace="few")
        found, *_ = await asyncio.gather(few, *(house.visit(15 * number + 1, each) for each in many))
    assert found[0] == "ahead"
