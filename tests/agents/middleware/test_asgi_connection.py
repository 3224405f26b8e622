"""What servers know about a connection: a queue is searched without losing a message."""

from __future__ import annotations

import asyncio
import socket

from endpoint_analytics.agents.core.peer import peer_closed
from endpoint_analytics.agents.middleware.asgi import AnalyticsMiddleware
from endpoint_analytics.agents.middleware.asgi_connection import QUEUE, UNKNOWN, QueueReceive, server_of

REQUEST = {"type": "http.request", "body": b"", "more_body": False}
PIECE = {"type": "http.request", "body": b"piece", "more_body": True}
GONE = {"type": "http.disconnect"}


def queue_of(*messages):
    queue = asyncio.Queue()
    for message in messages:
        queue.put_nowait(message)
    return QueueReceive(queue)


def test_a_disconnect_behind_the_body_is_found_and_every_message_kept():
    receive = queue_of(REQUEST, GONE)
    assert receive.is_gone()
    assert receive.is_gone()

    async def read():
        return [await receive.receive(), await receive.receive()]

    assert asyncio.run(read()) == [REQUEST, GONE]


def test_without_a_disconnect_the_client_is_there():
    assert not queue_of().is_gone()
    assert not queue_of(REQUEST).is_gone()


def test_an_unread_body_is_not_taken_out_of_the_queue():
    receive = queue_of(*[PIECE] * 5, GONE)
    assert not receive.is_gone()
    assert receive._queue.qsize() == 5


def test_a_message_is_never_taken_from_an_application_that_waits_for_it():
    async def main():
        receive = queue_of()
        waiting = asyncio.create_task(receive.receive())
        await asyncio.sleep(0)
        receive._queue.put_nowait(GONE)
        assert not receive.is_gone()
        assert await waiting == GONE

    asyncio.run(main())


def test_a_queue_of_a_server_reports_a_client_that_left(make_config):
    """As hypercorn calls an application: `receive` is a queue's `get`."""

    async def plain(scope, receive, send):
        await receive()
        left.put_nowait(GONE)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})

    async def send(message):
        return None

    async def main():
        await middleware({"type": "http", "method": "GET"}, left.get, send)

    left = asyncio.Queue()
    left.put_nowait(REQUEST)
    middleware = AnalyticsMiddleware(plain, config=make_config())
    asyncio.run(main())
    middleware.agent.stop()
    assert middleware.agent.snapshot().totals.aborted_pending == 1


def test_servers_are_known_by_the_owner_of_receive():
    assert server_of(QueueReceive) is QUEUE
    assert server_of(object) is UNKNOWN
    assert server_of(type(None)) is UNKNOWN


def test_a_uvicorn_that_changed_is_said_once_and_hurts_no_request(make_config, caplog):
    class RequestResponseCycle:
        async def receive(self):
            return REQUEST

        async def send(self, message):
            return None

    async def plain(scope, receive, send):
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.sleep(0.02)
        await send({"type": "http.response.body", "body": b"hello"})

    async def main():
        for _ in range(2):
            cycle = RequestResponseCycle()
            await middleware({"type": "http", "method": "GET"}, cycle.receive, cycle.send)

    RequestResponseCycle.__module__ = "uvicorn.protocols.http.of_the_future"
    middleware = AnalyticsMiddleware(plain, config=make_config())
    asyncio.run(main())
    middleware.agent.stop()
    assert middleware.agent.snapshot().totals.finished == 2
    assert caplog.text.count("does not show whether its client is connected") == 1


def test_a_peer_that_closed_is_seen_with_data_unread():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert not peer_closed(ours.fileno())
        theirs.sendall(b"unread")
        assert not peer_closed(ours.fileno())
        theirs.close()
        assert peer_closed(ours.fileno())
        assert ours.recv(100) == b"unread"
    assert not peer_closed(-1)
