"""Parses an HTTP request as ClickHouse does: credentials, query, parameters and settings.

Pure: from the method, the query string, the headers and a parsed form to a frozen Request. The body itself is
not read here.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qsl

from endpoint_analytics.infra.local.clickhouse.errors import refusal
from endpoint_analytics.infra.local.clickhouse.multipart import ExternalTable, Form, external_tables

# Features of a ClickHouse server's HTTP layer that are not supported: refused rather than silently ignored.
_UNSUPPORTED = {
    "stacktrace": "errors have no stack trace",
    "add_http_cors_header": "pages of other origins cannot read responses",
    "http_write_exception_in_output_format": "an error is never written as a result",
    "http_response_headers": "headers cannot be added",
    "http_native_compression_disable_checksumming_on_decompress": "checksums are always verified",
    "http_allow_database_as_path": "queries go to /",
    "http_allow_table_as_file": "queries go to /",
    "http_allow_filters_as_path": "queries go to /",
    "http_allow_filters_as_unrecognized_url_parameters": "a filter belongs in the query",
}
# Parameters for the HTTP server; the engine does not know them, or gives them another meaning.
_HTTP_PARAMETERS = frozenset(
    {
        "query", "database", "default_format", "user", "password", "session_id", "session_check",
        "session_timeout", "close_session", "query_id", "compress", "decompress", "buffer_size", "quota_key",
        "wait_end_of_query", "enable_http_compression", "http_zlib_compression_level",
        "send_progress_in_http_headers", "http_headers_progress_interval_ms", "add_http_cors_header",
        "cancel_http_readonly_queries_on_client_close", "client_protocol_version", "role", "stacktrace",
        "http_response_buffer_size", "http_wait_end_of_query", "readonly", *_UNSUPPORTED,
    }
)  # fmt: skip
_SETTING_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*\Z")
_FORMAT_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*\Z")
_MAX_PARAMETERS = 1000
_MAX_NAMED_BYTES = 4096
_MAX_DIGITS = 19
_MAX_SESSION_S = 3600.0
_DEFAULT_SESSION_S = 60.0
_SWITCH = {"": False, "0": False, "false": False, "1": True, "true": True}
_NO_FORM = Form()


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user's name and password; the password is not part of the repr."""

    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class SessionTicket:
    """The named session in which a request should run."""

    session_id: str
    timeout_s: float
    must_exist: bool
    close_after: bool


@dataclass(frozen=True, slots=True)
class ReplyOptions:
    """How to send the answer: in ClickHouse's compressed blocks, or in one of the accepted encodings."""

    blocks: bool = False
    accept_encoding: str = ""
    zlib_level: int = 3
    progress: bool = False


@dataclass(frozen=True, slots=True)
class QueryRequest:
    """A parsed request. `settings` are the engine's, `parameters` those of `{name:Type}`."""

    query: bytes
    user: str
    database: str
    default_format: str
    query_id: str
    settings: Mapping[str, str]
    parameters: Mapping[str, str]
    readonly: int
    session: SessionTicket | None
    content_encoding: str
    content_type: str
    reply: ReplyOptions
    held_bytes: int
    replaces_running: bool
    wait_end_of_query: bool
    protocol_revision: int
    tables: tuple[ExternalTable, ...]
    analyst: bool = False
    """Whether the read-only account sent it."""


def parse_query_string(query_string: bytes) -> dict[str, str]:
    """Return the parameters of a URL; the last one wins. Raises ClickHouseError if there are too many."""
    if query_string.count(b"&") >= _MAX_PARAMETERS:
        raise refusal(36, f"Too many parameters in the URL: at most {_MAX_PARAMETERS} are allowed.")
    text = query_string.decode("latin-1")
    return dict(parse_qsl(text, keep_blank_values=True, errors="surrogateescape"))


