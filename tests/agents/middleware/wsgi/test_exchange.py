"""Every turn that a WSGI request can take, against a server that is checked by the standard's own validator."""

from __future__ import annotations

import gc
import io
import socket
import sys
import time
import weakref
from wsgiref.util import FileWrapper, setup_testing_defaults
from wsgiref.validate import validator

import pytest

from endpoint_analytics.agents.core.recorder import Recorder
from endpoint_analytics.agents.middleware.wsgi_exchange import WsgiExchange, status_code

OK = ("200 OK", [("Content-Type", "text/plain")])


class BrokenError(Exception):
    pass


class Server:
    """A server in one process: sends headers with the first piece; `breaks_at` is the write that fails."""

    def __init__(self, breaks_at: int | None = None, method: str = "GET", **environ: object) -> None:
        self.recorder = Recorder()
        self.breaks_at = breaks_at
        self.sent = b""
        self.status: str | None = None
        self.started = False
        self.closed = False
        self.environ: dict[str, object] = {"REQUEST_METHOD": method, "QUERY_STRING": "", **environ}
        setup_testing_defaults(self.environ)

    def write(self, data: bytes) -> None:
        if self.breaks_at == 0:
            raise BrokenPipeError
        if self.breaks_at is not None:
            self.breaks_at -= 1
        if data:
            self.started = True
            self.sent += data

    def start_response(self, status, headers, exc_info=None):
        if exc_info and self.started:
            raise exc_info[1]
        if self.status and not exc_info:
            raise AssertionError("headers are set already")
        self.status = status
        return self.write

    def serve(self, app, check: bool = True) -> dict[str, object]:
        def watched(environ, start_response):
            exchange = WsgiExchange(self.recorder.arrive(), environ, start_response)
            try:
                return exchange.body(app(environ, exchange.start_response))
            except Exception:
                exchange.failed()
                raise

        outer = validator(watched) if check else watched
        try:
            body = outer(self.environ, self.start_response)
            try:
                for piece in body:
                    self.write(piece)
            finally:
                if hasattr(body, "close"):
                    body.close()
        except (BrokenError, BrokenPipeError, AssertionError):
            pass
        return self.counts()

    def counts(self) -> dict[str, object]:
        recorder = self.recorder
        found = {
            "arrived": len(recorder.arrived),
            "status": [request.status for request in recorder.responded],
            "finished": len(recorder.finished),
            "aborted_pending": len(recorder.aborted_pending),
            "aborted_streaming": len(recorder.aborted_streaming),
        }
        return {name: value for name, value in found.items() if value}


WHOLE = {"arrived": 1, "status": [200], "finished": 1}
FAILED = {"arrived": 1, "status": [500], "finished": 1}
EARLY = {"arrived": 1, "aborted_pending": 1}
LATE = {"arrived": 1, "status": [200], "aborted_streaming": 1}


def plain(environ, start_response):
    start_response(*OK)
    return [b"hello"]


def pieces(environ, start_response):
    start_response(*OK)
    yield b"one"
    yield b"two"
    yield b"three"


def test_a_list():
    server = Server()
    assert server.serve(plain) == WHOLE
    assert server.sent == b"hello"


def test_a_list_keeps_its_length():
    server = Server()
    exchange = WsgiExchange(server.recorder.arrive(), server.environ, server.start_response)
    assert len(exchange.body([b"one"])) == 1
    assert not hasattr(exchange.body(iter([b"one"])), "__len__")


def test_a_generator_that_starts_the_response_itself():
    server = Server()
    assert server.serve(pieces) == WHOLE
    assert server.sent == b"onetwothree"


def test_an_empty_body():
    def empty(environ, start_response):
        start_response("204 No Content", [])
        return []

    assert Server().serve(empty) == {"arrived": 1, "status": [204], "finished": 1}


def test_it_has_responded_when_the_server_comes_back_from_the_first_piece():
    server = Server()
    exchange = WsgiExchange(server.recorder.arrive(), server.environ, server.start_response)

    def body():
        exchange.start_response(*OK)
        yield b""
        assert not server.recorder.responded, "an empty piece sends no headers"
        yield b"one"
        assert len(server.recorder.responded) == 1
        assert not server.recorder.finished

    result = exchange.body(body())
    list(result)
    assert not server.recorder.finished, "not closed yet"
    result.close()
    assert server.counts() == WHOLE


