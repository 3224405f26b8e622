"""Run with Grafana's own models (grafana-foundation-sdk): reads a dashboard into them; prints what they lose of it.

Defaults that the models add are no loss. Arguments: the dashboard's file. Prints a JSON list of the paths that differ.
"""

import json
import sys
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder  # pyright: ignore[reportMissingImports]
from grafana_foundation_sdk.cog.plugins import (  # pyright: ignore[reportMissingImports]
    register_default_plugins,
)
from grafana_foundation_sdk.models import units  # pyright: ignore[reportMissingImports]
from grafana_foundation_sdk.models.dashboard import Dashboard  # pyright: ignore[reportMissingImports]


def lost(ours, theirs, path="") -> list[str]:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return [
            line
            for name, value in ours.items()
            for line in (
                lost(value, theirs[name], f"{path}/{name}")
                if name in theirs
                else [f"{path}/{name} is unknown"]
            )
        ]
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        return [
            line
            for number, (one, other) in enumerate(zip(ours, theirs, strict=True))
            for line in lost(one, other, f"{path}/{number}")
        ]
    return [] if ours == theirs else [f"{path}: {ours!r} is read as {theirs!r}"]


register_default_plugins()
document = json.loads(Path(sys.argv[1]).read_text())
read = json.loads(json.dumps(Dashboard.from_json(document), cls=JSONEncoder))
problems = lost(document, read)
known = {value for name, value in vars(units).items() if name.isupper() or isinstance(value, str)}
for panel in [inner for outer in document["panels"] for inner in (outer, *outer.get("panels", ()))]:
    unit = panel.get("fieldConfig", {}).get("defaults", {}).get("unit", "short")
    if unit not in known:
        problems.append(f"the unit {unit} is unknown")
print(json.dumps(problems))
