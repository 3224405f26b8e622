"""The middleware in this process: what servers do seldom or never, and lifespan, websockets, forks."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager, suppress

import pytest
from asgiref.sync import iscoroutinefunction
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from tests.support.waiting import eventually

from endpoint_analytics.agents.core.config import KafkaConfig
from endpoint_analytics.agents.middleware import asgi_exchange
from endpoint_analytics.agents.middleware.asgi import AnalyticsMiddleware
from endpoint_analytics.agents.middleware.asgi_lifespan import last_line

START = {"type": "http.response.start", "status": 200, "headers": []}
LAST = {"type": "http.response.body", "body": b"hello"}
REQUEST = {"type": "http.request", "body": b"", "more_body": False}
SCOPE = {"type": "http", "method": "GET", "path": "/", "headers": []}


@pytest.fixture
def run(make_config):
    """Run an application once behind the middleware; return its totals and what was sent and raised."""
    made = []

    def run(app, messages=(REQUEST,), scope=SCOPE, send=None, receive=None):
        middleware = AnalyticsMiddleware(app, config=make_config())
        waiting, sent = list(messages), []

        async def default_receive():
            return waiting.pop(0) if waiting else await asyncio.Event().wait()

        async def default_send(message):
            sent.append(message)

        raised = None
        try:
            asyncio.run(middleware(dict(scope), receive or default_receive, send or default_send))
        except BaseException as error:  # noqa: BLE001  # the test looks at it
            raised = error
        made.append(middleware.agent)
        middleware.agent.stop()
        totals = middleware.agent.snapshot().totals
        names = ("arrived", "finished", "aborted_pending", "aborted_streaming", "status")
        return {name: value for name in names if (value := getattr(totals, name))}, sent, raised

    yield run
    for agent in made:
        assert agent.has_stopped


FINISHED = {"arrived": 1, "finished": 1, "status": {"200": 1}}
PENDING = {"arrived": 1, "aborted_pending": 1}
STREAMING = {"arrived": 1, "aborted_streaming": 1, "status": {"200": 1}}


def sends(*messages):
    async def app(scope, receive, send):
        for message in messages:
            await send(message)

    return app


def test_messages_pass_unchanged(run):
    totals, sent, _ = run(sends(START, LAST))
    assert sent == [START, LAST]
    assert sent[0] is START
    assert totals == FINISHED


def test_early_hints_are_informational(run):
    hint = {"type": "http.response.early_hint", "links": []}
    totals, sent, _ = run(sends(hint, hint, START, LAST))
    assert sent == [hint, hint, START, LAST]
    assert totals == {"arrived": 1, "finished": 1, "status": {"103": 2, "200": 1}}


def test_trailers_end_the_response(run):
    start = {**START, "trailers": True}
    more = {"type": "http.response.trailers", "headers": [], "more_trailers": True}
    last = {"type": "http.response.trailers", "headers": []}
    assert run(sends(start, LAST, more, last))[0] == FINISHED
    assert run(sends(start, LAST, more))[0] == STREAMING


def test_a_file_that_the_server_sends_ends_the_response(run):
    assert run(sends(START, {"type": "http.response.pathsend", "path": "/file"}))[0] == FINISHED
    piece = {"type": "http.response.zerocopysend", "file": 3, "more_body": True}
    assert run(sends(START, piece, {**piece, "more_body": False}))[0] == FINISHED
    assert run(sends(START, piece))[0] == STREAMING


def test_a_disconnect_that_was_handed_over_is_an_abort(run):
    async def reads(scope, receive, send):
        await receive()
        assert (await receive())["type"] == "http.disconnect"
        await send(START)
        await send(LAST)

    assert run(reads, [REQUEST, {"type": "http.disconnect"}])[0] == PENDING


def test_a_disconnect_after_the_end_is_ignored(run):
    async def reads(scope, receive, send):
        await receive()
        await send(START)
        await send(LAST)
        await receive()

    assert run(reads, [REQUEST, {"type": "http.disconnect"}])[0] == FINISHED


def test_a_disconnect_while_the_last_message_is_on_its_way_leaves_the_decision_to_send(run):
    """hypercorn puts the disconnect into the queue before `send` of the last message returns."""
    ended = asyncio.Event()

    async def send(message):
        if message is LAST:
            ended.set()
            await asyncio.sleep(0.01)

    async def receive():
        await ended.wait()
        return {"type": "http.disconnect"}

    async def app(scope, receive, send):
        listening = asyncio.create_task(receive())
        await send(START)
        await send(LAST)
        await listening

    assert run(app, send=send, receive=receive)[0] == FINISHED


@pytest.mark.parametrize(("at", "expected"), [(START, PENDING), (LAST, STREAMING)])
@pytest.mark.parametrize("error", [OSError("client is gone"), BrokenPipeError(), ConnectionResetError()])
def test_a_send_that_fails_is_an_abort(run, at, expected, error):
    async def send(message):
        if message is at:
            raise error

    totals, _, raised = run(sends(START, LAST), send=send)
    assert totals == expected
    assert raised is error


@pytest.mark.parametrize(
    ("before", "expected"),
    [((), {"arrived": 1, "finished": 1, "status": {"500": 1}}), ((START,), STREAMING)],
)
@pytest.mark.parametrize("error", [asyncio.CancelledError(), KeyboardInterrupt(), SystemExit(3)])
def test_being_cancelled_is_a_500_as_servers_make_it_or_cuts_off(run, before, expected, error):
    async def app(scope, receive, send):
        for message in before:
            await send(message)
        raise error

    totals, _, raised = run(app)
    assert totals == expected
    assert type(raised) is type(error)


PIECE = {"type": "http.response.body", "body": b"piece", "more_body": True}


@pytest.mark.parametrize("pieces", [1, 2, 3, 31, 200])
def test_every_piece_of_a_stream_is_passed_on_in_order(run, pieces):
    messages = [START, *({**PIECE, "body": str(number).encode()} for number in range(pieces)), LAST]
    totals, sent, _ = run(sends(*messages))
    assert [id(message) for message in sent] == [id(message) for message in messages]
    assert totals == FINISHED


@pytest.mark.parametrize("fails_at", [2, 3, 7, 60, 150])
def test_a_piece_that_the_server_cannot_send_is_an_abort_and_the_application_is_told(run, fails_at):
    told = []

    numbers = iter(range(10**6))

    async def send(message):
        if next(numbers) >= fails_at:
            raise ConnectionResetError(fails_at)

    async def app(scope, receive, send):
        try:
            await sends(START, *[PIECE] * 200, LAST)(scope, receive, send)
        except OSError as error:
            told.append(error.args)
            raise

    totals, _, raised = run(app, send=send)
    assert totals == STREAMING
    assert told == [(fails_at,)]
    assert isinstance(raised, ConnectionResetError)


def test_a_stream_that_the_application_cuts_off_is_an_abort(run):
    totals, sent, _ = run(sends(START, *[PIECE] * 50))
    assert (totals, len(sent)) == (STREAMING, 51)


def test_a_disconnect_amid_a_stream_is_an_abort(run):
    async def app(scope, receive, send):
        await receive()
        await sends(START, *[PIECE] * 50)(scope, receive, send)
        await receive()
        await sends(*[PIECE] * 50, LAST)(scope, receive, send)

    totals, sent, _ = run(app, messages=(REQUEST, {"type": "http.disconnect"}))
    assert (totals, len(sent)) == (STREAMING, 102)


def test_of_a_promised_length_every_piece_counts(run):
    """A client that leaves with all that was promised has not aborted."""
    promise = {**START, "headers": [(b"Content-Length", b"1000")]}

    async def app(scope, receive, send):
        await sends(promise, *[PIECE] * 200)(scope, receive, send)

    assert run(app)[0] == FINISHED
    short = {**START, "headers": [(b"content-length", b"1001")]}
    assert run(sends(short, *[PIECE] * 200))[0] == STREAMING


@pytest.mark.parametrize("message", [None, "text", {}, {"type": 7, "more_body": True}])
def test_what_is_no_message_amid_a_stream_is_the_servers_to_refuse(run, message):
    class RefusalError(Exception):
        pass

    async def send(given):
        if given is message:
            raise RefusalError

    for before in (0, 1, 2, 40):
        assert isinstance(run(sends(START, *[PIECE] * before, message, LAST), send=send)[2], RefusalError)


def test_pieces_that_are_sent_at_once_stay_in_order(run):
    """Some servers send what they are given when `send` is called, and not when it is awaited."""
    given = []

    def send(message):
        given.append(message.get("body"))
        done = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    pieces = [{**PIECE, "body": str(number).encode()} for number in range(100)]

    async def app(scope, receive, send):
        await sends(START, *pieces[:3])(scope, receive, send)
        await asyncio.gather(*map(send, pieces[3:]))
        await send(LAST)

    assert run(app, send=send)[0] == FINISHED
    assert given == [None, *(piece["body"] for piece in pieces), LAST["body"]]


def test_frameworks_see_that_send_is_a_coroutine_function(run):
    found = []

    async def app(scope, receive, send):
        found.append(iscoroutinefunction(send))
        await sends(START, LAST)(scope, receive, send)

    assert run(app)[0] == FINISHED
    assert found == [True]


def test_pieces_that_become_slow_are_looked_at_again(run, monkeypatch):
    clock = [0]
    monkeypatch.setattr(asgi_exchange, "now_ns", lambda: clock[0])
    looked = []
    monkeypatch.setattr(asgi_exchange.AsgiExchange, "_is_gone", lambda self: looked.append(clock[0]))

    async def app(scope, receive, send):
        await sends(START, *[PIECE] * 127)(scope, receive, send)
        looked.clear()
        for _ in range(20):
            clock[0] += 10**9
            await send(PIECE)
        await send(LAST)

    assert run(app)[0] == FINISHED
    assert len(looked) >= 20 - asgi_exchange.LOOK_EVERY


def test_an_exception_is_raised_again(run):
    error = ValueError("a bug")

    async def app(scope, receive, send):
        raise error

    totals, _, raised = run(app)
    assert raised is error
    assert totals == {"arrived": 1, "finished": 1, "status": {"500": 1}}


def test_an_exception_after_the_end_changes_nothing(run):
    async def app(scope, receive, send):
        await send(START)
        await send(LAST)
        raise ValueError("in a background task")

    assert run(app)[0] == FINISHED


def test_a_start_that_the_server_refuses_is_an_abort(run):
    async def send(message):
        raise RuntimeError("Invalid HTTP header value.")

    assert run(sends(START), send=send)[0] == PENDING


def handshake(make_config, *messages, came=(), owner=None, error=None):
    """Pass a websocket's scope; return the totals."""

    async def app(scope, receive, send):
        for _ in came:
            await receive()
        for message in messages:
            await send(message)
        if error is not None:
            raise error

    events = iter(came)

    async def receive():
        return next(events)

    async def send(message):
        return None

    middleware = AnalyticsMiddleware(app, config=make_config())

    async def main():
        with suppress(type(error) if error is not None else ()):
            await middleware({"type": "websocket", "path": "/"}, receive, send)

    asyncio.run(main())
    middleware.agent.stop()
    totals = middleware.agent.snapshot().totals
    names = ("arrived", "finished", "aborted_pending", "aborted_streaming", "status")
    return {name: value for name in names if (value := getattr(totals, name))}


