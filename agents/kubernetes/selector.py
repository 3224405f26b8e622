"""Label selectors in kubectl syntax: parsing, and matching against labels. Pure.

The server matches pods. Workloads are matched here, by their pod template's labels, so their limits are known even
without pods. Grammar: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from endpoint_analytics.agents.core.config import ConfigurationError

_KEY = r"(?:[A-Za-z0-9.-]+/)?[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_VALUE = r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)?"
_EQUALITY = re.compile(rf"({_KEY})\s*(==|=|!=)\s*({_VALUE})")
_SET = re.compile(rf"({_KEY})\s+(in|notin)\s*\(([^()]*)\)")
_EXISTS = re.compile(rf"(!?)\s*({_KEY})")


@dataclass(frozen=True, slots=True)
class Requirement:
    """One requirement: the label `key` is one of `values` (None: any value), or is not (`negated`).

    As in Kubernetes, an object without the label satisfies a negated requirement.
    """

    key: str
    values: frozenset[str] | None
    negated: bool

    def fits(self, labels: Mapping[str, str]) -> bool:
        """Return whether the labels satisfy it."""
        value = labels.get(self.key)
        has = value is not None and (self.values is None or value in self.values)
        return has is not self.negated


@dataclass(frozen=True, slots=True)
class Selector:
    """All requirements together; `text` is sent to the server. Without requirements, everything matches."""

    text: str
    requirements: tuple[Requirement, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """Return the label keys that it uses."""
        return tuple(requirement.key for requirement in self.requirements)

    def fits(self, labels: Mapping[str, str]) -> bool:
        """Return whether the labels satisfy all requirements."""
        return all(requirement.fits(labels) for requirement in self.requirements)


def parse_selector(text: str) -> Selector:
    """Return the selector; raises ConfigurationError for anything that kubectl would reject, too."""
    # Commas within brackets separate values, those outside separate requirements.
    parts = [part.strip() for part in re.split(r",(?![^(]*\))", text)] if text.strip() else []
    return Selector(text.strip(), tuple(_requirement(part, text) for part in parts))


def _requirement(part: str, text: str) -> Requirement:
    if match := _EQUALITY.fullmatch(part):
        return Requirement(match[1], frozenset({match[3]}), match[2] == "!=")
    if match := _SET.fullmatch(part):
        values = [value.strip() for value in match[3].split(",")]
        if all(re.fullmatch(_VALUE, value) for value in values):
            return Requirement(match[1], frozenset(values), match[2] == "notin")
    if match := _EXISTS.fullmatch(part):
        return Requirement(match[2], None, bool(match[1]))
    raise ConfigurationError(
        f"--selector is {text!r}: cannot parse {part!r}; expected something like app=llm,tier!=test,env in (a,b),gpu"
    )
