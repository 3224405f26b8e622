"""The same small application in each framework, written as its users write it: /hello, /missing (404), /stream."""

from __future__ import annotations

FASTAPI = """
import asyncio
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from endpoint_analytics import AnalyticsMiddleware
app = FastAPI()
app.add_middleware(AnalyticsMiddleware)
@app.get("/hello")
async def hello():
    return {"hello": "world"}
@app.get("/stream")
async def stream():
    async def pieces():
        while True:
            yield b"piece"
            await asyncio.sleep(0.02)
    return StreamingResponse(pieces())
"""

STARLETTE = """
import asyncio
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route
from endpoint_analytics import AnalyticsMiddleware
async def hello(request):
    return PlainTextResponse("hello")
async def stream(request):
    async def pieces():
        while True:
            yield b"piece"
            await asyncio.sleep(0.02)
    return StreamingResponse(pieces())
app = Starlette(
    routes=[Route("/hello", hello), Route("/stream", stream)], middleware=[Middleware(AnalyticsMiddleware)]
)
"""

LITESTAR = """
import asyncio
from litestar import Litestar, get
from litestar.response import Stream
from endpoint_analytics import AnalyticsMiddleware
@get("/hello")
async def hello() -> dict[str, str]:
    return {"hello": "world"}
@get("/stream")
async def stream() -> Stream:
    async def pieces():
        while True:
            yield b"piece"
            await asyncio.sleep(0.02)
    return Stream(pieces())
app = AnalyticsMiddleware(Litestar(route_handlers=[hello, stream]))
"""

QUART = """
import asyncio
from quart import Quart
from endpoint_analytics import AnalyticsMiddleware
app = Quart(__name__)
app.config["RESPONSE_TIMEOUT"] = None
@app.get("/hello")
async def hello():
    return "hello"
@app.get("/stream")
async def stream():
    async def pieces():
        while True:
            yield b"piece"
            await asyncio.sleep(0.02)
    return pieces(), 200
app.asgi_app = AnalyticsMiddleware(app.asgi_app)
"""

_DJANGO = """
import time
from django.conf import settings
settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="tests")
import django
django.setup()
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path
def hello(request):
    return HttpResponse("hello")
"""

DJANGO_ASGI = (
    _DJANGO
    + """
import asyncio
from django.core.asgi import get_asgi_application
from endpoint_analytics import AnalyticsMiddleware
async def stream(request):
    async def pieces():
        while True:
            yield b"piece"
            await asyncio.sleep(0.02)
    return StreamingHttpResponse(pieces())
urlpatterns = [path("hello", hello), path("stream", stream)]
app = AnalyticsMiddleware(get_asgi_application())
"""
)

DJANGO_WSGI = (
    _DJANGO
    + """
from django.core.wsgi import get_wsgi_application
from endpoint_analytics import WSGIAnalyticsMiddleware
def stream(request):
    def pieces():
        while True:
            yield b"piece"
            time.sleep(0.02)
    return StreamingHttpResponse(pieces())
urlpatterns = [path("hello", hello), path("stream", stream)]
app = WSGIAnalyticsMiddleware(get_wsgi_application())
"""
)

FLASK = """
import time
from flask import Flask
from endpoint_analytics import WSGIAnalyticsMiddleware
app = Flask(__name__)
@app.get("/hello")
def hello():
    return "hello"
@app.get("/stream")
def stream():
    def pieces():
        while True:
            yield b"piece"
            time.sleep(0.02)
    return pieces()
app.wsgi_app = WSGIAnalyticsMiddleware(app.wsgi_app)
"""

APPLICATIONS = {
    "fastapi": FASTAPI,
    "starlette": STARLETTE,
    "litestar": LITESTAR,
    "quart": QUART,
    "django-asgi": DJANGO_ASGI,
    "django-wsgi": DJANGO_WSGI,
    "flask": FLASK,
}
"""Each is written to application.py as `app`."""

ENDS_IN_ORDER = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
"""
"""For a server that knows no SIGTERM (waitress): else the last second is lost."""
