"""The page's TypeScript types of the JSON API, written from its OpenAPI document: `make page-models`."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap
from typing import Any

from tests.support.parts import ROOT

from endpoint_analytics.pipeline.serve.api.openapi import openapi_document

MODELS = ROOT / "pipeline/serve/page/src/models.ts"
COLUMNS = 110
READ = ("Session", "Endpoints", "Answer")
"""What the page asks for; all that these contain is written too."""

_HEAD = """// What the JSON API answers, written from its OpenAPI document by `make page-models`: not to be edited.
// Moments are Unix seconds, durations seconds; null is what is not known: a gap.

export type Group = Series["group"];
export type State = StateSpan["state"];
export type Values = Series["values"];
"""
_TYPES = {"string": "string", "number": "number", "integer": "number", "boolean": "boolean", "null": "null"}


def page_models() -> str:
    """Return the source of models.ts."""
    schemas = openapi_document("")["components"]["schemas"]
    names = list(READ)
    for name in names:
        names += [other for other in _references(schemas[name]) if other not in names]
    return "\n".join([_HEAD, *(_interface(name, schemas[name]) for name in names)])


def _references(schema: object) -> Iterator[str]:
    if isinstance(schema, dict):
        if "$ref" in schema:
            yield schema["$ref"].rpartition("/")[2]
        for value in schema.values():
            yield from _references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _references(value)


def _interface(name: str, schema: dict[str, Any]) -> str:
    required = schema.get("required", [])
    members = [
        f"  {member}{'' if member in required else '?'}: {_type(found)};\n"
        for member, found in schema["properties"].items()
    ]
    text = " ".join(schema.get("description", "").split())
    comment = "".join(f" * {line}\n" for line in wrap(text, COLUMNS))
    return f"/**\n{comment} */\nexport interface {name} {{\n{''.join(members)}}}\n"


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if "enum" in schema:
        return " | ".join("null" if value is None else f'"{value}"' for value in schema["enum"])
    if "anyOf" in schema:
        return " | ".join(dict.fromkeys(_type(found) for found in schema["anyOf"]))
    if schema.get("type") == "array":
        item = _type(schema["items"])
        return f"({item})[]" if "|" in item else f"{item}[]"
    if schema.get("type") == "object":
        return f"Record<string, {_type(schema['additionalProperties'])}>"
    return _TYPES[schema["type"]]


if __name__ == "__main__":
    MODELS.write_text(page_models())
