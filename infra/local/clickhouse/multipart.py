"""A multipart/form-data body: fields, which are parameters too large for a URL, and external tables.

Pure. RFC 7578 as ClickHouse clients use it: no nesting, no transfer encodings, raw bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from endpoint_analytics.infra.local.clickhouse.errors import refusal
from endpoint_analytics.infra.local.clickhouse.lexer import stays_within_brackets

_BOUNDARY = re.compile(r'boundary=(?:"([^"]+)"|([^;\s]+))', re.IGNORECASE)
_NAME = re.compile(rb'[;\s]name="((?:[^"\\]|\\.)*)"', re.IGNORECASE)
_FORMAT_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*\Z")
_IS_FILE = re.compile(rb"[;\s]filename\*?=", re.IGNORECASE)
_MAX_STRUCTURE = 1 << 18


@dataclass(frozen=True, slots=True)
class Form:
    """Fields and files, both by name."""

    fields: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ExternalTable:
    """A table sent along with a query, which exists for that query only: its columns as SQL, its data in a format."""

    name: str
    structure: str
    data_format: str
    data: bytes


def is_form(content_type: str) -> bool:
    """Whether a Content-Type header denotes a form; to ClickHouse, curl's urlencoded default is not one."""
    return content_type.lower().startswith("multipart/form-data")


def parse_form(content_type: str, body: bytes) -> Form:
    """Parse a body into its parts; raises ClickHouseError if it is malformed."""
    match = _BOUNDARY.search(content_type)
    if match is None:
        raise refusal(62, "Syntax error: multipart/form-data without a boundary.")
    mark = b"\r\n--" + (match[1] or match[2]).encode("latin-1")
    parts = (b"\r\n" + body).split(mark)
    if len(parts) < 2 or not parts[-1].startswith(b"--"):
        raise refusal(62, "Syntax error: multipart/form-data that does not end with its boundary.")
    fields: dict[str, str] = {}
    files: dict[str, bytes] = {}
    for part in parts[1:-1]:
        header, found, content = part.partition(b"\r\n\r\n")
        name = _NAME.search(header)
        if not found or name is None:
            raise refusal(62, "Syntax error: a part of multipart/form-data without a name.")
        key = name[1].decode(errors="surrogateescape")
        if _IS_FILE.search(header):
            files[key] = content
        else:
            fields[key] = content.decode(errors="surrogateescape")
    return Form(fields, files)


def external_tables(files: Mapping[str, bytes], described: Mapping[str, str]) -> tuple[ExternalTable, ...]:
    """Return the tables in a form's files, described by `NAME_structure` or `NAME_types`, and `NAME_format`."""
    tables = []
    for name, data in files.items():
        structure, types = described.get(f"{name}_structure", ""), described.get(f"{name}_types", "")
        if not structure and types and len(types) <= _MAX_STRUCTURE:
            structure = ", ".join(f"_{number} {kind}" for number, kind in enumerate(split_types(types), 1))
        if not structure and not types:
            raise refusal(62, f"Syntax error: neither {name}_structure nor {name}_types is given.")
        if max(len(structure), len(types)) > _MAX_STRUCTURE:
            raise refusal(
                229, f"The structure of {name} is too large: more than {_MAX_STRUCTURE} characters."
            )
        data_format = described.get(f"{name}_format") or "TabSeparated"
        within = stays_within_brackets(structure.encode(errors="surrogateescape"))
        if not within or not _FORMAT_NAME.match(data_format):
            raise refusal(62, f"Syntax error: invalid {name}_structure, {name}_types or {name}_format.")
        tables.append(ExternalTable(name, structure, data_format, data))
    return tuple(tables)


def split_types(text: str) -> list[str]:
    """Split a list of types at the commas outside brackets."""
    parts: list[str] = []
    depth = start = 0
    for at, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            parts.append(text[start:at])
            start = at + 1
    return [part.strip() for part in (*parts, text[start:]) if part.strip()]
