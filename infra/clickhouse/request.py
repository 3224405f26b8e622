"""An HTTP request, read as ClickHouse reads it: who asks, what for, and with which settings.

Pure: from the method, the path, the query string and the headers to a frozen Request. The body is not
looked at here.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from endpoint_analytics.infra.clickhouse.errors import refusal
from endpoint_analytics.infra.clickhouse.form import ExternalTable, Form, external_tables

# Parameters that speak to the HTTP server; the engine would not know them, or not in this sense.
_HTTP_PARAMETERS = frozenset(
    {
        "query", "database", "default_format", "user", "password", "session_id", "session_check",
        "session_timeout", "close_session", "query_id", "compress", "decompress", "buffer_size", "quota_key",
        "wait_end_of_query", "enable_http_compression", "http_zlib_compression_level",
        "send_progress_in_http_headers", "http_headers_progress_interval_ms", "add_http_cors_header",
        "cancel_http_readonly_queries_on_client_close", "client_protocol_version", "role", "stacktrace",
        "http_response_buffer_size", "http_wait_end_of_query", "readonly",
    }
)  # fmt: skip
_SETTING_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*\Z")
_FORMAT_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*\Z")
_MAX_SESSION_S = 3600.0
_DEFAULT_SESSION_S = 60.0
_TRUE = frozenset({"1", "true"})
_NO_FORM = Form()


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user's name and password; the password stays out of every representation."""

    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class SessionTicket:
    """The named session a request wants to run in."""

    session_id: str
    timeout_s: float
    must_exist: bool
    close_after: bool


@dataclass(frozen=True, slots=True)
class Request:
    """What one request asks for. `settings` are the engine's, `parameters` those of `{name:Type}`."""

    query: bytes
    credentials: Credentials
    database: str
    default_format: str
    query_id: str
    settings: Mapping[str, str]
    parameters: Mapping[str, str]
    readonly: int
    session: SessionTicket | None
    accept_encoding: str
    content_encoding: str
    content_type: str
    wait_end_of_query: bool
    protocol_revision: int
    tables: tuple[ExternalTable, ...]


def parse_query_string(query_string: bytes) -> dict[str, str]:
    """The parameters of a URL; of one given twice, the last."""
    text = query_string.decode("latin-1")
    return dict(parse_qsl(text, keep_blank_values=True, errors="surrogateescape"))


def parse_headers(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Header values by lower-case name."""
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers}


def parse_request(
    method: str, given: Mapping[str, str], header: Mapping[str, str], form: Form = _NO_FORM
) -> Request:
    """The request in these parts; raises ClickHouseError for what ClickHouse would not take.

    A form's fields are parameters like the URL's; the query is the URL's and then the form's.
    """
    query = "\n".join(text for text in (given.get("query"), form.fields.get("query")) if text)
    given = {**given, **form.fields}
    if given.get("compress", "0") in _TRUE:
        raise refusal(
            48, "compress=1 is not supported here: use Accept-Encoding with enable_http_compression=1."
        )
    described = {name.rsplit("_", 1)[0] for name in given if name.endswith(("_structure", "_types"))}
    of_tables = {f"{table}_{part}" for table in described for part in ("structure", "types", "format")}
    settings = {
        name: value
        for name, value in given.items()
        if name not in _HTTP_PARAMETERS and not name.startswith("param_") and name not in of_tables
    }
    for name in settings:
        if not _SETTING_NAME.match(name):
            raise refusal(115, f"Unknown setting '{name}'.")
    parameters = {name[6:]: value for name, value in given.items() if name.startswith("param_")}
    for name in parameters:
        if not _SETTING_NAME.match(name):
            raise refusal(62, f"Syntax error: {name!r} is no name of a query parameter.")
    default_format = given.get("default_format") or header.get("x-clickhouse-format") or "TabSeparated"
    if not _FORMAT_NAME.match(default_format):
        raise refusal(62, f"Syntax error: {default_format!r} is no name of a format.")
    compressible = given.get("enable_http_compression", "1") in _TRUE
    framed = given.get("decompress", "0") in _TRUE
    return Request(
        query=query.encode(errors="surrogateescape"),
        credentials=_credentials(given, header),
        database=given.get("database") or header.get("x-clickhouse-database", ""),
        default_format=default_format,
        query_id=given.get("query_id", ""),
        settings=settings,
        parameters=parameters,
        readonly=_readonly(method, given.get("readonly", "0")),
        session=_session(given),
        accept_encoding=header.get("accept-encoding", "") if compressible else "",
        content_encoding="clickhouse" if framed else header.get("content-encoding", "").strip().lower(),
        content_type=header.get("content-type", ""),
        wait_end_of_query=given.get("wait_end_of_query", "0") in _TRUE,
        protocol_revision=_whole_number(given.get("client_protocol_version", "0")),
        tables=external_tables(form.files, given),
    )


def _readonly(method: str, asked: str) -> int:
    """ClickHouse's `readonly`: a GET is 2, which allows reading and changing settings, and nothing else."""
    level = _whole_number(asked)
    return max(level, 2) if method in ("GET", "HEAD") and level != 1 else level


def _whole_number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0


def _session(given: Mapping[str, str]) -> SessionTicket | None:
    session_id = given.get("session_id", "")
    if not session_id:
        return None
    try:
        timeout_s = float(given.get("session_timeout") or _DEFAULT_SESSION_S)
    except ValueError:
        timeout_s = -1.0
    if not 0 <= timeout_s <= _MAX_SESSION_S:
        raise refusal(374, f"Invalid session timeout: it must be 0 to {_MAX_SESSION_S:.0f} seconds.")
    return SessionTicket(
        session_id,
        timeout_s,
        must_exist=given.get("session_check", "0") in _TRUE,
        close_after=given.get("close_session", "0") in _TRUE,
    )


def _credentials(given: Mapping[str, str], header: Mapping[str, str]) -> Credentials:
    """From ClickHouse's own headers, else HTTP basic, else the URL; the user `default` when none is told."""
    if "x-clickhouse-user" in header or "x-clickhouse-key" in header:
        return Credentials(header.get("x-clickhouse-user", "default"), header.get("x-clickhouse-key", ""))
    scheme, _, word = header.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            user, _, password = base64.b64decode(word, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise refusal(516, "Invalid HTTP basic authentication.") from None
        return Credentials(user, password)
    if scheme:
        raise refusal(516, f"{scheme} HTTP Authorization scheme is not supported.")
    return Credentials(given.get("user") or "default", given.get("password", ""))
