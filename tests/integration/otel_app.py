"""An application that knows nothing of us: `opentelemetry-instrument` alone makes it report its requests."""

import asyncio

from fastapi import FastAPI, Response
from fastapi.responses import StreamingResponse

app = FastAPI()


@app.get("/health")
async def health() -> str:
    return "ok"


@app.get("/answer/{status}")
async def answer(status: int, wait_s: float = 0.0) -> Response:
    await asyncio.sleep(wait_s)
    return Response(status_code=status)


@app.get("/stream")
async def stream(cut: bool = False) -> StreamingResponse:
    async def pieces():
        yield b"first"
        await asyncio.sleep(0.3)
        if cut:
            raise RuntimeError("cut")
        yield b"last"

    return StreamingResponse(pieces())