def test_the_legacy_write():
    def written(environ, start_response):
        write = start_response(*OK)
        write(b"one")
        write(b"two")
        return [b"three"]

    server = Server()
    assert server.serve(written) == WHOLE
    assert server.sent == b"onetwothree"


def test_a_legacy_write_that_fails():
    def written(environ, start_response):
        write = start_response(*OK)
        write(b"one")
        write(b"two")
        return []

    assert Server(breaks_at=0).serve(written) == EARLY
    assert Server(breaks_at=1).serve(written) == LATE


def test_an_exception_before_the_start():
    def broken(environ, start_response):
        raise BrokenError

    assert Server().serve(broken) == FAILED


def test_an_exception_after_start_response_and_before_the_first_piece():
    """Nothing is sent yet, so the server answers 500."""

    def broken(environ, start_response):
        start_response(*OK)
        raise BrokenError

    def broken_body(environ, start_response):
        start_response(*OK)
        raise BrokenError
        yield b""

    assert Server().serve(broken) == FAILED
    assert Server().serve(broken_body) == FAILED


def test_an_exception_after_the_first_piece():
    def broken(environ, start_response):
        start_response(*OK)
        yield b"one"
        raise BrokenError

    assert Server().serve(broken) == LATE


def test_start_response_again_for_an_error():
    def repaired(environ, start_response):
        start_response(*OK)
        try:
            raise BrokenError
        except BrokenError:
            start_response("503 Sorry", [("Content-Type", "text/plain")], sys.exc_info())
        return [b"sorry"]

    server = Server()
    assert server.serve(repaired) == {"arrived": 1, "status": [503], "finished": 1}
    assert server.status == "503 Sorry"


def test_start_response_again_when_it_is_too_late():
    def late(environ, start_response):
        start_response(*OK)
        yield b"one"
        try:
            raise BrokenError
        except BrokenError:
            start_response("503 Sorry", [("Content-Type", "text/plain")], sys.exc_info())
        yield b"never"

    server = Server()
    assert server.serve(late) == LATE
    assert server.sent == b"one"


def test_start_response_twice_is_the_applications_bug():
    def twice(environ, start_response):
        start_response(*OK)
        start_response(*OK)
        return []

    assert Server().serve(twice, check=False) == FAILED


@pytest.mark.parametrize(("breaks_at", "expected"), [(0, EARLY), (1, LATE), (2, LATE)])
def test_a_client_that_goes(breaks_at, expected):
    assert Server(breaks_at=breaks_at).serve(pieces) == expected


def test_the_last_piece_that_is_not_taken_is_no_whole_response():
    def sized(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "6")])
        return iter([b"one", b"two"])

    assert Server(breaks_at=1).serve(sized) == LATE
    assert Server().serve(sized) == WHOLE


STREAMED = [str(number).encode() for number in range(200)]


def test_every_piece_of_a_stream_is_passed_on_in_order():
    def streamed(environ, start_response):
        start_response(*OK)
        yield from STREAMED

    server = Server()
    assert server.serve(streamed) == WHOLE
    assert server.sent == b"".join(STREAMED)


@pytest.mark.parametrize("broken_at", [1, 2, 3, 40, 199])
def test_a_stream_that_breaks_is_an_abort(broken_at):
    def streamed(environ, start_response):
        start_response(*OK)
        yield from STREAMED[:broken_at]
        raise BrokenError

    server = Server()
    assert server.serve(streamed) == LATE
    assert server.sent == b"".join(STREAMED[:broken_at])
    assert Server(breaks_at=broken_at).serve(streamed) == LATE


@pytest.mark.parametrize("broken_at", [1, 2, 3, 40, 199])
def test_a_client_that_goes_amid_a_stream(broken_at):
    closed = []

    class Stream:
        def __iter__(self):
            return iter(STREAMED)

        def close(self):
            closed.append(True)

    def streamed(environ, start_response):
        start_response(*OK)
        return Stream()

    assert Server(breaks_at=broken_at).serve(streamed) == LATE
    assert closed == [True]


