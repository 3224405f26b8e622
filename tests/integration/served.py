"""The served application of the end-to-end tests: known behaviours, the middleware added in one line.

An independent stopwatch around the middleware writes the path and duration of each answered request to the file
LATENCIES, and on SIGUSR1 the agent's own totals to the file TOTALS.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from endpoint_analytics.agents.middleware.asgi import AnalyticsMiddleware

LATENCIES = Path(os.environ["LATENCIES"]).open("a", buffering=1)  # noqa: SIM115
release = asyncio.Event()


async def status(request: Request) -> Response:
    return PlainTextResponse("said", status_code=request.path_params["code"])


async def sleep(request: Request) -> Response:
    await asyncio.sleep(float(request.path_params["seconds"]))
    return JSONResponse({"slept": True})


async def stream(request: Request) -> Response:
    async def parts():
        for number in range(request.path_params["parts"]):
            yield f"part {number}\n" * 10
            await asyncio.sleep(0.02)

    return StreamingResponse(parts())


async def hang(_: Request) -> Response:
    await release.wait()
    return PlainTextResponse("released")


async def hang_streaming(_: Request) -> Response:
    async def parts():
        yield "begun\n"
        await release.wait()
        yield "released\n"

    return StreamingResponse(parts())


async def boom(_: Request) -> Response:
    raise RuntimeError("as asked")


async def boom_streaming(_: Request) -> Response:
    async def parts():
        yield "begun\n"
        raise RuntimeError("as asked")

    return StreamingResponse(parts())


async def echo(request: Request) -> Response:
    return Response(await request.body())


application = Starlette(
    routes=[
        Route("/status/{code:int}", status),
        Route("/sleep/{seconds}", sleep),
        Route("/stream/{parts:int}", stream),
        Route("/hang", hang),
        Route("/hang-streaming", hang_streaming),
        Route("/boom", boom),
        Route("/boom-streaming", boom_streaming),
        Route("/echo", echo, methods=["POST"]),
    ]
)
measured = AnalyticsMiddleware(application)


async def app(scope, receive, send) -> None:
    if scope["type"] == "lifespan":
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, write_totals)
        loop.add_signal_handler(signal.SIGUSR2, release.set)
        await measured(scope, receive, send)
        return
    begun = time.perf_counter_ns()
    taken_us = []

    async def timed(message) -> None:
        await send(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            taken_us.append((time.perf_counter_ns() - begun) // 1000)

    try:
        await measured(scope, receive, timed)
    finally:
        # Not inside `timed`: the middleware would also measure writing the file.
        LATENCIES.writelines(f"{scope['path']} {each}\n" for each in taken_us)


def write_totals() -> None:
    snapshot = measured.agent.snapshot()
    path = Path(os.environ["TOTALS"])
    path.with_suffix(".new").write_bytes(
        msgspec.json.encode(
            {
                "boot_id": snapshot.boot_id,
                "active": snapshot.active,
                "flushes": snapshot.flushes,
                "totals": snapshot.totals,
            }
        )
    )
    path.with_suffix(".new").rename(path)
