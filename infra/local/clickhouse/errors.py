"""Errors in ClickHouse's terms: error codes, their HTTP status and their text.

Only pure functions and the exception belong here. The engine's own errors arrive as text that
starts with `Code: N.`; errors of this server use ClickHouse's code and name for the same condition.
"""

from __future__ import annotations

import re

_CODE = re.compile(r"Code: (\d+)\.")

# The engine reads an INSERT's data from a file and mentions it in errors; clients know of no file.
_FILE_MENTIONS = re.compile(
    r"(?<=DB::Exception: )Code: \d+\. DB::Exception: "
    r"|: (?:While reading from: /dev/fd/\d+: )?\(in file/uri /dev/fd/\d+\)"
    r"|: While executing File: data for INSERT was parsed from file"
)
# What `Statement.into` and `Execution` add to a query's text: a syntax error quotes it with the rest of the query.
_TAG = r"\n?/\*http:[0-9a-f]*:[0-9a-f]*:\*/"
_OUTFILE = r"'/dev/fd/\d+' TRUNCATE(?: FORMAT \w+)?\n?"
_ADDED = re.compile(rf"{_TAG}(?: INTO OUTFILE {_OUTFILE})?")
_AT_ADDED = re.compile(rf"failed at position \d+ \('/dev/fd/\d+'\)(?: \(line \d+, col \d+\))?: {_OUTFILE}")
# Only the last occurrence counts, since an error may quote a query that is full of them.
_VERSION = " (version "
_VERSION_AND_NAME = re.compile(r" \(version [^\n]*\)\. \(\w+\)\Z")

# ClickHouse's src/Server/HTTP/exceptionCodeToHTTPStatus.cpp, by number; everything else is 500.
# Only 503 for 202 and 236 is our own addition, so that clients retry later.
_STATUS_CODES: dict[int, tuple[int, ...]] = {
    # BAD_ARGUMENTS, CANNOT_PARSE_..., SYNTAX_ERROR, INCORRECT_DATA, TYPE_MISMATCH, THERE_IS_NO_COLUMN ...
    400: (
        6,
        8,
        15,
        25,
        26,
        27,
        36,
        37,
        38,
        41,
        44,
        53,
        62,
        72,
        117,
        123,
        167,
        168,
        223,
        321,
        376,
        427,
        441,
        675,
        676,
    ),
    401: (194,),  # REQUIRED_PASSWORD
    403: (192, 193, 497, 512, 516),  # UNKNOWN_USER, WRONG_PASSWORD, ACCESS_DENIED, ..., AUTHENTICATION_FAILED
    # UNKNOWN_FUNCTION, ..._IDENTIFIER, ..._TYPE, ..._STORAGE, ..._TABLE, ..._FORMAT, ..._SETTING ...
    404: (46, 47, 50, 56, 60, 63, 73, 78, 81, 115, 152, 336, 511),
    408: (159,),  # TIMEOUT_EXCEEDED
    411: (381,),  # HTTP_LENGTH_REQUIRED
    413: (229,),  # QUERY_IS_TOO_LARGE
    415: (779,),  # UNSUPPORTED_MEDIA_TYPE
    501: (48,),  # NOT_IMPLEMENTED
    503: (76, 202, 209, 236, 439),  # CANNOT_OPEN_FILE, SOCKET_TIMEOUT, CANNOT_SCHEDULE_TASK
}
_STATUS = {code: status for status, codes in _STATUS_CODES.items() for code in codes}

SOCKET_TIMEOUT = 209

NAMES = {
    36: "BAD_ARGUMENTS",
    40: "CHECKSUM_DOESNT_MATCH",
    48: "NOT_IMPLEMENTED",
    62: "SYNTAX_ERROR",
    78: "UNKNOWN_TYPE_OF_QUERY",
    115: "UNKNOWN_SETTING",
    164: "READONLY",
    216: "QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING",
    202: "TOO_MANY_SIMULTANEOUS_QUERIES",
    SOCKET_TIMEOUT: "SOCKET_TIMEOUT",
    229: "QUERY_IS_TOO_LARGE",
    236: "ABORTED",
    271: "CANNOT_DECOMPRESS",
    358: "INTO_OUTFILE_NOT_ALLOWED",
    372: "SESSION_NOT_FOUND",
    396: "TOO_MANY_ROWS_OR_BYTES",
    373: "SESSION_IS_LOCKED",
    374: "INVALID_SESSION_TIMEOUT",
    497: "ACCESS_DENIED",
    394: "QUERY_WAS_CANCELLED",
    432: "UNKNOWN_CODEC",
    511: "UNKNOWN_ROLE",
    516: "AUTHENTICATION_FAILED",
    1001: "STD_EXCEPTION",
}


class ClickHouseError(Exception):
    """A failed query; `text` is the complete body for the client, without its final newline."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text

    @property
    def status(self) -> int:
        """The HTTP status that ClickHouse uses for this code."""
        return http_status(self.code)


def http_status(code: int) -> int:
    """Return the HTTP status of an error code, as ClickHouse maps it."""
    return _STATUS.get(code, 500)


def refusal(code: int, message: str) -> ClickHouseError:
    """Return an error of this server itself, formatted like ClickHouse's own."""
    return ClickHouseError(code, f"Code: {code}. DB::Exception: {message} ({NAMES[code]})")


def parse_engine_error(text: str) -> ClickHouseError:
    """Return the error in the engine's text, without any prefix before `Code: N.`."""
    match = _CODE.search(text)
    if match is None:
        return refusal(1001, text.strip() or "the engine failed without a message.")
    text = _FILE_MENTIONS.sub("", text[match.start() :].strip())
    text = _AT_ADDED.sub("failed at the end of the query", _ADDED.sub("", text))
    at = text.rfind(f"){_VERSION}") + 1
    if at and _VERSION_AND_NAME.match(text, at):
        text = text[:at]
    return ClickHouseError(int(match[1]), text)


def exception_block(error: ClickHouseError, tag: str) -> bytes:
    """Return the block that ends a result which failed after its first bytes were sent.

    The wire format is ClickHouse's (WriteBufferFromHTTPServerResponse): marker, tag, message, its length
    and the tag again, marker. The tag was sent in the X-ClickHouse-Exception-Tag header.
    """
    message = error.text.encode(errors="surrogateescape")[: 15 * 1024] + b"\n"
    mark = tag.encode()
    return (
        b"\r\n__exception__\r\n"
        + mark
        + b"\r\n"
        + message
        + str(len(message)).encode()
        + b" "
        + mark
        + b"\r\n"
        b"__exception__\r\n"
    )
