"""Secrets of the environment: in a variable, or in the file that a variable names, and never in both."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from endpoint_analytics.schemas.configuration.settings import (
    ConfigurationError,
    read_text,
    variable_of,
    wrong,
)


def read_secret(environment: Mapping[str, str], name: str) -> str:
    """Return the secret of the variable, or the first line of the file that `name`_file names; "" for neither.

    Raises ConfigurationError for both, and for a file that cannot be read or is empty.
    """
    value, file = read_text(environment, name), read_text(environment, f"{name}_file")
    if not file:
        return value
    if value:
        raise ConfigurationError(
            f"{variable_of(name)} and {variable_of(f'{name}_file')} are both set: keep one of them"
        )
    try:
        lines = Path(file).expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise wrong(f"{name}_file", file, str(error)) from error
    if not lines or not lines[0]:
        raise wrong(f"{name}_file", file, "its first line is empty")
    return lines[0]
