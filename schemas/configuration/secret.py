"""Secrets from the environment: in a variable, or in a file that a variable names, but never both."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from endpoint_analytics.schemas.configuration.settings import (
    ConfigurationError,
    invalid_setting,
    read_text,
    variable_of,
)


def read_secret(environment: Mapping[str, str], name: str) -> str:
    """Return the secret in the variable, or the first line of the file in the variable `name`_file; "" if not set.

    Raises ConfigurationError if both are set, or if the file cannot be read or its first line is empty.
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
        raise invalid_setting(f"{name}_file", file, str(error)) from error
    if not lines or not lines[0]:
        raise invalid_setting(f"{name}_file", file, "its first line is empty")
    return lines[0]
