"""What to scrape: the URL, and the user's own metrics. Frozen, checked once; only settings belong here."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from endpoint_analytics.agents.core.config import AgentConfig, ConfigurationError
from endpoint_analytics.agents.scrape.engine_tls import EngineTls, engine_tls
from endpoint_analytics.agents.scrape.engines import How, Source
from endpoint_analytics.agents.scrape.selector import EVERYTHING, Selector, parse_selector
from endpoint_analytics.schemas.configuration.settings import invalid_setting, parse_url

MAX_OWN_METRICS = 16
DEFAULT_PATH = "/metrics"
NOTHING = frozenset({"", "off"})

_OWN = re.compile(
    r"(engine_[a-z0-9_]{1,56})=([a-zA-Z_:][a-zA-Z0-9_:]{0,254})(\{.*\})?(?:\*([0-9.eE+-]{1,24}))?"
)
_BETWEEN = re.compile(r",\s*(?=engine_[a-z0-9_]*=|[^{}]*$|[^{}]*\{)")
_RESERVED = ("_total", "_created", "_bucket", "_count", "_sum", "_info")


@dataclass(frozen=True, slots=True)
class ScrapeTarget:
    """Where a serving engine's metrics are; `token` is sent as a bearer token and never shown."""

    host: str
    port: int
    path: str
    is_tls: bool = False
    token: str = field(default="", repr=False)
    tls: EngineTls = field(default_factory=EngineTls, repr=False, compare=False)

    def __str__(self) -> str:
        """Return the URL for display, without the query, which may hold a secret."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.is_tls else 'http'}://{host}:{self.port}{self.path.partition('?')[0]}"


@dataclass(frozen=True, slots=True)
class ScrapeSettings:
    """Scrape `target` every `interval_s` seconds; `own` are the user's own sources."""

    target: ScrapeTarget
    interval_s: float
    own: tuple[Source, ...] = ()
    select: Selector = EVERYTHING


def scrape_settings(config: AgentConfig) -> ScrapeSettings | None:
    """Return the scrape settings of `config`, None if nothing should be scraped; raises ConfigurationError."""
    if config.scrape in NOTHING:
        return None
    target = replace(parse_target(config.scrape), token=config.scrape_token, tls=engine_tls(config))
    own, select = parse_own(config.scrape_metrics), parse_selector(config.scrape_select)
    return ScrapeSettings(target, config.scrape_interval_s, own, select)


def parse_target(url: str) -> ScrapeTarget:
    """Parse `http://host:port/path` (default path: /metrics); raises ConfigurationError."""
    parts = parse_url("scrape", url, default_scheme="http")
    if parts.username is not None:
        raise invalid_setting(
            "scrape",
            url,
            "a login in the URL is not supported; set ENDPOINT_ANALYTICS_SCRAPE_TOKEN to a token",
        )
    path = parts.path if parts.path not in {"", "/"} else DEFAULT_PATH
    is_tls = parts.scheme == "https"
    return ScrapeTarget(
        parts.hostname or "",
        parts.port or (443 if is_tls else 80),
        path + (f"?{parts.query}" if parts.query else ""),
        is_tls,
    )


def parse_own(mappings: Sequence[str]) -> tuple[Source, ...]:
    """Parse `engine_name=prometheus_name{selector}*factor`, selector and factor being optional; raises
    ConfigurationError. Mappings that were split at the commas in a selector's braces are joined again.

    The name decides how several samples are combined: _per_second means a rate, _percent and _ratio an average,
    anything else a sum.
    """
    whole = [mapping.strip() for mapping in _BETWEEN.split(",".join(mappings)) if mapping.strip()]
    if len(whole) > MAX_OWN_METRICS:
        raise ConfigurationError(f"{len(whole)} metrics of your own: at most {MAX_OWN_METRICS} are allowed")
    found = [_parse_one(mapping) for mapping in whole]
    if len({source.metric for source in found}) < len(found):
        raise ConfigurationError("one of your own metrics is named twice")
    return tuple(found)


def _parse_one(mapping: str) -> Source:
    match = _OWN.fullmatch(mapping)
    if match is None:
        raise ConfigurationError(
            f"metric is {mapping!r}: expected engine_NAME=PROMETHEUS_NAME, where NAME has lower-case letters, digits "
            "and _, or engine_NAME=PROMETHEUS_NAME*FACTOR"
        )
    metric, name, selector, factor_text = match.groups()
    if metric.endswith(_RESERVED):
        raise ConfigurationError(
            f"metric is {metric!r}: counters are sent as rates, so end the name with _per_second"
        )
    try:
        factor = float(factor_text or 1)
    except ValueError:
        factor = math.nan
    if not math.isfinite(factor):
        raise ConfigurationError(f"metric is {mapping!r}: {factor_text!r} is not a valid factor")
    return Source(metric, (name,), _how(metric), factor, parse_selector(selector or ""))


def _how(metric: str) -> How:
    if metric.endswith("_per_second"):
        return "rate"
    return "mean" if metric.endswith(("_percent", "_ratio")) else "sum"
