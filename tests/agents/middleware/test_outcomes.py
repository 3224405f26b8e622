"""What the middlewares tell of streams, tokens, names and sizes, from the application to the batch."""

import asyncio
from dataclasses import replace

import pytest

from endpoint_analytics.agents.core.config import AgentConfig
from endpoint_analytics.agents.core.recorder import Recorder
from endpoint_analytics.agents.middleware.asgi_exchange import AsgiExchange
from endpoint_analytics.agents.middleware.wsgi_exchange import WsgiExchange
from endpoint_analytics.agents.outcome.batching import OutcomeBatcher
from endpoint_analytics.agents.outcome.stream_reader import StreamReader
from endpoint_analytics.agents.outcome.told import tell
from endpoint_analytics.agents.outcome.watch import OutcomeWatcher, says_nothing
from endpoint_analytics.schemas.outcomes import Slice

CONFIG = AgentConfig(namespace="acme", endpoint="llm", replica_id="r1", flush_interval_s=1.0)
ALL = replace(CONFIG, outcomes="all")
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CHUNKS = (
    b'data: {"object":"chat.completion.chunk","model":"m-1","choices":[{"index":0,"delta":{"role":"assistant"}}]}\n\n',
    b'data: {"object":"chat.completion.chunk","model":"m-1","choices":[{"index":0,"delta":{"content":"a"}}]}\n\n',
    b'data: {"object":"chat.completion.chunk","model":"m-1","choices":[{"index":0,"delta":{"content":"b"}}]}\n\n',
    b'data: {"model":"m-1","choices":[],"usage":{"prompt_tokens":300,"completion_tokens":2}}\n\n',
    b"data: [DONE]\n\n",
)
ANSWER = b'{"object":"chat.completion","model":"m-1","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":7}}'
SSE, JSON = "text/event-stream; charset=utf-8", "application/json"


def batch_of(recorder, config):
    """Return the one batch of all that was recorded, or None."""
    found = [
        *OutcomeBatcher(config, "b1").batches(
            recorder.snapshot(), 1_790_000_000_000_000, {}, {}, is_last=True
        )
    ]
    assert len(found) <= 1
    return found[0] if found else None


def by_asgi(
    pieces,
    kind,
    config=CONFIG,
    path="/v1/chat/completions",
    headers=(),
    status=200,
    scope=None,
    failure=None,
    fields=(),
):
    """Serve one request by ASGI, and return its batch."""
    recorder = Recorder()
    scope = {"type": "http", "method": "POST", "path": path, "headers": list(headers)} | (scope or {})

    async def receive():
        return {"type": "http.request", "body": b"0123456789", "more_body": False}

    async def send(_message):
        await asyncio.sleep(0)

    async def serve():
        watcher = OutcomeWatcher(config, lambda error: pytest.fail(repr(error)))
        exchange = AsgiExchange(recorder.arrive(), scope, receive, send, watcher)
        await exchange.receive()
        own = [(b"Content-Type", kind.encode()), *((name.encode(), value.encode()) for name, value in fields)]
        await exchange.send({"type": "http.response.start", "status": status, "headers": own})
        for piece in pieces:
            await exchange.send({"type": "http.response.body", "body": piece, "more_body": True})
        if failure is None:
            await exchange.send({"type": "http.response.body", "body": b"", "more_body": False})
            exchange.returned()
        else:
            exchange.failed()

    asyncio.run(serve())
    return batch_of(recorder, config)


def by_wsgi(
    pieces,
    kind,
    config=CONFIG,
    path="/v1/chat/completions",
    headers=(),
    status=200,
    scope=None,
    failure=None,
    fields=(),
):
    """Serve one request by WSGI, and return its batch."""
    recorder = Recorder()
    environ = {"REQUEST_METHOD": "POST", "PATH_INFO": path, "CONTENT_LENGTH": "10"} | (scope or {})
    for name, value in headers:
        environ["HTTP_" + name.decode().upper().replace("-", "_")] = value.decode()
    watcher = OutcomeWatcher(config, lambda error: pytest.fail(repr(error)))
    exchange = WsgiExchange(recorder.arrive(), environ, lambda *_: lambda _: None, watcher)
    exchange.start_response(f"{status} X", [("Content-Type", kind), *fields])

    def produce():
        yield from pieces
        if failure is not None:
            raise failure

    body = exchange.body(produce())
    try:
        for _ in body:
            pass
    except ValueError:
        assert failure is not None
    body.close()
    return batch_of(recorder, config)


@pytest.fixture(params=[by_asgi, by_wsgi])
def serve(request):
    return request.param


