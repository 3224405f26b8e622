"""docs/agent.md names every setting, with its default as the code has it."""

from __future__ import annotations

import inspect
import re
from dataclasses import MISSING, fields
from pathlib import Path

from endpoint_analytics.agents.core.config import AgentConfig, KafkaConfig
from endpoint_analytics.agents.middleware.asgi import AnalyticsMiddleware

PAGE = (Path(__file__).parents[3] / "docs" / "agent.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `(ENDPOINT_ANALYTICS_\w+)` \| (.*?) \| (.*?) \| (.*?) \|$", PAGE, re.MULTILINE)


def test_every_setting_is_there_and_no_other():
    settings = [*fields(AgentConfig), *fields(KafkaConfig)]
    named = {re.match(r"`(\w+)`", argument).group(1) for _, argument, _, _ in ROWS}
    assert named == {setting.name for setting in settings} - {"kafka"}


def test_defaults_are_the_codes():
    defaults = {setting.name: setting.default for setting in [*fields(AgentConfig), *fields(KafkaConfig)]}
    shown = {True: "on", False: "off", "": "none", (): "none", MISSING: "required"}
    special = {"replica_id", "ca_file", "sasl_mechanism"}  # the text names them
    for _, argument, default, _ in ROWS:
        name = re.match(r"`(\w+)`", argument).group(1)
        if name not in special:
            value = defaults[name]
            expected = (
                shown[value]
                if value in ("", (), True, False, MISSING) and type(value) is not float
                else str(value)
            )
            assert default.strip("`") == expected, name


def test_the_middlewares_arguments_are_marked():
    arguments = set(inspect.signature(AnalyticsMiddleware).parameters) - {"app", "config"}
    marked = {re.findall(r"`(\w+)`", argument)[-1] for _, argument, _, _ in ROWS if "*" in argument}
    assert marked == arguments
