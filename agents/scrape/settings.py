"""What to scrape: the address, and metrics of the user's own. Frozen, checked once; only settings belong here."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from endpoint_analytics.agents.core.config import AgentConfig, ConfigurationError
from endpoint_analytics.agents.scrape.engine_tls import EngineTls, engine_tls
from endpoint_analytics.agents.scrape.engines import How, Source
from endpoint_analytics.agents.scrape.selector import EVERYTHING, Selector, parse_selector
from endpoint_analytics.schemas.configuration.settings import parse_url, wrong

MAX_OWN_METRICS = 16
DEFAULT_PATH = "/metrics"
NOTHING = frozenset({"", "off"})

_OWN = re.compile(
    r"(engine_[a-z0-9_]{1,56})=([a-zA-Z_:][a-zA-Z0-9_:]{0,254})(\{.*\})?(?:\*([0-9.eE+-]{1,24}))?"
)
_BETWEEN = re.compile(r",\s*(?=engine_[a-z0-9_]*=|[^{}]*$|[^{}]*\{)")
_RESERVED = ("_total", "_created", "_bucket", "_count", "_sum", "_info")


@dataclass(frozen=True, slots=True)
class Target:
    """Where an engine's metrics are; a `token` is sent as a bearer's, and shown nowhere."""

    host: str
    port: int
    path: str
    is_tls: bool = False
    token: str = field(default="", repr=False)
    tls: EngineTls = field(default_factory=EngineTls, repr=False, compare=False)

    def __str__(self) -> str:
        """Return it for people, without the query: that may hold a secret."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.is_tls else 'http'}://{host}:{self.port}{self.path.partition('?')[0]}"


@dataclass(frozen=True, slots=True)
class ScrapeSettings:
    """Reads `target` each `interval_s`; `own` are sources that the user named."""

    target: Target
    interval_s: float
    own: tuple[Source, ...] = ()
    select: Selector = EVERYTHING


def scrape_settings(config: AgentConfig) -> ScrapeSettings | None:
    """Return what the agent's settings say, None when nothing is to be scraped; raises ConfigurationError."""
    if config.scrape in NOTHING:
        return None
    target = replace(parse_target(config.scrape), token=config.scrape_token, tls=engine_tls(config))
    own, select = parse_own(config.scrape_metrics), parse_selector(config.scrape_select)
    return ScrapeSettings(target, config.scrape_interval_s, own, select)


def parse_target(url: str) -> Target:
    """Return where `http://host:port/path` points (the path is /metrics by default); raises ConfigurationError."""
    parts = parse_url("scrape", url, default_scheme="http")
    if parts.username is not None:
        raise wrong("scrape", url, "a login is no part of it; ENDPOINT_ANALYTICS_SCRAPE_TOKEN gives a token")
    path = parts.path if parts.path not in {"", "/"} else DEFAULT_PATH
    is_tls = parts.scheme == "https"
    return Target(
        parts.hostname or "",
        parts.port or (443 if is_tls else 80),
        path + (f"?{parts.query}" if parts.query else ""),
        is_tls,
    )


def parse_own(mappings: Sequence[str]) -> tuple[Source, ...]:
    """Return the sources of `engine_name=prometheus_name{selector}*factor`, the last two as wanted; raises
    ConfigurationError. What was split at the commas in a selector's braces is put together again.

    The name says what becomes of several samples: rates end with _per_second, averages with _percent or _ratio,
    all else is added up.
    """
    whole = [mapping.strip() for mapping in _BETWEEN.split(",".join(mappings)) if mapping.strip()]
    if len(whole) > MAX_OWN_METRICS:
        raise ConfigurationError(f"{len(whole)} metrics of your own; {MAX_OWN_METRICS} are taken")
    found = [_parse_one(mapping) for mapping in whole]
    if len({source.metric for source in found}) < len(found):
        raise ConfigurationError("a metric of your own is named twice")
    return tuple(found)


def _parse_one(mapping: str) -> Source:
    match = _OWN.fullmatch(mapping)
    if match is None:
        raise ConfigurationError(
            f"metric is {mapping!r}; it takes engine_NAME=PROMETHEUS_NAME, where NAME has small letters, digits "
            "and _, or engine_NAME=PROMETHEUS_NAME*FACTOR"
        )
    metric, name, selector, factor_text = match.groups()
    if metric.endswith(_RESERVED):
        raise ConfigurationError(
            f"metric is {metric!r}; what it counts is sent as a rate: end the name with _per_second"
        )
    try:
        factor = float(factor_text or 1)
    except ValueError:
        factor = math.nan
    if not math.isfinite(factor):
        raise ConfigurationError(f"metric is {mapping!r}; {factor_text!r} is no factor")
    return Source(metric, (name,), _how(metric), factor, parse_selector(selector or ""))


def _how(metric: str) -> How:
    if metric.endswith("_per_second"):
        return "rate"
    return "mean" if metric.endswith(("_percent", "_ratio")) else "sum"
