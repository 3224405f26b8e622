"""Concurrent queries: the outcome if one, several or none of them fail."""

import asyncio

import pytest

from endpoint_analytics.pipeline.store.errors import StoreError
from endpoint_analytics.pipeline.store.query_group import query_group


async def answer():
    return 7


async def fail(error, after_s=0.0):
    await asyncio.sleep(after_s)
    raise error


async def ask(*queries):
    async with query_group() as group:
        tasks = [group.create_task(query) for query in queries]
    return [task.result() for task in tasks]


def test_answers_come_out():
    assert asyncio.run(ask(answer(), answer())) == [7, 7]


def test_a_store_error_comes_out_alone_on_every_python():
    with pytest.raises(StoreError, match="too slow") as raised:
        asyncio.run(ask(answer(), fail(StoreError("too slow"))))
    assert type(raised.value) is StoreError
    assert raised.value.__suppress_context__


def test_of_several_store_errors_one_comes_out():
    with pytest.raises(StoreError, match="first"):
        asyncio.run(ask(fail(StoreError("first")), fail(StoreError("second"))))


def test_a_store_error_of_a_group_within_comes_out():
    with pytest.raises(StoreError, match="deep"):
        asyncio.run(ask(ask(fail(StoreError("deep")))))


def test_the_others_are_cancelled():
    ended = []

    async def long():
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(True)

    with pytest.raises(StoreError):
        asyncio.run(ask(long(), fail(StoreError("x"))))
    assert ended == [True]


def test_a_defect_is_not_hidden_behind_a_store_error():
    with pytest.raises(ExceptionGroup) as raised:
        asyncio.run(ask(fail(StoreError("x")), fail(ValueError("a bug"))))
    assert {type(error) for error in raised.value.exceptions} == {StoreError, ValueError}


def test_cancelling_is_cancelling():
    async def cancelled():
        task = asyncio.create_task(ask(asyncio.sleep(60)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