def parse_headers(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return header values by lower-case name."""
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers}


def parse_credentials(query_string: bytes, header: Mapping[str, str]) -> Credentials:
    """Return credentials from ClickHouse's own headers, else HTTP basic, else the URL; the default user is `default`.

    Nothing else in the URL, which may be long, is parsed before the sender is known. Raises ClickHouseError.
    """
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
    pairs = query_string.split(b"&", _MAX_PARAMETERS)[:_MAX_PARAMETERS]
    named = b"&".join(pair for pair in pairs if pair.startswith((b"user=", b"password=")))
    given = parse_query_string(named[:_MAX_NAMED_BYTES])
    return Credentials(given.get("user") or "default", given.get("password", ""))


def wants_blocks(query_string: bytes) -> bool:
    """Whether the URL asks for ClickHouse's compressed blocks: for errors before the whole of it is parsed."""
    pairs = query_string.split(b"&", _MAX_PARAMETERS)[:_MAX_PARAMETERS]
    last = next((pair for pair in reversed(pairs) if pair.startswith(b"compress=")), b"")
    return _SWITCH.get(last[:_MAX_NAMED_BYTES].decode("latin-1").removeprefix("compress=").lower(), False)


def parse_request(
    method: str, user: str, given: Mapping[str, str], header: Mapping[str, str], form: Form = _NO_FORM
) -> QueryRequest:
    """Return a user's request; raises ClickHouseError for anything that ClickHouse would reject.

    A form's fields are parameters like the URL's; the query is the URL's followed by the form's.
    """
    query = "\n".join(text for text in (given.get("query"), form.fields.get("query")) if text)
    given = {**given, **form.fields}
    for name, why in _UNSUPPORTED.items():
        if given.get(name, "").lower() not in ("", "0", "false", "{}"):
            raise refusal(48, f"{name} is not supported here: {why}.")
    if role := given.get("role", ""):
        raise refusal(
            511, f"There is no role `{role}`: roles are not supported here, only users. Omit `role`."
        )
    of_tables = {f"{table}_{part}" for table in form.files for part in ("structure", "types", "format")}
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
            raise refusal(62, f"Syntax error: {name!r} is not a valid query parameter name.")
    default_format = given.get("default_format") or header.get("x-clickhouse-format") or "TabSeparated"
    if not _FORMAT_NAME.match(default_format):
        raise refusal(62, f"Syntax error: {default_format!r} is not a valid format name.")
    compressible = _switch(given, "enable_http_compression", "1")
    framed = _switch(given, "decompress")
    return QueryRequest(
        query=query.encode(errors="surrogateescape"),
        user=user,
        database=given.get("database") or header.get("x-clickhouse-database", ""),
        default_format=default_format,
        query_id=given.get("query_id", ""),
        settings=settings,
        parameters=parameters,
        readonly=_readonly(method, _number(given, "readonly")),
        session=_session(given),
        content_encoding="clickhouse" if framed else header.get("content-encoding", "").strip().lower(),
        content_type=header.get("content-type", ""),
        reply=ReplyOptions(
            blocks=_switch(given, "compress"),
            accept_encoding=header.get("accept-encoding", "") if compressible else "",
            zlib_level=min(max(_number(given, "http_zlib_compression_level", 3), 1), 9),
            progress=_switch(given, "send_progress_in_http_headers"),
        ),
        held_bytes=max(_number(given, "buffer_size"), _number(given, "http_response_buffer_size")),
        replaces_running=_switch(given, "replace_running_query"),
        wait_end_of_query=_switch(given, "wait_end_of_query") or _switch(given, "http_wait_end_of_query"),
        protocol_revision=_number(given, "client_protocol_version"),
        tables=external_tables(form.files, given),
    )


def restrict_to_analyst(request: QueryRequest) -> QueryRequest:
    """Return the request restricted to the read-only account; raises ClickHouseError.

    A read-only user can create nothing that a session would keep, so each request runs outside a session. Another
    settings profile would replace the account's limits, so choosing one is refused.
    """
    if "profile" in request.settings:
        raise refusal(164, "Cannot change the profile: this user's is fixed.")
    return replace(request, analyst=True, readonly=1, session=None)


def _readonly(method: str, level: int) -> int:
    """Return ClickHouse's `readonly`: 2 for a GET, which allows only reading and changing settings."""
    return max(level, 2) if method in ("GET", "HEAD") and level != 1 else level


def _number(given: Mapping[str, str], name: str, otherwise: int = 0) -> int:
    text = given.get(name) or str(otherwise)
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
        raise refusal(
            36, f"{name} is {text[:_MAX_DIGITS]!r}: expected a whole number of up to {_MAX_DIGITS} digits."
        )
    return int(text)


def _switch(given: Mapping[str, str], name: str, otherwise: str = "") -> bool:
    text = given.get(name) or otherwise
    try:
        return _SWITCH[text.lower()]
    except KeyError:
        raise refusal(36, f"{name} is {text!r}: expected 0, 1, false or true.") from None


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
        must_exist=_switch(given, "session_check"),
        close_after=_switch(given, "close_session"),
    )
