"""The proxy's settings: frozen, checked once. Only settings belong here."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import get_args

from endpoint_analytics.agents.core.config import ConfigurationError
from endpoint_analytics.agents.proxy.fields import HeadLimits
from endpoint_analytics.agents.proxy.forwarding import Forwarded
from endpoint_analytics.schemas.configuration.settings import parse_url, shown_value

_POSITIVE = ("connect_timeout_s", "response_timeout_s", "head_timeout_s", "body_timeout_s", "idle_timeout_s")
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where the server listens."""

    host: str
    port: int
    is_tls: bool = False

    def __str__(self) -> str:
        return f"{'https' if self.is_tls else 'http'}://{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxySettings:
    """All times are in seconds. Raises ConfigurationError for invalid values.

    `response_timeout_s` limits the time from the request's last byte to the response head, and between two pieces of
    the response; `body_timeout_s` the time between two pieces of a request's body. A body that keeps moving is allowed.
    `hold_s` is how long a request waits for an upstream that refuses connections (0: it gets 502 at once).
    """

    upstream: Upstream
    host: str = "127.0.0.1"
    port: int = 0
    forwarded: Forwarded = "append"
    limits: HeadLimits = field(default_factory=HeadLimits)
    connect_timeout_s: float = 5.0
    response_timeout_s: float = 600.0
    head_timeout_s: float = 30.0
    body_timeout_s: float = 60.0
    idle_timeout_s: float = 75.0
    upstream_idle_s: float = 4.0
    upstream_idle_connections: int = 256
    drain_s: float = 30.0
    hold_s: float = 0.0

    def __post_init__(self) -> None:
        if self.forwarded not in get_args(Forwarded):
            raise ConfigurationError(
                f"forwarded is {self.forwarded!r}: expected one of {', '.join(get_args(Forwarded))}"
            )
        for name in _POSITIVE:
            if not getattr(self, name) > 0:
                raise ConfigurationError(f"{name} is {getattr(self, name)}: expected more than 0")
        for name in ("drain_s", "hold_s", "upstream_idle_s"):
            if not getattr(self, name) >= 0:
                raise ConfigurationError(f"{name} is {getattr(self, name)}: expected 0 or more")
        if self.limits.head_bytes < 1_024 or self.limits.fields < 8:
            raise ConfigurationError("the limits of a head must be at least 1024 bytes and 8 header lines")


def parse_upstream(url: str) -> Upstream:
    """Parse `http://host:port`; raises ConfigurationError. A path is refused: each request keeps its own."""
    parts = parse_url("--to", url, default_scheme="http", error=_invalid_upstream)
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise _invalid_upstream("--to", url, "it has a path, but each request keeps its own")
    if parts.username is not None:
        raise _invalid_upstream("--to", url, "it has a login")
    return Upstream(parts.hostname or "", parts.port or _PORTS[parts.scheme], parts.scheme == "https")


def _invalid_upstream(name: str, url: str, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"{name} is {shown_value(url)} ({why}): expected http://HOST:PORT or https://HOST:PORT"
    )


def parse_listen(text: str) -> tuple[str, int]:
    """Parse `8080`, `host:8080` or `[::1]:8080` into host and port; raises ConfigurationError."""
    match = re.fullmatch(r"(?:(?:\[([0-9a-fA-F:.]+)\]|([^:\[\]]+)):)?([0-9]{1,5})", text)
    if match is None or int(match[3]) > 65_535:
        raise ConfigurationError(f"--listen is {text!r}: expected PORT, HOST:PORT or [ADDRESS]:PORT")
    return match[1] or match[2] or "127.0.0.1", int(match[3])


def cannot_listen(host: str, port: int, error: OSError) -> str:
    """Return why an address of `--listen` cannot be used, and what to do."""
    # What asyncio says names the address once more; a failed look-up of a name has a negative number and its own text.
    known = error.errno is not None and error.errno > 0
    reason = os.strerror(error.errno) if known and error.errno else error.strerror or str(error)
    shown = f"[{host}]" if ":" in host else host
    return f"cannot listen on {shown}:{port}: {reason}: choose another address with --listen"