def test_of_a_promised_length_every_piece_counts():
    """A client that leaves with all that was promised has not aborted."""

    def promised(length):
        def streamed(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(length))])
            yield from [b"12345"] * 200
            raise BrokenError

        return streamed

    assert Server().serve(promised(995)) == WHOLE
    assert Server().serve(promised(1001)) == LATE


@pytest.mark.parametrize("result", [list, iter])
def test_a_server_that_takes_it_for_an_iterator(result):
    exchange = WsgiExchange((server := Server()).recorder.arrive(), server.environ, server.start_response)
    exchange.start_response(*OK)
    taken = exchange.body(result([b"one", b"two", b"three"]))
    assert [next(taken), next(taken), *taken] == [b"one", b"two", b"three"]
    taken.close()
    assert server.counts() == WHOLE


def test_a_client_that_leaves_before_the_last_pieces():
    ours, theirs = socket.socketpair()

    def streamed(environ, start_response):
        start_response(*OK)
        yield from STREAMED[:63]
        theirs.close()
        for _ in range(5):
            time.sleep(0.005)
            yield b"slow"

    assert Server(**{"gunicorn.socket": ours}).serve(streamed, check=False) == LATE
    ours.close()


def test_a_body_that_is_closed_early_is_gone():
    class Result:
        def __iter__(self):
            return iter(STREAMED)

    server, result = Server(), Result()
    exchange = WsgiExchange(server.recorder.arrive(), server.environ, server.start_response)
    exchange.start_response(*OK)
    body, kept = exchange.body(result), weakref.ref(result)
    next(body)
    body.close()
    gc.disable()
    try:
        del body, exchange, result
        assert kept() is None
    finally:
        gc.enable()


def test_a_server_that_does_not_read_the_body_of_a_head():
    server = Server(method="HEAD")
    exchange = WsgiExchange(server.recorder.arrive(), server.environ, server.start_response)
    body = exchange.body(plain(server.environ, exchange.start_response))
    body.close()
    assert server.counts() == WHOLE


def test_a_client_whose_socket_is_closed():
    class Gone:
        def fileno(self):
            return -1

    server = Server(**{"waitress.client_disconnected": lambda: True})
    exchange = WsgiExchange(server.recorder.arrive(), server.environ, server.start_response)
    exchange._looked_ns -= 1_000_000_000
    body = exchange.body(plain(server.environ, exchange.start_response))
    assert list(body) == [b"hello"]
    body.close()
    assert server.counts() == EARLY


def test_the_applications_close_is_called_after_the_end_was_recorded():
    server = Server()

    class Closing(list):
        def close(self):
            server.closed = bool(server.recorder.finished)

    def closing(environ, start_response):
        start_response(*OK)
        return Closing([b"one"])

    assert server.serve(closing) == WHOLE
    assert server.closed


@pytest.mark.parametrize(("breaks_at", "expected"), [(None, WHOLE), (1, LATE)])
def test_a_file_goes_to_the_server_as_it_asked_for_it(breaks_at, expected):
    file = io.BytesIO(b"x" * 20_000)

    def sends(environ, start_response):
        start_response(*OK)
        return environ["wsgi.file_wrapper"](file)

    server = Server(breaks_at=breaks_at, **{"wsgi.file_wrapper": FileWrapper})
    exchange = WsgiExchange(server.recorder.arrive(), server.environ, server.start_response)
    body = exchange.body(sends(server.environ, exchange.start_response))
    assert type(body) is FileWrapper
    try:
        for piece in body:
            server.write(piece)
    except BrokenPipeError:
        pass
    else:
        assert server.sent == b"x" * 20_000
    finally:
        if breaks_at is None:
            body.close()
    if breaks_at is not None:
        try:
            raise BrokenPipeError
        except BrokenPipeError:
            body.close()
    assert server.counts() == expected
    assert file.closed


def test_a_status_that_is_invalid():
    assert [status_code(text) for text in ("200 OK", "404", "", "nonsense")] == [200, 404, 500, 500]