def test_a_stream_tells_its_first_token_its_tokens_and_its_end(serve):
    batch = serve(CHUNKS, SSE)
    assert batch.slices == [Slice(streamed=True, input_upto=512)]
    rows = batch.outcomes
    assert (rows.ended, rows.status, rows.events) == (["complete"], [200], [2])
    assert (rows.input_tokens, rows.output_tokens, rows.estimated) == ([300], [2], [])
    assert (
        0 <= rows.first_byte_us[0] <= rows.first_token_us[0] <= rows.last_token_us[0] <= rows.duration_us[0]
    )
    assert rows.response_bytes == [sum(map(len, CHUNKS))]
    assert batch.gaps.count == [1]
    assert batch.totals.requests == 1


def test_a_stream_without_its_protocols_end_is_cut(serve):
    assert serve(CHUNKS[:3], SSE).outcomes.ended == ["cut"]


def test_an_error_event_is_an_error_though_the_status_is_200(serve):
    batch = serve([*CHUNKS[:2], b'data: {"error":{"message":"out of memory"}}\n\n'], SSE)
    assert (batch.outcomes.ended, batch.outcomes.status) == (["error"], [200])
    assert [sample.why for sample in batch.samples] == ["failed"]


def test_a_stream_that_breaks_off_is_aborted_with_what_it_had(serve):
    batch = serve(CHUNKS[:3], SSE, failure=ValueError())
    assert batch.outcomes.ended == ["aborted"]
    assert batch.outcomes.events == [2]


def test_an_answer_tells_its_tokens(serve):
    batch = serve([ANSWER], JSON)
    assert batch.slices == [Slice(input_upto=128)]
    assert (batch.outcomes.input_tokens, batch.outcomes.output_tokens) == ([5], [7])
    assert batch.outcomes.first_token_us == []


def test_other_requests_have_no_row_but_may_be_sampled(serve):
    headers = [(b"x-request-id", b"abc"), (b"traceparent", f"00-{TRACE}-00f067aa0ba902b7-01".encode())]
    batch = serve([b'{"label":"cat"}'], JSON, path="/predict", headers=headers)
    assert batch.outcomes.at_us == []
    assert [(s.why, s.of, s.request_id, s.trace_id) for s in batch.samples] == [("slow", 1, "abc", TRACE)]


def test_nothing_is_told_if_outcomes_are_off(serve):
    config = replace(CONFIG, outcomes="off")
    assert serve([b"x"], "text/plain", config=ALL).outcomes.at_us
    assert OutcomeWatcher(config, print).is_all is False


def test_all_requests_have_sizes_if_asked_for(serve):
    batch = serve([b"abc"], "text/plain", config=ALL, path="/predict")
    assert batch.outcomes.request_bytes == [10]
    assert batch.outcomes.response_bytes == [3]


def test_names_are_kept_only_of_dimensions_that_are_on(serve):
    told = {}
    tell(told, caller="acme", model="told")
    config = replace(ALL, dimensions=("model",))
    assert serve(CHUNKS, SSE, scope=told).slices[0].caller == ""
    assert serve(CHUNKS, SSE, config=config).slices[0] == Slice(model="m-1", streamed=True, input_upto=512)
    assert serve(CHUNKS, SSE, config=config, scope=told).slices[0].model == "told"


def test_what_the_application_tells_counts_before_what_the_body_says(serve):
    told = {}
    tell(told, output_tokens=99)
    batch = serve(CHUNKS, SSE, scope=told)
    assert (batch.outcomes.input_tokens, batch.outcomes.output_tokens) == ([300], [99])


@pytest.mark.parametrize(
    ("header", "hashed", "name"),
    [
        ("X-Customer", False, "acme"),
        ("X-Customer", True, "822b33ad87c148a0"),
        ("Authorization", False, "822b33ad87c148a0"),
    ],
)
def test_a_caller_is_a_headers_value_but_never_a_secret(serve, header, hashed, name):
    config = replace(ALL, dimensions=("caller",), caller_header=header, caller_hashed=hashed)
    batch = serve([b"x"], "text/plain", config=config, headers=[(header.lower().encode(), b"acme")])
    assert batch.slices[0].caller == name


HEAD = {"method": "HEAD", "REQUEST_METHOD": "HEAD"}
"""A member of either kind of scope."""


@pytest.mark.parametrize(("scope", "status"), [(HEAD, 200), ({}, 204), ({}, 304)])
def test_a_response_without_a_body_has_none_whatever_the_application_sends(serve, scope, status):
    fields = [("Content-Length", "99")]
    batch = serve(CHUNKS, SSE, config=ALL, scope=scope, status=status, fields=fields)
    assert (batch.outcomes.response_bytes, batch.outcomes.events) == ([0], [])
    assert batch.slices == [Slice()]
    assert serve(CHUNKS, SSE, scope=scope, status=status).outcomes.at_us == []


