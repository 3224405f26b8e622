"""The latency that a proxy adds, and its throughput: ours, nginx and a plain aiohttp proxy in one run.

All run in front of the same server, a bare asyncio protocol in its own process that answers every request with the same
15 bytes; each proxy is one process, too (nginx with one worker). The client is one process with bare keep-alive
sockets, so that it is not the bottleneck.

- Latency: one connection, one request at a time, proxies alternating round by round; p50 and p99 of all rounds, and
  their difference from requests to the server directly. Client, proxy and server are pinned to one core: otherwise the
  time to wake a sleeping core dominates, and it differs with each placement.
- Throughput: 64 connections, each with one request at a time, on all cores; the median of the rounds.

The agent of our proxy runs as in production, and its Kafka is a port that refuses connections: it encodes and keeps
batches, and retries, alongside the requests.
"""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.benchmarks.results import OURS, Figure

ROUNDS = 10
SHAPE = "one connection, one request of 17 bytes at a time, one core"
LATENCY_REQUESTS = 400
CONNECTIONS = 64
THROUGHPUT_S = 1.0
REQUEST = (
    b"POST /predict HTTP/1.1\r\nHost: model\r\nContent-Type: application/json\r\nContent-Length: 17\r\n"
    b"Accept: */*\r\nUser-Agent: benchmark\r\nX-Request-Id: 0123456789\r\n\r\n" + b'{"image": "....."}'[:17]
)
ANSWER = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{"label":"cat"}'

SERVER = f"""
import asyncio, sys
class Server(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
    def data_received(self, data):
        # heads and bodies come whole from proxies that pass small requests on; a body alone is no request
        self.transport.write({ANSWER!r} * data.count(b" HTTP/1."))
async def main():
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
try:
    import uvloop
    uvloop.run(main())
except ModuleNotFoundError:
    asyncio.run(main())
"""

AIOHTTP = """
import asyncio, sys
from aiohttp import ClientSession, TCPConnector, web
HOP = {"connection", "keep-alive", "transfer-encoding", "te", "upgrade"}
async def main(upstream):
    session = ClientSession(connector=TCPConnector(limit=0), auto_decompress=False)
    async def handle(request):
        headers = {k: v for k, v in request.headers.items() if k.lower() not in HOP}
        async with session.request(request.method, upstream + request.path_qs, headers=headers,
                                   data=request.content if request.can_read_body else None) as answer:
            kept = {k: v for k, v in answer.headers.items() if k.lower() not in HOP}
            response = web.StreamResponse(status=answer.status, headers=kept)
            await response.prepare(request)
            async for piece in answer.content.iter_any():
                await response.write(piece)
            await response.write_eof()
            return response
    runner = web.ServerRunner(web.Server(handle))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(site._server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()
try:
    import uvloop
    uvloop.run(main(sys.argv[1]))
except ModuleNotFoundError:
    asyncio.run(main(sys.argv[1]))
"""


CORES = os.sched_getaffinity(0)
children: list[int] = [os.getpid()]


def place(cores: set[int]) -> None:
    """Pin all processes to these cores."""
    for pid in children:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), cores)
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            os.sched_setaffinity(int(child), cores)


@contextmanager
def process(words: list[str]) -> Iterator[str]:
    """Run a process and yield its first line."""
    child = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    children.append(child.pid)
    assert child.stdout is not None
    try:
        yield child.stdout.readline()
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


@contextmanager
def ours(upstream: int, *, uvloop: bool) -> Iterator[int]:
    hidden = "" if uvloop else "import sys; sys.modules['uvloop'] = None; "
    words = [
        *(sys.executable, "-c", f"{hidden}from endpoint_analytics.infra.command import main; main()"),
        *("agent", "proxy", "--to", f"http://127.0.0.1:{upstream}", "--listen", "127.0.0.1:0"),
        *("--namespace", "acme", "--endpoint", "classifier", "--kafka", "127.0.0.1:1", "--timeout", "0"),
    ]
    with process(words) as said:
        yield int(said.split()[2].rpartition(":")[2])


