"""JSON Schema and AsyncAPI documents of the topics' messages, generated from the message types.

`python -m endpoint_analytics.schemas.documents` writes them to schemas/json; a test checks that they are
up to date. The codec is authoritative: a schema cannot express that columns have equal lengths or counts are conserved.
"""

from __future__ import annotations

import sys
from pathlib import Path

import orjson

from endpoint_analytics.schemas.asyncapi import asyncapi_document
from endpoint_analytics.schemas.message_schemas import (
    MESSAGES,
    Document,
    MessageDocument,
    message_schemas,
    plain,
)
from endpoint_analytics.schemas.topics import DEFAULT_PREFIX

DIRECTORY = Path(__file__).parent / "json"
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema_document(message: MessageDocument) -> Document:
    """Return the JSON Schema 2020-12 document of one kind of message."""
    (root,), definitions = message_schemas([message.type], "#/$defs/{name}")
    title = definitions[message.type.__name__]["description"].partition("\n")[0]
    return {
        "$schema": DIALECT,
        "title": message.title,
        "description": f"{title} Topic: {message.topic.name(DEFAULT_PREFIX)}.",
        "examples": [plain(message.example)],
        **root,
        "$defs": definitions,
    }


def documents() -> dict[str, bytes]:
    """Return the contents of all files of schemas/json, by name."""
    made = {f"{message.name}.json": schema_document(message) for message in MESSAGES}
    made["asyncapi.json"] = asyncapi_document()
    made["asyncapi-3.0.json"] = asyncapi_document(version="3.0.0")
    return {name: _encode(document) for name, document in made.items()}


def _encode(document: Document) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def main() -> None:
    """Write the documents, and remove other JSON files from the directory."""
    made = documents()
    DIRECTORY.mkdir(exist_ok=True)
    for path in DIRECTORY.glob("*.json"):
        if path.name not in made:
            path.unlink()
    for name, content in made.items():
        (DIRECTORY / name).write_bytes(content)
        sys.stdout.write(f"wrote {DIRECTORY / name}\n")


if __name__ == "__main__":
    main()
