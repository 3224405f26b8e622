"""Run with Datadog's own models (datadog-api-client): reads a dashboard or a monitor; prints what they do not know.

Arguments: `Dashboard` or `Monitor`, and the file. Prints a JSON list of what is unknown or of a wrong type.
"""

import importlib
import json
import sys
from pathlib import Path

from datadog_api_client import Configuration  # pyright: ignore[reportMissingImports]
from datadog_api_client.model_utils import (  # pyright: ignore[reportMissingImports]
    ModelNormal,
    UnparsedObject,
    validate_and_convert_types,
)


def problems(found, path="") -> list[str]:
    if isinstance(found, UnparsedObject):
        return [f"{path}: {json.dumps(getattr(found, '_data_store', str(found)), default=str)[:200]}"]
    if isinstance(found, list):
        return [line for number, each in enumerate(found) for line in problems(each, f"{path}/{number}")]
    if isinstance(found, ModelNormal):
        values = found._data_store
        unknown = [f"{path}/{name} is unknown" for name in values.keys() - found.attribute_map.keys()]
        return unknown + [
            line for name, value in values.items() for line in problems(value, f"{path}/{name}")
        ]
    inner = getattr(found, "_composed_instances", None) or ()
    return [line for each in inner for line in problems(each, path)]


name, file = sys.argv[1:]
model = getattr(importlib.import_module(f"datadog_api_client.v1.model.{name.lower()}"), name)
document = json.loads(Path(file).read_text())
read = validate_and_convert_types(document, (model,), [name], True, True, Configuration())
print(json.dumps(problems(read) + (["something is unparsed"] if read._unparsed else [])))