DENIED = {"type": "websocket.http.response.start", "status": 401, "headers": []}
DENIED_BODY = {"type": "websocket.http.response.body", "body": b"no"}
CLOSE = {"type": "websocket.close", "code": 1008}
CONNECT, DISCONNECT = {"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1006}


@pytest.mark.parametrize(
    ("messages", "came", "error", "expected"),
    [
        ([{"type": "websocket.accept"}, CLOSE], [CONNECT], None, {"status": {"101": 1}}),
        ([{"type": "websocket.accept"}], [CONNECT, DISCONNECT], None, PENDING),
        ([CLOSE], [CONNECT], None, {"arrived": 1, "finished": 1, "status": {"403": 1}}),
        ([DENIED, DENIED_BODY], [CONNECT], None, {"arrived": 1, "finished": 1, "status": {"401": 1}}),
        ([DENIED], [CONNECT], ValueError(), {"arrived": 1, "aborted_streaming": 1, "status": {"401": 1}}),
        ([], [CONNECT], ValueError(), {"arrived": 1, "finished": 1, "status": {"500": 1}}),
        ([], [CONNECT, DISCONNECT], asyncio.CancelledError(), PENDING),
        ([{"type": "websocket.accept"}], [CONNECT], ValueError(), {"status": {"101": 1}}),
    ],
)
def test_a_websocket_is_a_request_when_it_is_refused(make_config, messages, came, error, expected):
    assert handshake(make_config, *messages, came=came, error=error) == expected


def test_other_scopes_pass_untouched(make_config):
    seen = []

    async def app(*arguments):
        seen.append(arguments)

    middleware = AnalyticsMiddleware(app, config=make_config())
    scope, receive, send = {"type": "webtransport"}, object(), object()
    asyncio.run(middleware(scope, receive, send))
    middleware.agent.stop()
    assert seen == [(scope, receive, send)]


class Lifespan:
    """A server's end of the lifespan of an application."""

    def __init__(self, app):
        self.app = app
        self.reported = []

    async def __aenter__(self):
        self.messages, self.answered = asyncio.Queue(), asyncio.Queue()
        self.task = asyncio.create_task(self.app({"type": "lifespan"}, self.messages.get, self.answered.put))
        await self.pass_on("lifespan.startup")
        return self

    async def pass_on(self, kind):
        await self.messages.put({"type": kind})
        self.reported.append((await self.answered.get())["type"])

    async def __aexit__(self, *error):
        await self.pass_on("lifespan.shutdown")
        await self.task


async def ask(app):
    async def send(message):
        if message["type"] == "http.response.body":
            body.append(message["body"])

    body = []
    await app(dict(SCOPE), None, send)
    return b"".join(body)


def make_starlette():
    return Starlette(routes=[Route("/", lambda request: PlainTextResponse("hello"))])


def test_added_in_one_line_and_brought_up_twice(make_config):
    app = make_starlette()
    app.add_middleware(AnalyticsMiddleware, config=make_config())
    boots = set()

    async def main():
        async with Lifespan(app) as lifespan:
            agent = app.middleware_stack.app.agent
            boots.add(agent.boot_id)
            assert agent.snapshot().state == "running"
            assert await ask(app) == b"hello"
        assert lifespan.reported == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
        assert agent.has_stopped
        assert agent.snapshot().state == "terminated"
        assert agent.snapshot().totals.finished == 1
        assert app.middleware_stack.app.agent is None

    asyncio.run(main())
    asyncio.run(main())
    assert len(boots) == 2


def test_at_the_shutdown_the_replica_drains(make_config):
    states = []

    @asynccontextmanager
    async def lifespan(app):
        yield
        states.append(middleware.agent.snapshot().state)

    middleware = AnalyticsMiddleware(Starlette(lifespan=lifespan), config=make_config())

    async def main():
        async with Lifespan(middleware):
            pass

    asyncio.run(main())
    assert states == ["draining"]


def test_without_a_lifespan_the_first_request_means_running(make_config):
    middleware = AnalyticsMiddleware(make_starlette(), config=make_config())
    assert asyncio.run(ask(middleware)) == b"hello"
    assert middleware.agent.snapshot().state == "running"
    middleware.agent.stop()


@pytest.mark.parametrize("raises", [True, False])
def test_an_application_that_knows_no_lifespan_is_answered_for(make_config, raises):
    """Django raises, others return: the server's startup and shutdown are the replica's either way."""

    async def app(scope, receive, send):
        if scope["type"] != "http":
            assert not raises
            return
        await send(START)
        await send(LAST)

    async def main():
        messages, reported = asyncio.Queue(), asyncio.Queue()
        live = asyncio.create_task(middleware({"type": "lifespan"}, messages.get, reported.put))
        await messages.put({"type": "lifespan.startup"})
        assert await reported.get() == {"type": "lifespan.startup.complete"}
        await asyncio.sleep(0)
        agent = middleware.agent
        assert agent.snapshot().state == "running"
        await middleware(dict(SCOPE), None, asyncio.Queue().put)
        await messages.put({"type": "lifespan.shutdown"})
        assert await reported.get() == {"type": "lifespan.shutdown.complete"}
        await live
        return agent

    middleware = AnalyticsMiddleware(app, config=make_config())
    agent = asyncio.run(main())
    assert agent.snapshot().state == "terminated"
    assert agent.snapshot().totals.finished == 1


def test_without_a_lifespan_the_first_request_says_that_it_runs(make_config):
    async def app(scope, receive, send):
        await send(START)
        await send(LAST)

    middleware = AnalyticsMiddleware(app, config=make_config())
    asyncio.run(middleware(dict(SCOPE), None, asyncio.Queue().put))
    assert middleware.agent.snapshot().state == "running"
    middleware.agent.stop()
    assert middleware.agent.snapshot().totals.finished == 1


def test_a_start_that_fails_is_reported(make_config):
    agents = []

    @asynccontextmanager
    async def broken(app):
        agents.append(middleware.agent)
        raise RuntimeError("no weights")
        yield

    middleware = AnalyticsMiddleware(Starlette(lifespan=broken), config=make_config())

    async def main():
        lifespan = Lifespan(middleware)
        await lifespan.__aenter__()
        assert lifespan.reported == ["lifespan.startup.failed"]
        with pytest.raises(RuntimeError, match="no weights"):
            await lifespan.task

    asyncio.run(main())
    assert agents[0].snapshot().state == "failed"
    assert last_line("Traceback:\n  ...\nRuntimeError: no weights\n") == "RuntimeError: no weights"
    assert last_line("") == ""
    assert agents[0].has_stopped


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"namespace": None}, "ENDPOINT_ANALYTICS_NAMESPACE"),
        ({"namespace": "a b"}, "namespace is 'a b'"),
        ({"namespace": 5}, "cannot construct AnalyticsMiddleware"),
        ({"kafka": "kafka"}, "it has no port"),
        ({"kafka": ["a:1"]}, "cannot construct AnalyticsMiddleware"),
        ({"namepsace": "acme"}, "namepsace"),
        ({"spool": "/dev/null/spool"}, "spool is '/dev/null/spool'"),
        ({"exclude_paths": ["health"]}, "exclude_paths is 'health'"),
        ({"config": KafkaConfig()}, "cannot construct AnalyticsMiddleware"),
    ],
)
def test_what_is_wrong_is_known_at_construction_and_harms_nothing(monkeypatch, caplog, settings, said):
    monkeypatch.delenv("ENDPOINT_ANALYTICS_NAMESPACE", raising=False)
    middleware = AnalyticsMiddleware(sends(START, LAST), **{"namespace": "acme", "endpoint": "x", **settings})
    assert said in str(middleware.error)
    assert [said in record.message for record in caplog.records if record.levelname == "ERROR"] == [True]
    sent = []

    async def main():
        lifespan = Lifespan(middleware)
        await lifespan.__aenter__()
        assert lifespan.reported == ["lifespan.startup.failed"]
        await lifespan.task

        async def send(message):
            sent.append(message)

        await middleware(dict(SCOPE), None, send)

    asyncio.run(main())
    assert sent == [START, LAST]
    assert middleware.agent is None


