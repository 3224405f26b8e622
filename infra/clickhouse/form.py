"""A multipart/form-data body: fields, which are parameters too large for a URL, and tables.

Pure. RFC 7578 as clients of ClickHouse send it: no nesting, no transfer encodings, bytes as they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from endpoint_analytics.infra.clickhouse.errors import refusal

_BOUNDARY = re.compile(r'boundary=(?:"([^"]+)"|([^;\s]+))', re.IGNORECASE)
_NAME = re.compile(rb'[;\s]name="((?:[^"\\]|\\.)*)"', re.IGNORECASE)
_IS_FILE = re.compile(rb"[;\s]filename\*?=", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Form:
    """The fields by name, and the files by name."""

    fields: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ExternalTable:
    """A table that comes with a query and lives as long: its columns as SQL, its data in a format."""

    name: str
    structure: str
    data_format: str
    data: bytes


def is_form(content_type: str) -> bool:
    """Whether a Content-Type header tells of a form; curl's urlencoded default is not one for ClickHouse."""
    return content_type.lower().startswith("multipart/form-data")


def parse_form(content_type: str, body: bytes) -> Form:
    """The parts of a body; raises ClickHouseError when it has not the shape its header tells."""
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
    """The tables in a form's files, described by `NAME_structure` or `NAME_types`, and `NAME_format`."""
    tables = []
    for name, data in files.items():
        structure = described.get(f"{name}_structure", "")
        if not structure and (types := described.get(f"{name}_types", "")):
            structure = ", ".join(f"_{number} {kind}" for number, kind in enumerate(split_types(types), 1))
        if not structure:
            raise refusal(62, f"Syntax error: neither {name}_structure nor {name}_types is given.")
        tables.append(ExternalTable(name, structure, described.get(f"{name}_format") or "TabSeparated", data))
    return tuple(tables)


def split_types(text: str) -> list[str]:
    """A list of types, cut at the commas outside brackets."""
    parts, depth = [""], 0
    for character in text:
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts if part.strip()]
