"""Parses the selected samples of a Prometheus exposition: text in, numbers out. Pure.

Sources: the text format 0.0.4 (https://prometheus.io/docs/instrumenting/exposition_formats/) and OpenMetrics 1.0
(https://prometheus.io/docs/specs/om/open_metrics_spec/), whose sample lines differ in what may follow the value: a
timestamp, an exemplar. An engine's response has a thousand lines, of which a dozen are wanted: only these are parsed.
A wanted line that is not a sample is counted and skipped; a value that is not finite is skipped.
"""

from __future__ import annotations

import math
import re
from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import NamedTuple

MAX_SAMPLES = 10_000
"""Most wanted samples in one response: a few counters and gauges, by model, rank and the like."""

_NAME = re.compile(r"^[ \t]*([a-zA-Z_:][a-zA-Z0-9_:]*)", re.MULTILINE)
_LABEL = re.compile(r'[ \t]*([a-zA-Z_][a-zA-Z0-9_]*)[ \t]*=[ \t]*"((?:[^"\\\n]|\\[^\n])*)"[ \t]*(,|(?=\}))')
_CLOSE = re.compile(r"[ \t]*\}")
_REST = re.compile(
    r"[ \t]*"
    r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[+-]?[iI]nf(?:inity)?|[nN]a[nN])"
    r"(?:[ \t]+-?\d+(?:\.\d+)?)?"  # a timestamp
    r"(?:[ \t]+\#[ \t]*\{[^\n]*)?"  # an exemplar
    r"[ \t]*\r?$",
    re.MULTILINE | re.ASCII,
)
_ESCAPED = re.compile(r"\\(.)")
_ESCAPES = {"n": "\n"}


class ExpositionError(ValueError):
    """A response that cannot be used at all; the message says why."""


class ScrapedSample(NamedTuple):
    """One wanted sample: its labels and a finite value."""

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Exposition:
    """The wanted samples by name, in order, and how many wanted lines were malformed."""

    samples: Mapping[str, list[ScrapedSample]]
    malformed: int = 0


def parse_exposition(text: str, wanted: Container[str]) -> Exposition:
    """Return the samples whose names are wanted; raises ExpositionError if there are more than MAX_SAMPLES."""
    samples: dict[str, list[ScrapedSample]] = {}
    count = malformed = 0
    for match in _NAME.finditer(text):
        name = match[1]
        if name not in wanted:
            continue
        count += 1
        if count > MAX_SAMPLES:
            raise ExpositionError(f"more than {MAX_SAMPLES} samples of the selected metrics")
        sample = _read_sample(text, match.end())
        if sample is None:
            malformed += 1
        elif math.isfinite(sample.value):
            samples.setdefault(name, []).append(sample)
    return Exposition(samples, malformed)


def _read_sample(text: str, at: int) -> ScrapedSample | None:
    """Return the sample whose name ends at `at`, None if the line is not a sample."""
    labels: dict[str, str] = {}
    opening = at
    while text[opening : opening + 1] in {" ", "\t"}:
        opening += 1
    if text[opening : opening + 1] == "{":
        at = opening + 1
        while (label := _LABEL.match(text, at)) is not None:
            if label[1] in labels:
                return None
            labels[label[1]] = _ESCAPED.sub(_unescape, label[2]) if "\\" in label[2] else label[2]
            at = label.end()
        closing = _CLOSE.match(text, at)
        if closing is None:
            return None
        at = closing.end()
    elif opening == at:
        return None  # nothing separates the name from the value
    rest = _REST.match(text, at)
    return None if rest is None else ScrapedSample(labels, float(rest[1]))


def _unescape(match: re.Match[str]) -> str:
    return _ESCAPES.get(match[1], match[1])
