"""Where to push: the URL of the receiver, and headers such as a login from a file. Only settings belong here."""

from __future__ import annotations

import re
from pathlib import Path

from endpoint_analytics.schemas.configuration.settings import ConfigurationError, parse_url, shown_value

METRICS_PATH = "/v1/metrics"

_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?)[ \t]*")
_OURS = frozenset({"content-type", "content-encoding", "content-length", "host", "transfer-encoding"})


def metrics_url(text: str) -> str:
    """Return the URL to post to: /v1/metrics is added to one without a path. Raises ConfigurationError."""
    parts = parse_url("--endpoint", text, error=_invalid_url)
    if parts.username is not None:
        raise _invalid_url(
            "--endpoint", text, "it has a login: put an Authorization header into --headers-file"
        )
    if parts.fragment:
        raise _invalid_url("--endpoint", text, "it has a fragment")
    return parts._replace(path=parts.path if parts.path.strip("/") else METRICS_PATH).geturl()


def read_headers(file: str | None) -> dict[str, str]:
    """Return the headers in the file, one `Name: value` a line; raises ConfigurationError, which shows no value."""
    if file is None:
        return {}
    try:
        lines = Path(file).expanduser().read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"--headers-file {file} cannot be read: {error}") from error
    headers: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _HEADER.fullmatch(line)
        if match is None or match[1].lower() in _OURS:
            raise ConfigurationError(
                f"line {number} of --headers-file {file} is not a header to add: expected `Name: value`, for example "
                "`Authorization: Bearer ...`"
            )
        headers[match[1]] = match[2]
    return headers


def _invalid_url(name: str, text: str, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"{name} is {shown_value(text)} ({why}): expected the URL of an OTLP/HTTP receiver, for example "
        "http://collector:4318"
    )
