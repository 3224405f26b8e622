"""Selects samples by label, as in PromQL: `model="ens",reason!~"CANCELED|"`. Pure.

A missing label counts as an empty one, and a regular expression must match the whole value
(https://prometheus.io/docs/prometheus/latest/querying/basics/#time-series-selectors).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from endpoint_analytics.agents.core.config import ConfigurationError

MAX_MATCHERS = 8

_MATCHER = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"\s*(?:,|$)')
_ESCAPED = re.compile(r'\\(["\\])')


@dataclass(frozen=True, slots=True)
class Matcher:
    """One label's condition: its whole value matches `pattern`, or, with `is_not`, does not."""

    label: str
    pattern: re.Pattern[str]
    is_not: bool = False

    def fits(self, labels: Mapping[str, str]) -> bool:
        """Return whether a sample with these labels matches."""
        return (self.pattern.fullmatch(labels.get(self.label, "")) is None) == self.is_not


Selector = tuple[Matcher, ...]
EVERYTHING: Selector = ()


def parse_selector(text: str) -> Selector:
    """Parse `label="value",label!~"regex"`, with or without braces; raises ConfigurationError."""
    inner = text.strip()
    if inner[:1] == "{" and inner[-1:] == "}":
        inner = inner[1:-1]
    matchers: list[Matcher] = []
    at = 0
    while at < len(inner):
        match = _MATCHER.match(inner, at)
        if match is None or len(matchers) == MAX_MATCHERS:
            raise ConfigurationError(
                f'selector is {text!r}: expected LABEL="VALUE", with =, !=, =~ or !~, and commas between several, '
                'for example model="ensemble"'
            )
        label, operator, value = match[1], match[2], _ESCAPED.sub(r"\1", match[3])
        try:
            pattern = re.compile(value if "~" in operator else re.escape(value))
        except re.error as error:
            raise ConfigurationError(
                f"selector is {text!r}: {value!r} is not a valid regular expression: {error}"
            ) from error
        matchers.append(Matcher(label, pattern, operator.startswith("!")))
        at = match.end()
    return tuple(matchers)


def fits(selector: Iterable[Matcher], labels: Mapping[str, str]) -> bool:
    """Return whether a sample with these labels matches the whole selector."""
    return all(matcher.fits(labels) for matcher in selector)


def fits_where_it_can(selector: Iterable[Matcher], labels: Mapping[str, str]) -> bool:
    """Like `fits`, but ignores matchers for labels that the sample does not have."""
    return all(matcher.label not in labels or matcher.fits(labels) for matcher in selector)
