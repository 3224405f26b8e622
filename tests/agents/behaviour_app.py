"""The application of the shared suite: each path one behaviour. Run as a process, it is served by a real uvicorn.

Requests to /control are the test's own: they never pass what is tested.
"""

from __future__ import annotations

import asyncio
import socket
import sys

import uvicorn


class BehaviourApp:
    """An ASGI application; `captured`, if given, is what wraps it for the requests that count."""

    def __init__(self, wrap=lambda app: app) -> None:
        self.captured = wrap(self.behave)
        self.entered = 0
        self.changed = asyncio.Event()
        self.release = asyncio.Event()

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] == "http" and scope["path"].startswith("/control/"):
            await self.control(scope["path"].split("/")[2:], send)
        else:
            await self.captured(scope, receive, send)

    async def control(self, words, send) -> None:
        match words:
            case ["entered", number]:  # answers when so many have entered since the last reset
                while self.entered < int(number):
                    self.changed.clear()
                    await self.changed.wait()
            case ["release"]:
                self.release.set()
            case ["reset"]:
                self.entered = 0
                self.release = asyncio.Event()
        await respond(send, 200, b"")

    async def behave(self, scope, receive, send) -> None:
        if scope["type"] == "lifespan":
            while (await receive())["type"] != "lifespan.shutdown":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        if scope["type"] == "websocket":
            await shake_hands(scope["path"].split("/")[2:], receive, send)
            return
        match scope["path"].split("/")[1:]:
            case ["plain"]:
                await respond(send, 200, b"hello")
            case ["status", code]:
                await respond(send, int(code), b"")
            case ["count"]:
                await respond(send, 200, str(len(await body_of(receive))).encode())
            case ["echo"]:
                await respond(send, 200, await body_of(receive))
            case ["headers"]:
                names = b"".join(b"%s: %s\n" % header for header in scope["headers"])
                await respond(send, 200, names)
            case ["stream"]:
                await stream(send, 5)
            case ["large", size]:
                await stream(send, int(size) // 65_536, bytes(65_536))
            case ["broken"]:
                raise RuntimeError("before the start")
            case ["broken_stream"]:
                await begin(send)
                raise RuntimeError("after the start")
            case ["cancelled"]:
                raise asyncio.CancelledError
            case ["wait"]:
                await self.wait()
                await respond(send, 200, b"late")
            case ["wait_stream"]:
                await begin(send)
                await self.wait()
                await send({"type": "http.response.body", "body": b"late"})
            case _:
                await respond(send, 404, b"")

    async def wait(self) -> None:
        release = self.release
        self.entered += 1
        self.changed.set()
        await release.wait()


async def shake_hands(words, receive, send) -> None:
    """A websocket's handshake: /ws/accept, /ws/close (a 403), /ws/deny/401, /ws/broken."""
    await receive()
    match words:
        case ["accept"]:
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.send", "text": "hello"})
            await send({"type": "websocket.close"})
        case ["close"]:
            await send({"type": "websocket.close", "code": 1008})
        case ["deny", status]:
            headers = [(b"content-length", b"2")]
            await send({"type": "websocket.http.response.start", "status": int(status), "headers": headers})
            await send({"type": "websocket.http.response.body", "body": b"no"})
        case _:
            raise RuntimeError("before the handshake's answer")


async def respond(send, status: int, body: bytes) -> None:
    headers = [(b"content-length", str(len(body)).encode()), (b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def begin(send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"begun", "more_body": True})


async def stream(send, parts: int, part: bytes = b"piece") -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    for _ in range(parts):
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def body_of(receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


app = BehaviourApp()
"""For servers that are given an application's name."""


def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)

    class Server(uvicorn.Server):
        async def startup(self, sockets=None):
            await super().startup(sockets)
            print("listening", listener.getsockname()[1], flush=True)

    config = uvicorn.Config(
        BehaviourApp(), log_level="critical", http=sys.argv[1] if sys.argv[1:] else "auto"
    )
    Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
