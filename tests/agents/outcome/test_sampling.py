"""Which requests are chosen: failed ones and slow ones first, all others with equal chances."""

import random
from collections import Counter
from operator import itemgetter

import pytest

from endpoint_analytics.agents.outcome.sampling import FAILED_AT_ONCE, Sampler


def sampler(seed=1):
    return Sampler(itemgetter(1), random.Random(seed))


def taken(found, why):
    return [chosen.item for chosen in found.take() if chosen.why == why]


def test_the_slowest_are_chosen_over_all_calls():
    found = sampler()
    found.add([("a", 5), ("b", 1)], [])
    found.add([("c", 9), ("d", 7), ("e", 2)], [])
    assert taken(found, "slow") == [("c", 9), ("d", 7), ("a", 5)]
    assert found.is_empty


def test_failed_ones_are_neither_slow_nor_ordinary_and_say_from_how_many():
    found = sampler()
    found.add([("a", 5)], [(str(n), 99) for n in range(50)])
    assert found.has_failed
    chosen = found.take()
    failed = [each for each in chosen if each.why == "failed"]
    assert len(failed) == FAILED_AT_ONCE
    assert {each.of for each in failed} == {50}
    assert [(each.item, each.of) for each in chosen if each.why != "failed"] == [(("a", 5), 1)]


@pytest.mark.parametrize("calls", [[10], [1] * 10, [7, 3], [2, 0, 8]])
def test_each_ordinary_request_has_the_same_chance_however_they_come(calls):
    counts = Counter()
    for seed in range(3_000):
        found, number = sampler(seed), 0
        for size in calls:
            found.add([(number + n, 0) for n in range(size)], [])
            number += size
        chosen = found._ordinary.kept
        assert len({item for item, _ in chosen}) == 2
        counts.update(item for item, _ in chosen)
    assert set(counts) == set(range(10))
    assert all(600 * 0.8 < count < 600 * 1.2 for count in counts.values()), counts