@contextmanager
def nginx(upstream: int) -> Iterator[int]:
    with tempfile.TemporaryDirectory() as directory, socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
        free.close()
        configuration = Path(directory) / "nginx.conf"
        paths = "".join(
            f"{name}_temp_path {directory}/{name};"
            for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        configuration.write_text(
            f"daemon off; worker_processes 1; pid {directory}/pid; error_log {directory}/error.log;"
            "events { worker_connections 4096; }"
            f"http {{ access_log off; keepalive_requests 1000000; {paths}"
            f"upstream model {{ server 127.0.0.1:{upstream}; keepalive 128; keepalive_requests 1000000; }}"
            f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://model; proxy_http_version 1.1;"
            'proxy_set_header Connection ""; proxy_buffering off; proxy_request_buffering off; } } }'
        )
        words = ["nginx", "-c", str(configuration), "-p", directory]
        words += ["-g", "user root;"] if os.getuid() == 0 else []
        child = subprocess.Popen(words, stderr=subprocess.DEVNULL)
        children.append(child.pid)
        try:
            wait_for(port)
            yield port
        finally:
            child.terminate()
            child.wait()


def wait_for(port: int) -> None:
    end = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)
        else:
            return


def latencies_us(port: int) -> list[float]:
    """Return how long each request took, one after another on one connection."""
    taken = []
    gc.collect()
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(LATENCY_REQUESTS):
            begun = time.perf_counter_ns()
            connection.sendall(REQUEST)
            answer = b""
            while not answer.endswith((b'"cat"}', b"0\r\n\r\n")):
                piece = connection.recv(4096)
                assert piece, answer
                answer += piece
            taken.append((time.perf_counter_ns() - begun) / 1_000)
    return taken


class Client(asyncio.Protocol):
    """Sends the next request as soon as it has a response."""

    def __init__(self) -> None:
        self.answers = 0
        self.transport: asyncio.Transport
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self.transport.write(REQUEST)

    def data_received(self, data: bytes) -> None:
        self.received += data
        if self.received.endswith((b'"cat"}', b"0\r\n\r\n")):
            assert self.received.startswith(b"HTTP/1.1 200")
            self.answers += 1
            self.received = b""
            self.transport.write(REQUEST)


async def requests_per_s(port: int) -> float:
    loop = asyncio.get_running_loop()
    clients = [(await loop.create_connection(Client, "127.0.0.1", port))[1] for _ in range(CONNECTIONS)]
    await asyncio.sleep(0.2)
    before, begun = sum(client.answers for client in clients), loop.time()
    await asyncio.sleep(THROUGHPUT_S)
    answers, took_s = sum(client.answers for client in clients) - before, loop.time() - begun
    for client in clients:
        client.transport.abort()
    return answers / took_s


def main() -> list[Figure]:
    """Print the table."""
    with ExitStack() as stack:
        server = int(stack.enter_context(process([sys.executable, "-c", SERVER])))
        url = f"http://127.0.0.1:{server}"
        ports = {
            "the server itself": server,
            "endpoint-analytics, uvloop": stack.enter_context(ours(server, uvloop=True)),
            "endpoint-analytics, asyncio": stack.enter_context(ours(server, uvloop=False)),
            "aiohttp, plain": int(stack.enter_context(process([sys.executable, "-c", AIOHTTP, url]))),
        }
        if shutil.which("nginx"):
            ports["nginx, one worker"] = stack.enter_context(nginx(server))
        taken: dict[str, list[float]] = {name: [] for name in ports}
        passed: dict[str, list[float]] = {name: [] for name in ports}
        names = list(ports)
        for number in range(ROUNDS + 1):
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                place({min(CORES)})
                latency = latencies_us(ports[name])
                place(CORES)
                rate = asyncio.run(requests_per_s(ports[name]))
                if number:  # the first one warms up
                    taken[name] += latency
                    passed[name].append(rate)
    print(
        f"proxy: {ROUNDS} interleaved rounds; latency of {LATENCY_REQUESTS} requests in a row, "
        f"throughput of {CONNECTIONS} connections ({os.cpu_count()} cores for client, proxy and server)"
    )
    print(f"  {'':<30}{'p50 us':>9}{'p99 us':>9}{'adds p50':>10}{'adds p99':>10}{'requests/s':>12}")
    figures = []
    base = [statistics.quantiles(taken["the server itself"], n=100)[at] for at in (49, 98)]
    for name, latency in taken.items():
        p50, p99 = (statistics.quantiles(latency, n=100)[at] for at in (49, 98))
        rate = statistics.median(passed[name])
        print(f"  {name:<30}{p50:>9.0f}{p99:>9.0f}{p50 - base[0]:>10.0f}{p99 - base[1]:>10.0f}{rate:>12,.0f}")
        if name != "the server itself":
            who = OURS if name == "endpoint-analytics, uvloop" else name
            figures.append(Figure("reverse proxy: adds at p50", p50 - base[0], "us", SHAPE, who))
    return figures


if __name__ == "__main__":
    main()
