"""Content negotiation: parses Accept and Accept-Encoding according to RFC 9110. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from endpoint_analytics.pipeline.exposition import openmetrics, prometheus_text, protobuf
from endpoint_analytics.pipeline.exposition.families import MetricFamily

MAX_RANGES = 32
"""Maximum number of media ranges read from a header; Prometheus sends six."""
MAX_CHARACTERS = 2048
"""Maximum number of characters read from a header; Prometheus sends 300."""

_ITEM = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*")+')
_PART = re.compile(r'(?:[^;"]|"(?:[^"\\]|\\.)*")+')
_WEIGHT = re.compile(r"(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Format:
    """An exposition format; `versions` are those whose readers can parse it.

    `parameters` of a media range must have these values, where they are given. A format that is not text is only for
    those who name it.
    """

    media_type: str
    versions: frozenset[str]
    content_type: str
    render: Callable[[Iterable[MetricFamily]], bytes]
    parameters: tuple[tuple[str, str], ...] = ()
    is_text: bool = True


OPENMETRICS = Format(
    "application/openmetrics-text", frozenset({"1.0.0"}), openmetrics.CONTENT_TYPE, openmetrics.render
)
# Version 1.0.0 of Prometheus 3 is the same format plus quoted names; we use none, so both can parse it.
PROMETHEUS = Format(
    "text/plain", frozenset({"0.0.4", "1.0.0"}), prometheus_text.CONTENT_TYPE, prometheus_text.render
)
PROTOBUF = Format(
    "application/vnd.google.protobuf",
    frozenset(),
    protobuf.CONTENT_TYPE,
    protobuf.render,
    (("proto", "io.prometheus.client.MetricFamily"), ("encoding", "delimited")),
    is_text=False,
)


@dataclass(frozen=True, slots=True)
class _Range:
    name: str
    parameters: dict[str, str]
    weight: float


def choose_format(accept: str | None) -> Format:
    """Return the format with the highest weight, OpenMetrics if the header does not decide.

    The most specific range that matches a format gives its weight. There is no 406: if all formats are refused or
    unmatched, one that was not refused is preferred.
    """
    if accept is None or not accept.strip():
        return OPENMETRICS
    ranges = list(_parse(accept))
    return max(
        (PROMETHEUS, PROTOBUF, OPENMETRICS), key=lambda each: (_rank(each, ranges), each is OPENMETRICS)
    )


def _rank(each: Format, ranges: list[_Range]) -> float:
    """Return the weight; -1 if nothing matches the format, -2 if it is refused, -3 if it had to be named."""
    matching = [(specificity, one.weight) for one in ranges if (specificity := _specificity(each, one))]
    if not matching:
        return -1.0 if each.is_text else -3.0
    _, weight = max(matching)
    return weight if weight > 0 else -2.0


def _specificity(each: Format, one: _Range) -> int:
    """Return how specifically the range matches the format, 0 if it does not.

    Parameters other than `version` (charset, escaping) do not change our response.
    """
    if not each.is_text and one.name != each.media_type:
        return 0
    if one.name == "*/*":
        return 1
    if one.name == f"{each.media_type.partition('/')[0]}/*":
        return 2
    if one.name != each.media_type:
        return 0
    if any(one.parameters.get(name, value) != value for name, value in each.parameters):
        return 0
    version = one.parameters.get("version")
    if version is None:
        return 3
    return 4 if version in each.versions else 0


def accepts_gzip(accept_encoding: str | None) -> bool:
    """Whether the client accepts gzip; without the header, it does not."""
    if accept_encoding is None:
        return False
    weights = {one.name: one.weight for one in _parse(accept_encoding)}
    return weights.get("gzip", weights.get("x-gzip", weights.get("*", 0.0))) > 0


def _parse(header: str) -> Iterator[_Range]:
    """Yield the ranges, skipping those with an invalid weight."""
    for item in _ITEM.findall(header[:MAX_CHARACTERS])[:MAX_RANGES]:
        name, *parts = (part.strip() for part in _PART.findall(item) or [""])
        parameters: dict[str, str] = {}
        for part in parts:
            key, _, value = part.partition("=")
            parameters.setdefault(key.strip().lower(), value.strip().strip('"'))
        weight = parameters.pop("q", "1")
        if name and _WEIGHT.fullmatch(weight):
            yield _Range(name.lower(), parameters, float(weight))
