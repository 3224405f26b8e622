"""What Grafana and its ClickHouse data source make of a query's text: variables and macros, as their documents say.

Neither can be had here: Grafana is no package, and its plugin is no module of Go's proxy.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.support.parts import ROOT

Json = dict[str, Any]
DIRECTORY = ROOT / "infra" / "deploy" / "monitoring" / "grafana"
DASHBOARDS = sorted((DIRECTORY / "dashboards").glob("*.json"))
ALL = "$__all"


def read(name: str) -> Json:
    document: Json = json.loads((DIRECTORY / "dashboards" / f"{name}.json").read_text())
    return document


def panels_of(dashboard: Json) -> Iterator[Json]:
    """Yield the panels with queries, those in folded rows too."""
    for panel in dashboard["panels"]:
        yield from panel["panels"] if panel["type"] == "row" else [panel]


def with_promql_variables(
    text: str, variables: Mapping[str, str | Sequence[str]], rate_s: int, range_s: int
) -> str:
    """Fill in a PromQL query: several values become a regular expression, All its own value."""
    values = {name: value if isinstance(value, str) else _pattern(value) for name, value in variables.items()}
    values |= {"__rate_interval": f"{rate_s}s", "__range": f"{range_s}s"}
    return _with_plain_variables(text, values)


def _pattern(values: Sequence[str]) -> str:
    escaped = [re.sub(r"([\\^$*+?.()|{}\[\]])", r"\\\\\1", value) for value in values]
    return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"


def _with_plain_variables(text: str, values: Mapping[str, str]) -> str:
    return re.sub(r"\$(\w+)|\$\{(\w+)\}", lambda found: values.get(found[1] or found[2], found[0]), text)


def with_sql_variables(
    text: str, variables: Mapping[str, str | Sequence[str]], from_s: int, to_s: int, interval_s: int
) -> str:
    """Fill in a query of the ClickHouse data source: `$__conditionalAll`, variables, other macros."""

    def conditional(found: re.Match[str]) -> str:
        return "1=1" if variables[found[2]] == ALL else found[1]

    text = re.sub(r"\$__conditionalAll\(((?:[^()]|\([^()]*\))*), *\$(\w+)\)", conditional, text)
    text = re.sub(r"\$\{(\w+):singlequote\}", lambda found: _quoted(variables[found[1]]), text)
    since, until = f"toDateTime({from_s})", f"toDateTime({to_s})"
    text = re.sub(r"\$__timeFilter\((\w+)\)", rf"\1 >= {since} AND \1 <= {until}", text)
    text = re.sub(
        r"\$__timeInterval\((\w+)\)",
        rf"toStartOfInterval(toDateTime(\1), INTERVAL {interval_s} second)",
        text,
    )
    text = (
        text.replace("$__interval_s", str(interval_s))
        .replace("$__fromTime", since)
        .replace("$__toTime", until)
    )
    assert "$" not in text, text
    return text


def _quoted(values: str | Sequence[str]) -> str:
    listed = [values] if isinstance(values, str) else values
    return ",".join("'" + value.replace("'", "\\'") + "'" for value in listed)
