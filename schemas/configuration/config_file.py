"""The configuration file: settings in TOML, beside the environment.

ENDPOINT_ANALYTICS_CONFIG_FILE names it. A variable of the environment takes precedence over it, and an option of a
command over both. Its keys are the names in SETTINGS. An error names the file and the line, and never shows a value.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections import Counter
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path

from endpoint_analytics.schemas.configuration.settings import (
    PREFIX,
    SETTINGS,
    ConfigurationError,
    Setting,
    invalid_setting,
    read_text,
    variable_of,
)

_SETTING = "config_file"
_KEY = r"^[ \t]*[\"']?({name})[\"']?[ \t]*="
_TABLE = r"|^[ \t]*\[+[ \t]*{name}\b|^[ \t]*{name}[ \t]*\."


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
    try:
        file = Path(path).expanduser()
    except RuntimeError as error:  # ~nobody/
        raise invalid_setting(_SETTING, path, str(error)) from error
    return {**_missing(read_config_file(file), set_here), **set_here}


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without the values of secrets: what child processes may inherit of a file."""
    secrets = {variable_of(name) for name, setting in SETTINGS.items() if setting.is_secret}
    return {name: value for name, value in environment.items() if name not in secrets}


def read_config_file(path: Path) -> dict[str, str]:
    """Return the settings in the file by name, as texts; raises ConfigurationError."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read()
    except OSError as error:
        raise invalid_setting(_SETTING, str(path), str(error)) from error
    text, found = _parse(path, content)
    settings = {name: _text(f"{path}{_line(text, name)}", name, value) for name, value in found.items()}
    secrets = sorted(name for name in settings if SETTINGS[name].is_secret)
    if secrets and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigurationError(
            f"{path} has {secrets[0]}, and others may read it: chmod 600 {path}, or name a file with {secrets[0]}_file"
        )
    return settings


def _parse(path: Path, content: bytes) -> tuple[str, dict[str, object]]:
    """Return the text and what stands in it; a byte order mark, which Windows' editors write, is left out."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(f"{path}:{line}: the file is not UTF-8: save it as UTF-8") from error
    try:
        return text, tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # not only TOMLDecodeError: of too many digits
        twice = [
            name
            for name, times in Counter(re.findall(_KEY.format(name=r"\w+"), text, re.MULTILINE)).items()
            if times > 1
        ]
        hint = f"; {twice[0]} is given twice" if "overwrite" in str(error) and twice else ""
        raise ConfigurationError(f"{path} is not TOML: {error}{hint}") from error


def _line(text: str, name: str) -> str:
    """Return `:LINE` of a key, "" where it is written in a way that this does not find."""
    found = re.search((_KEY + _TABLE).format(name=re.escape(name)), text, re.MULTILINE)
    return f":{text.count(chr(10), 0, found.start()) + 1}" if found else ""


def _text(where: str, name: str, value: object) -> str:
    if name not in SETTINGS or name == _SETTING:
        near = get_close_matches(name.lower().removeprefix(PREFIX.lower()), SETTINGS, n=1, cutoff=0.7)
        hint = f"did you mean {near[0]}?" if near else "see docs/operate.md for the names"
        raise ConfigurationError(f"{where}: {name} is not a setting: {hint}")
    setting = SETTINGS[name]
    match value:
        case str() if "\0" not in value:
            return value
        case bool() if setting.is_switch:
            return "on" if value else "off"
        case int() if not isinstance(value, bool) and not setting.is_secret:
            return str(value)
        case float() if setting.expected.startswith("seconds"):
            return str(value)
        case list() if setting.is_list and all(isinstance(each, str) and "," not in each for each in value):
            return ",".join(value)
    example = f", for example {setting.example}" if setting.example else ""
    raise ConfigurationError(
        f"{where}: {name} must be {_form(setting)}: expected {setting.expected}{example}"
    )


def _form(setting: Setting) -> str:
    """Return how a setting is written in the file."""
    if setting.is_switch:
        return "true, false or a text in quotes"
    if setting.is_list:
        return "a text in quotes, or a list of these without commas in them"
    return "a number" if re.match("a whole number|seconds", setting.expected) else "a text in quotes"


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