def test_a_server_tells_in_a_header(serve):
    fields = [("X-Endpoint-Analytics", "input_tokens=812; output_tokens=3")]
    for pieces in ([b"abc"], []):
        batch = serve(pieces, "text/plain", path="/predict", fields=fields)
        assert (batch.outcomes.input_tokens, batch.outcomes.output_tokens) == ([812], [3])


def test_pieces_may_be_empty(serve):
    pieces = [b"", *(each for chunk in CHUNKS for each in (chunk, b""))]
    batch = serve(pieces, SSE)
    assert (batch.outcomes.events, batch.outcomes.response_bytes) == ([2], [sum(map(len, CHUNKS))])


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_pieces_may_be_other_bytes(kind):
    batch = by_asgi(list(map(kind, CHUNKS)), SSE)
    assert (batch.outcomes.events, batch.outcomes.output_tokens) == ([2], [2])


def breaks(*_arguments, **_named):
    raise RuntimeError("a bug")


@pytest.mark.parametrize(
    ("owner", "method"),
    [
        (OutcomeWatcher, "responded"),
        (OutcomeWatcher, "ended"),
        (StreamReader, "read"),
        (StreamReader, "end"),
    ],
)
@pytest.mark.parametrize("failure", [None, ValueError()])
def test_a_bug_costs_the_details_and_not_the_phases(serve, monkeypatch, owner, method, failure):
    monkeypatch.setattr(owner, method, breaks)
    monkeypatch.setitem(globals(), "batch_of", lambda recorder, _config: recorder.snapshot())
    monkeypatch.setattr(pytest, "fail", lambda _reason: None)
    snapshot = serve(CHUNKS, SSE, config=ALL, failure=failure)
    ended = snapshot.finished if failure is None else snapshot.aborted_streaming
    assert [request.status for request in ended] == [200]


def test_the_piece_that_finds_the_client_gone_is_not_counted():
    recorder, config = Recorder(), CONFIG

    async def serve():
        queue = asyncio.Queue()  # as hypercorn and daphne have it
        sent = []

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/", "headers": []}
        exchange = AsgiExchange(recorder.arrive(), scope, queue.get, send, OutcomeWatcher(config, print))
        kind = [(b"content-type", SSE.encode())]
        await exchange.send({"type": "http.response.start", "status": 200, "headers": kind})
        await exchange.send({"type": "http.response.body", "body": CHUNKS[1], "more_body": True})
        queue.put_nowait({"type": "http.disconnect"})
        for _ in range(5):
            await exchange.send({"type": "http.response.body", "body": CHUNKS[2], "more_body": True})
        exchange.failed()
        return len(sent)

    assert asyncio.run(serve()) == 7  # the server still gets them all
    batch = batch_of(recorder, config)
    assert (batch.outcomes.ended, batch.outcomes.events) == (["aborted"], [2])


@pytest.mark.parametrize(
    ("message", "bytes_sent"),
    [
        ({"type": "http.response.pathsend", "path": "/etc/hostname"}, 12),
        ({"type": "http.response.zerocopysend", "file": 3, "count": 12}, 12),
    ],
)
def test_a_file_that_the_server_sends_has_the_length_that_was_promised(message, bytes_sent):
    recorder = Recorder()

    async def serve():
        async def send(_message):
            await asyncio.sleep(0)

        scope = {"type": "http", "method": "GET", "path": "/file", "headers": []}
        exchange = AsgiExchange(recorder.arrive(), scope, None, send, OutcomeWatcher(ALL, print))
        length = [(b"content-length", b"12")]
        await exchange.send({"type": "http.response.start", "status": 200, "headers": length})
        await exchange.send(message)
        exchange.returned()

    asyncio.run(serve())
    batch = batch_of(recorder, ALL)
    assert (batch.outcomes.ended, batch.outcomes.response_bytes) == (["complete"], [bytes_sent])


def test_trailers_end_a_response_whose_body_has_ended_before():
    recorder = Recorder()

    async def serve():
        async def send(_message):
            await asyncio.sleep(0)

        scope = {"type": "http", "method": "POST", "path": "/", "headers": []}
        exchange = AsgiExchange(recorder.arrive(), scope, None, send, OutcomeWatcher(CONFIG, print))
        head = {"status": 200, "headers": [(b"content-type", SSE.encode())], "trailers": True}
        await exchange.send({"type": "http.response.start", **head})
        await exchange.send({"type": "http.response.body", "body": b"".join(CHUNKS)})
        assert not recorder.finished
        await exchange.send({"type": "http.response.trailers", "headers": []})
        exchange.returned()

    asyncio.run(serve())
    batch = batch_of(recorder, CONFIG)
    assert (batch.outcomes.ended, batch.outcomes.events) == (["complete"], [2])


