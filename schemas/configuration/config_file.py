"""The configuration file: settings in TOML, beside the environment.

ENDPOINT_ANALYTICS_CONFIG_FILE names it. A variable of the environment takes precedence over it, and an option of a
command over both. Its keys are the names in SETTINGS.
"""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path

from endpoint_analytics.schemas.configuration.settings import (
    PREFIX,
    SETTINGS,
    ConfigurationError,
    invalid_setting,
    read_text,
    variable_of,
)

_SETTING = "config_file"


def our_environment() -> dict[str, str]:
    """Return the process's environment with the settings of its configuration file; raises ConfigurationError."""
    return with_config_file(os.environ)


def with_config_file(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment, and for settings that it lacks those of the file that it names, if any.

    Raises ConfigurationError if the file cannot be used.
    """
    path = read_text(environment, _SETTING)
    if not path:
        return dict(environment)
    set_here = {name: value for name, value in environment.items() if value or not name.startswith(PREFIX)}
    return {**_missing(read_config_file(Path(path).expanduser()), set_here), **set_here}


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without the values of secrets: what child processes may inherit of a file."""
    secrets = {variable_of(name) for name, setting in SETTINGS.items() if setting.is_secret}
    return {name: value for name, value in environment.items() if name not in secrets}


def read_config_file(path: Path) -> dict[str, str]:
    """Return the settings in the file by name, as texts; raises ConfigurationError."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            found = tomllib.load(file)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise invalid_setting(_SETTING, path, str(error)) from error
    settings = {name: _text(path, name, value) for name, value in found.items()}
    secrets = sorted(name for name in settings if SETTINGS[name].is_secret)
    if secrets and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigurationError(
            f"{path} has {secrets[0]}, and others may read it: chmod 600 {path}, or name a file with {secrets[0]}_file"
        )
    return settings


def _text(path: Path, name: str, value: object) -> str:
    if name not in SETTINGS or name == _SETTING:
        near = get_close_matches(name, SETTINGS, n=1, cutoff=0.7)
        hint = f"did you mean {near[0]}?" if near else "see docs/operate.md for the names"
        raise ConfigurationError(f"{path}: {name} is not a setting: {hint}")
    match value:
        case bool():
            return "on" if value else "off"
        case str() | int() | float():
            return str(value)
        case list() if all(isinstance(item, str) for item in value):
            return ",".join(value)
    raise ConfigurationError(
        f"{path}: {name} must be a text, a number, true, false or a list of texts: expected {SETTINGS[name].expected}"
    )


def _missing(settings: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of those settings that the environment has neither itself nor by the name of a file."""
    return {
        variable_of(name): value
        for name, value in settings.items()
        if not any(variable_of(each) in environment for each in _same_secret(name))
    }


def _same_secret(name: str) -> tuple[str, ...]:
    base = name.removesuffix("_file")
    return (base, f"{base}_file") if base in SETTINGS and SETTINGS[base].is_secret else (name,)
