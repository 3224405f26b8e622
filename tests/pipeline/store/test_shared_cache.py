import asyncio

import pytest

from endpoint_analytics.pipeline.store.shared_cache import SharedCache


class Clock:
    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        return self.now_s


class Question:
    def __init__(self, *answers):
        self.asked = 0
        self.answers = list(answers)
        self.gate = asyncio.Event()

    async def __call__(self):
        self.asked += 1
        await self.gate.wait()
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def run(main):
    asyncio.run(asyncio.wait_for(main(), 10))


def test_many_askers_share_one_question():
    async def main():
        cache, question = SharedCache(1.0, 10, Clock()), Question("answer")
        askers = [asyncio.create_task(cache.get("k", question)) for _ in range(50)]
        await asyncio.sleep(0)
        question.gate.set()
        results = await asyncio.gather(*askers)
        assert question.asked == 1
        assert [outcome for _, outcome in results] == ["miss"] + ["joined"] * 49
        assert {value for value, _ in results} == {"answer"}

    run(main)


def test_an_answer_is_kept_for_its_time():
    async def main():
        clock = Clock()
        cache, question = SharedCache(1.0, 10, clock), Question("a", "b")
        question.gate.set()
        assert await cache.get("k", question) == ("a", "miss")
        clock.now_s = 0.999
        assert await cache.get("k", question) == ("a", "hit")
        clock.now_s = 1.0
        assert await cache.get("k", question) == ("b", "miss")

    run(main)


def test_a_failure_is_shared_and_not_kept():
    async def main():
        cache, question = SharedCache(1.0, 10, Clock()), Question(ValueError("no"), "b")
        askers = [asyncio.create_task(cache.get("k", question)) for _ in range(3)]
        await asyncio.sleep(0)
        question.gate.set()
        results = await asyncio.gather(*askers, return_exceptions=True)
        assert [str(result) for result in results] == ["no"] * 3
        assert await cache.get("k", question) == ("b", "miss")

    run(main)


def test_an_asker_that_goes_away_does_not_take_the_answer_with_it():
    async def main():
        cache, question = SharedCache(1.0, 10, Clock()), Question("a")
        first = asyncio.create_task(cache.get("k", question))
        await asyncio.sleep(0)
        second = asyncio.create_task(cache.get("k", question))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        question.gate.set()
        assert await second == ("a", "joined")
        assert question.asked == 1

    run(main)


def test_the_oldest_goes_when_it_is_full():
    async def main():
        cache = SharedCache(1.0, 2, Clock())
        for key in "abc":
            question = Question(key)
            question.gate.set()
            await cache.get(key, question)
        assert len(cache) == 2
        again = Question("new", "new")
        again.gate.set()
        assert await cache.get("c", again) == ("c", "hit")
        assert await cache.get("a", again) == ("new", "miss")

    run(main)


def test_what_is_no_longer_kept_is_removed():
    async def main():
        clock = Clock()
        cache = SharedCache(1.0, 10, clock)
        slow, question = Question("slow"), Question("a", "b", "c")
        question.gate.set()
        await cache.get("a", question)
        waiting = asyncio.create_task(cache.get("slow", slow))
        await asyncio.sleep(0)
        await cache.get("b", question)
        assert len(cache) == 3
        clock.now_s = 1.0
        await cache.get("c", question)
        assert len(cache) == 3  # not "a"; what is still asked for stays, and what came after it
        slow.gate.set()
        assert await waiting == ("slow", "miss")

    run(main)
