import asyncio
from datetime import UTC, datetime

import pytest

from endpoint_analytics.pipeline.serve.access.token_cache import (
    GOOD_FOR_S,
    READ_EVERY_S,
    READ_FOR_REFUSAL_S,
    TokenCache,
)
from endpoint_analytics.pipeline.store.errors import StoreUnreachableError
from endpoint_analytics.pipeline.store.tokens import sha256_hex

SECRET = "s" * 43
TOKEN = f"eat_{'0' * 16}_{SECRET}"
ROW = ("0" * 16, sha256_hex(SECRET).encode(), "acme", "", datetime(2026, 1, 2, tzinfo=UTC), 0)


class Reader:
    """Stands in for ClickHouse: the cache's own rules are tested here, the query in the service's tests."""

    def __init__(self):
        self.rows, self.reads, self.works = [ROW], 0, True

    async def read(self, sql, parameters):
        self.reads += 1
        if not self.works:
            raise StoreUnreachableError("gone")
        return self.rows


class LookupCache:
    def __init__(self):
        self.now_s = 100.0
        self.reader = Reader()
        self.book = TokenCache(self.reader, lambda: self.now_s)


@pytest.fixture
def it():
    return LookupCache()


def check(it, *texts):
    async def main():
        return [await it.book.check(text) for text in texts]

    return asyncio.run(main())


def test_any_number_of_checks_cost_one_query(it):
    unknown = [f"eat_{number:016x}_{SECRET}" for number in range(1, 200)]
    found = check(it, TOKEN, *unknown, TOKEN)
    assert it.reader.reads == 1
    assert [token is not None for token in found] == [True, *([False] * 199), True]


def test_a_new_token_opens_at_once(it):
    async def main():
        it.reader.rows = []
        assert await it.book.check(TOKEN) is None
        it.reader.rows = [ROW]
        it.now_s += READ_FOR_REFUSAL_S
        assert await it.book.check(TOKEN) is not None
        assert it.reader.reads == 2

    asyncio.run(main())


def test_what_is_no_token_costs_no_query(it):
    assert check(it, "", "nonsense", "eat_x_y") == [None] * 3
    assert it.reader.reads == 0


def test_a_revoked_token_opens_nothing_within_five_seconds(it):
    async def main():
        assert await it.book.check(TOKEN) is not None
        it.reader.rows = []
        it.now_s += READ_EVERY_S
        assert await it.book.check(TOKEN) is None

    asyncio.run(main())
    assert READ_EVERY_S < GOOD_FOR_S < 5


def test_without_clickhouse_the_book_is_used_for_a_while_and_no_longer(it):
    async def main():
        assert await it.book.check(TOKEN) is not None
        it.reader.works = False
        it.now_s += GOOD_FOR_S - 0.1
        assert await it.book.check(TOKEN) is not None
        it.now_s += 0.2
        with pytest.raises(StoreUnreachableError):
            await it.book.check(TOKEN)

    asyncio.run(main())