def test_a_variable_that_nobody_reads_is_known_at_construction(monkeypatch):
    misspelt = "ENDPOINT_ANALYTICS_" + "NAMEPSACE"
    monkeypatch.setenv(misspelt, "acme")
    error = str(AnalyticsMiddleware(None, namespace="acme", endpoint="x").error)
    assert misspelt in error
    assert "ENDPOINT_ANALYTICS_NAMESPACE" in error


def test_certificates_that_are_missing_are_known_at_construction(make_config):
    kafka = KafkaConfig(security_protocol="SSL", ca_file="/no/such/file")
    assert "/no/such/file" in str(AnalyticsMiddleware(None, config=make_config(kafka=kafka)).error)


@pytest.mark.outside
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_forked_worker_starts_an_agent_of_its_own(make_config):
    middleware = AnalyticsMiddleware(sends(START, LAST), config=make_config())

    async def send(message):
        return None

    asyncio.run(middleware(dict(SCOPE), None, send))
    parent = middleware.agent
    child = os.fork()
    if child == 0:
        try:
            asyncio.run(middleware(dict(SCOPE), None, send))
            agent = middleware.agent
            agent.stop()
            fresh = agent.boot_id != parent.boot_id and agent.snapshot().totals.arrived == 1
            os._exit(7 if fresh else 1)
        except BaseException:  # noqa: BLE001  # a child must end here
            os._exit(2)
    ended = eventually(lambda: os.waitpid(child, os.WNOHANG), lambda found: found != (0, 0), 10, "the child")
    parent.stop()
    assert os.waitstatus_to_exitcode(ended[1]) == 7
    assert parent.snapshot().totals.arrived == 1


def test_excluded_paths_are_served_and_not_recorded(make_config):
    async def app(scope, receive, send):
        await send(START)
        await send(LAST)

    middleware = AnalyticsMiddleware(app, config=make_config(exclude_paths=("/health", "/metrics")))
    sent = []

    async def send(message):
        sent.append(message)

    async def main():
        for path in ("/health", "/", "/metrics", "/health/x"):
            await middleware({**SCOPE, "path": path}, None, send)

    asyncio.run(main())
    middleware.agent.stop()
    assert sent == [START, LAST] * 4
    snapshot = middleware.agent.snapshot()
    assert (snapshot.totals.arrived, snapshot.totals.finished, snapshot.state) == (2, 2, "terminated")