class Wsgi:
    """A request through the WSGI exchange, step by step."""

    def __init__(self, config=CONFIG, **environ):
        self.recorder, self.config = Recorder(), config
        self.environ = {"REQUEST_METHOD": "POST", "PATH_INFO": "/v1/chat/completions"} | environ
        self.written = []
        watcher = OutcomeWatcher(config, lambda error: pytest.fail(repr(error)))
        self.exchange = WsgiExchange(
            self.recorder.arrive(), self.environ, lambda *_: self.written.append, watcher
        )

    def serve(self, body):
        """Serve a body as a server does, and return the batch."""
        result = self.exchange.body(body)
        self.written += result
        result.close()
        return batch_of(self.recorder, self.config)


def test_what_is_written_counts_as_what_is_returned():
    wsgi = Wsgi()
    write = wsgi.exchange.start_response("200 OK", [("Content-Type", SSE)])
    for chunk in CHUNKS[:3]:
        write(chunk)
    batch = wsgi.serve(iter(CHUNKS[3:]))
    assert wsgi.written == list(CHUNKS)
    assert (batch.outcomes.events, batch.outcomes.ended) == ([2], ["complete"])


def test_an_error_may_replace_the_headers_until_a_piece_that_is_not_empty():
    wsgi = Wsgi()

    def produce():
        wsgi.exchange.start_response("200 OK", [("Content-Type", "text/plain")])
        yield b""
        wsgi.exchange.start_response("503 Busy", [("Content-Type", SSE)], (ValueError, ValueError(), None))
        yield from CHUNKS

    batch = wsgi.serve(produce())
    assert (batch.outcomes.status, batch.outcomes.events) == ([503], [2])


def test_a_file_that_a_wsgi_server_sends_has_the_length_that_was_promised():
    class FileWrapper:
        def __init__(self, pieces):
            self.pieces = pieces

        def __iter__(self):
            return iter(self.pieces)

        def close(self):
            pass

    wsgi = Wsgi(ALL, **{"wsgi.file_wrapper": FileWrapper})
    wsgi.exchange.start_response("200 OK", [("Content-Length", "12")])
    batch = wsgi.serve(FileWrapper([b"twelve bytes"]))
    assert (batch.outcomes.response_bytes, batch.outcomes.ended) == ([12], ["complete"])


def test_a_body_that_a_server_reads_no_further_is_aborted_with_what_it_had():
    wsgi = Wsgi()
    wsgi.exchange.start_response("200 OK", [("Content-Type", SSE)])
    result = wsgi.exchange.body(iter(CHUNKS))
    pieces = iter(result)
    assert [next(pieces), next(pieces)] == list(CHUNKS[:2])
    result.close()
    batch = batch_of(wsgi.recorder, CONFIG)
    assert (batch.outcomes.ended, batch.outcomes.events) == (["aborted"], [1])


def test_a_request_that_is_not_recorded_is_not_watched():
    recorder = Recorder(limit=0)
    request, watcher = recorder.arrive(), OutcomeWatcher(ALL, print)
    assert watcher.arrived(request, ()) is None
    assert watcher.responded(request, None, "/", 200, [(b"content-type", SSE.encode())]) is None
    assert request.details is None


@pytest.mark.parametrize(
    ("path", "headers", "nothing"),
    [
        ("/predict", [(b"content-type", b"application/json"), (b"content-length", b"9")], True),
        ("/predict", [(b"content-type", b"text/plain; charset=utf-8")], True),
        ("/v1/chat/completions", [(b"content-type", b"application/json")], False),
        ("/predict", [(b"content-type", b"text/event-stream")], False),
        ("/predict", [(b"Content-Type", b"application/json")], False),
        ("/predict", [(b"content-type", b"application/json"), (b"x-endpoint-analytics", b"model=a")], False),
        ("/predict", [(b"x-endpoint-analytics", b"model=a"), (b"content-type", b"application/json")], False),
        ("/predict", [], False),
    ],
)
def test_a_glance_is_enough_only_for_what_says_nothing(path, headers, nothing):
    assert says_nothing(path, headers) is nothing
    if nothing:
        recorder = Recorder()
        watcher = OutcomeWatcher(CONFIG, lambda error: pytest.fail(repr(error)))
        assert watcher.responded(recorder.arrive(), None, path, 200, headers) is None
