"""Which format and which encoding a client gets: Accept and Accept-Encoding read as RFC 9110 says. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from endpoint_analytics.pipeline.exposition import openmetrics, prometheus_text

MAX_RANGES = 32
"""Media ranges that are read of one header; Prometheus sends six."""
MAX_CHARACTERS = 2048
"""Of a header that are read; Prometheus sends 300."""

_ITEM = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*")+')
_PART = re.compile(r'(?:[^;"]|"(?:[^"\\]|\\.)*")+')
_WEIGHT = re.compile(r"(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Format:
    """A format that we write; `versions` are those whose readers can read it."""

    media_type: str
    versions: frozenset[str]
    content_type: str


OPENMETRICS = Format("application/openmetrics-text", frozenset({"1.0.0"}), openmetrics.CONTENT_TYPE)
# Prometheus 3 calls the same format with quoted names 1.0.0; ours have none, so both read it.
PROMETHEUS = Format("text/plain", frozenset({"0.0.4", "1.0.0"}), prometheus_text.CONTENT_TYPE)


@dataclass(frozen=True, slots=True)
class _Range:
    name: str
    parameters: dict[str, str]
    weight: float


def choose_format(accept: str | None) -> Format:
    """Return the format with the highest weight, OpenMetrics when the header does not decide.

    The most specific range that names a format gives its weight. There is no 406: when all is refused
    or unknown, a format that was not refused goes before one that was.
    """
    if accept is None or not accept.strip():
        return OPENMETRICS
    ranges = list(_parse(accept))
    return max((PROMETHEUS, OPENMETRICS), key=lambda each: (_rank(each, ranges), each is OPENMETRICS))


def _rank(each: Format, ranges: list[_Range]) -> float:
    """Return the weight; -1 when nothing names the format, -2 when it is refused."""
    matching = [(specificity, one.weight) for one in ranges if (specificity := _specificity(each, one))]
    if not matching:
        return -1.0
    _, weight = max(matching)
    return weight if weight > 0 else -2.0


def _specificity(each: Format, one: _Range) -> int:
    """Return how closely the range names the format, 0 when it does not.

    Parameters other than `version` (charset, escaping) do not change what we would send.
    """
    if one.name == "*/*":
        return 1
    if one.name == f"{each.media_type.partition('/')[0]}/*":
        return 2
    if one.name != each.media_type:
        return 0
    version = one.parameters.get("version")
    if version is None:
        return 3
    return 4 if version in each.versions else 0


def accepts_gzip(accept_encoding: str | None) -> bool:
    """Whether the client takes gzip; without the header it does not."""
    if accept_encoding is None:
        return False
    weights = {one.name: one.weight for one in _parse(accept_encoding)}
    return weights.get("gzip", weights.get("x-gzip", weights.get("*", 0.0))) > 0


def _parse(header: str) -> Iterator[_Range]:
    """Yield the ranges; one with a weight that is no weight is passed over."""
    for item in _ITEM.findall(header[:MAX_CHARACTERS])[:MAX_RANGES]:
        name, *parts = (part.strip() for part in _PART.findall(item) or [""])
        parameters: dict[str, str] = {}
        for part in parts:
            key, _, value = part.partition("=")
            parameters.setdefault(key.strip().lower(), value.strip().strip('"'))
        weight = parameters.pop("q", "1")
        if name and _WEIGHT.fullmatch(weight):
            yield _Range(name.lower(), parameters, float(weight))
