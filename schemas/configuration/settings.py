"""The ENDPOINT_ANALYTICS_* environment variables: their names, valid values, and how they are parsed.

Agents, middlewares, pipeline and commands share this table and its parsers. A new variable needs a row in SETTINGS;
an unknown one is refused as a typo. Only parsing belongs here: combinations of values are checked by the
parts that use them.
"""

from __future__ import annotations

import argparse
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Literal
from urllib.parse import SplitResult, urlsplit

PREFIX = "ENDPOINT_ANALYTICS_"

HTTP = frozenset({"http", "https"})

# Variables that Kubernetes sets in every pod of a namespace for a Service whose name starts like our prefix.
_SERVICE_LINK = re.compile(
    r"(?:.*_)?(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT_\d+_(?:TCP|UDP|SCTP)\w*|PORT=\w+://.*)"
)
_ADDRESS = re.compile(
    r"(?:[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?\.?|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})", re.ASCII
)
_HOST = re.compile(r"[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?", re.ASCII)
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?", re.ASCII)
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(?=/)", re.ASCII)
_LOGIN = re.compile(r"\A([A-Za-z][A-Za-z0-9+.-]*://)?.*@", re.DOTALL)
"""Everything before the last @, whatever characters a password contains, with or without a scheme."""
_SWITCHES = {
    "on": True,
    "true": True,
    "yes": True,
    "1": True,
    "off": False,
    "false": False,
    "no": False,
    "0": False,
}


class ConfigurationError(ValueError):
    """A missing or invalid setting: the message says which one, what was expected, and how to fix it."""


@dataclass(frozen=True, slots=True)
class Setting:
    """The description of a variable: what is `expected`, an `example`, and the `option` that overrides it.

    The value of a secret is never shown.
    """

    expected: str
    example: str = ""
    option: str = ""
    is_secret: bool = False

    @property
    def is_switch(self) -> bool:
        """Whether it may be on or off."""
        return self.expected.endswith("or off")

    @property
    def is_list(self) -> bool:
        """Whether it has several values, separated by commas."""
        return "separated by commas" in self.expected or "[," in self.expected


_NAME = "1 to 128 letters, digits, '.', '_' or '-', beginning and ending with a letter or digit"
_ON_OR_OFF = "on or off"
_DAYS = "a whole number of days"
_PEM = "the path of a readable PEM file"

SETTINGS: Mapping[str, Setting] = {
    "config_file": Setting("the path of a readable TOML file", "/etc/endpoint-analytics.toml"),
    # identity, and how requests are recorded
    "namespace": Setting(_NAME, "acme", "--namespace"),
    "endpoint": Setting(_NAME, "classifier", "--endpoint"),
    "replica_id": Setting(_NAME, "replica-1", "--replica-id"),
    "flush_interval_s": Setting("seconds, 0.01 to 1.0", "1.0"),
    "stop_timeout_s": Setting("seconds, 0 to 60", "5", "--timeout"),
    "hardware": Setting(_ON_OR_OFF, "off"),
    "states": Setting(_ON_OR_OFF, "off"),
    "exclude_paths": Setting("full paths, separated by commas", "/health,/metrics", "--exclude-paths"),
    "request_encoding": Setting("packed or json", "json"),
    "outcomes": Setting("auto, all or off", "all"),
    "dimensions": Setting("some of route, model and caller, separated by commas", "route,model"),
    "caller_header": Setting("the name of a request header", "X-Customer"),
    "caller_hashed": Setting(_ON_OR_OFF, "on"),
    "name_limit": Setting("a whole number, 1 to 1000", "100"),
    "recorder_limit": Setting("a whole number, 1 or more", "20000"),
    "outbox_batches": Setting("a whole number, 1 or more", "600"),
    "outbox_bytes": Setting("a whole number of bytes, 1 or more", "67108864"),
    "spool": Setting("a writable directory", "/var/spool/endpoint-analytics", "--spool"),
    "spool_bytes": Setting("a whole number of bytes, 65536 or more", "268435456"),
    "spool_drop": Setting("oldest or newest", "oldest"),
    "scrape": Setting(
        "http://HOST:PORT/PATH, https://HOST:PORT/PATH or off", "http://127.0.0.1:8000/metrics", "--scrape"
    ),
    "scrape_interval_s": Setting("seconds, 0.1 to 5", "1.0"),
    "scrape_metrics": Setting(
        "NAME=PROMETHEUS_NAME pairs, separated by commas", "engine_lora_slots=vllm:lora_slots", "--metric"
    ),
    "scrape_token": Setting("printable ASCII characters, as allowed in an HTTP header", is_secret=True),
    "scrape_token_file": Setting("the path of a file whose first line is the token", "/run/secrets/engine"),
    "scrape_select": Setting(
        'LABEL="VALUE" with =, !=, =~ or !~; several separated by commas', 'model="ensemble"', "--select"
    ),
    "engine_ca_file": Setting(_PEM, "/etc/engine/ca.pem", "--engine-ca-file"),
    "engine_certificate_file": Setting(_PEM, "/etc/engine/agent.pem", "--engine-certificate-file"),
    "engine_key_file": Setting(_PEM, "/etc/engine/agent.key", "--engine-key-file"),
    "engine_server_name": Setting("a host name", "llm.example.com", "--engine-server-name"),
    "engine_insecure": Setting(_ON_OR_OFF, "on", "--engine-insecure"),
    "runtime_directory": Setting("a writable directory", "/run/endpoint-analytics"),
    # Kafka
    "kafka": Setting("HOST:PORT[,HOST:PORT...]", "kafka-1:9092,kafka-2:9092", "--kafka"),
    "topic_prefix": Setting("1 to 200 letters, digits, '.', '_' or '-'", "endpoint-analytics", "--topic-prefix"),
    "kafka_security_protocol": Setting(
        "PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL", "SASL_SSL", "--kafka-security-protocol"
    ),
    "kafka_sasl_mechanism": Setting(
        "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512", "SCRAM-SHA-512", "--kafka-sasl-mechanism"
    ),
    "kafka_username": Setting("a user name", "analytics", "--kafka-username"),
    "kafka_password": Setting("the user's password", is_secret=True),
    "kafka_password_file": Setting(
        "the path of a file whose first line is the user's password", "/run/secrets/kafka", "--kafka-password-file"
    ),
    "kafka_ca_file": Setting(_PEM, "/etc/kafka/ca.pem", "--kafka-ca-file"),
    "kafka_certificate_file": Setting(_PEM, "/etc/kafka/agent.pem", "--kafka-certificate-file"),
    "kafka_key_file": Setting(_PEM, "/etc/kafka/agent.key", "--kafka-key-file"),
    "kafka_key_password": Setting("the password of an encrypted key", is_secret=True),
    "kafka_key_password_file": Setting(
        "the path of a file whose first line is the key's password", "/run/secrets/key", "--kafka-key-password-file"
    ),
    "kafka_check_hostname": Setting(_ON_OR_OFF, "off", "--kafka-check-hostname"),
    "kafka_retention_hours": Setting(
        "a whole number of hours, 24 or more", "168", "--retention-hours"
    ),
    "kafka_retention_bytes": Setting(
        "a whole number of bytes for each partition, 67108864 or more, or -1 for no limit",
        "10737418240",
        "--retention-bytes",
    ),
    # `agent kubernetes`
    "endpoint_label": Setting("the key of a pod label", "app.kubernetes.io/name", "--endpoint-label"),
    "replica_from": Setting("name, uid, label:KEY or annotation:KEY", "name", "--replica-from"),
    "cluster": Setting("a name", "eu-1", "--cluster"),
    # `agent otlp`
    "otlp_token": Setting("printable ASCII characters, as allowed in an HTTP header", is_secret=True),
    "otlp_token_file": Setting("the path of a file whose first line is the token", "/run/secrets/otlp", "--token-file"),
    # worker
    "group": Setting("the name of a consumer group", "endpoint-analytics", "--group"),
    "instance_id": Setting("a name that is unique among the workers of the group", "worker-0", "--instance-id"),
    # ClickHouse
    "clickhouse_url": Setting(
        "http://HOST:PORT or https://HOST:PORT, the HTTP interface", "http://127.0.0.1:8123", "--clickhouse-url"
    ),
    "clickhouse_user": Setting("a user name", "default", "--clickhouse-user"),
    "clickhouse_password": Setting("the user's password", is_secret=True),
    "clickhouse_password_file": Setting(
        "the path of a file whose first line is the user's password",
        "data/clickhouse.default-password",
        "--clickhouse-password-file",
    ),
    "clickhouse_analyst_password": Setting(
        "the password of the account `analyst` of `endpoint-analytics clickhouse`", is_secret=True
    ),
    "clickhouse_analyst_password_file": Setting(
        "the path of a file whose first line is that password", "/run/secrets/analyst"
    ),
    "clickhouse_database": Setting(
        "letters, digits and '_', not starting with a digit", "endpoint_analytics", "--clickhouse-database"
    ),
    "clickhouse_cluster": Setting("letters, digits, '_', '.' or '-'", "analytics", "--clickhouse-cluster"),
    "retention_10s_days": Setting(_DAYS, "7"),
    "retention_1min_days": Setting(_DAYS, "30"),
    "retention_1h_days": Setting(_DAYS, "400"),
    # Kafka on this machine
    "maven_url": Setting(
        "http://HOST/PATH or https://HOST/PATH, a mirror of Maven Central", "https://repo1.maven.org/maven2"
    ),
}  # fmt: skip


def variable_of(name: str) -> str:
    """Return a setting's environment variable; KeyError if it is not in SETTINGS."""
    if name not in SETTINGS:
        raise KeyError(name)
    return PREFIX + name.upper()


def invalid_setting(name: str, value: object, why: str = "") -> ConfigurationError:
    """Return the error for an invalid value; `why` adds to what SETTINGS says about the expected value."""
    setting = SETTINGS[name]
    why = why if not setting.is_secret else ""
    shown = "not usable" if setting.is_secret else shown_value(value)
    example = f", for example {setting.example}" if setting.example else ""
    reason = f" ({why})" if why else ""
    return ConfigurationError(
        f"{name} is {shown}{reason}: expected {setting.expected}{example}; set {_sources(name)}"
    )


def missing_setting(name: str) -> ConfigurationError:
    """Return the error for a required setting that is not set."""
    return ConfigurationError(
        f"{name} is not set: pass {name}=..., or set {_sources(name)}, for example {SETTINGS[name].example}"
    )


def _sources(name: str) -> str:
    """Return where a setting can be set: its option, its variable, and the configuration file if there is one."""
    option, file = SETTINGS[name].option, os.environ.get(variable_of("config_file"))
    here = f", or {name} in {file}" if file and name != "config_file" else ""
    return f"{option} or {variable_of(name)}{here}" if option else f"{variable_of(name)}{here}"


def shown_value(value: object) -> str:
    """Return a value for an error message: one short line, without the login and query of a URL."""
    text = repr(value) if not isinstance(value, str) else repr(_LOGIN.sub(r"\1***@", value).partition("?")[0])
    return text if len(text) <= 200 else f"{text[:197]}..."


def check_environment(environment: Mapping[str, str]) -> None:
    """Raise ConfigurationError for a variable with our prefix but an unknown name, which would be ignored."""
    known = {variable_of(name) for name in SETTINGS}
    unknown = sorted(
        name
        for name, value in environment.items()
        if name.upper().startswith(PREFIX) and name not in known and not _is_service_link(name, value)
    )
    if unknown:
        raise ConfigurationError("; ".join(_unknown(name, known) for name in unknown))


def _is_service_link(name: str, value: str) -> bool:
    rest = name[len(PREFIX) :]
    return (
        _SERVICE_LINK.fullmatch(f"{rest}={value}" if rest.endswith("PORT") and "://" in value else rest)
        is not None
    )


def _unknown(name: str, known: set[str]) -> str:
    near = get_close_matches(name.upper(), known, n=1, cutoff=0.7)
    return f"{name} is not a known variable: " + (
        f"did you mean {near[0]}?" if near else "correct its name, or unset it"
    )


def read_text(environment: Mapping[str, str], name: str) -> str:
    """Return the text of a setting's variable without surrounding blanks (a secret unchanged), "" if it is not set."""
    text = environment.get(variable_of(name), "")
    return text if SETTINGS[name].is_secret else text.strip()


def parse_switch(name: str, text: str) -> bool:
    """Return whether a setting is on; raises ConfigurationError."""
    try:
        return _SWITCHES[text.strip().lower()]
    except KeyError:
        raise invalid_setting(name, text) from None


def parse_number(name: str, text: str, kind: type[int | float] = float) -> float:
    """Return a finite number of type `kind`; raises ConfigurationError."""
    text = text.strip()
    if (_WHOLE if kind is int else _NUMBER).fullmatch(text) and math.isfinite(float(text)):
        return kind(text)
    raise invalid_setting(name, text)


def parse_list(text: str) -> tuple[str, ...]:
    """Split a text at its commas, without surrounding blanks and empty items."""
    return tuple(item.strip() for item in text.split(",") if item.strip())


def parse_servers(name: str, text: str) -> tuple[str, ...]:
    """Return the addresses in `HOST:PORT[,HOST:PORT...]`; raises ConfigurationError for an invalid one."""
    servers = tuple(server.strip() for server in text.split(","))
    for server in servers:
        match = _ADDRESS.fullmatch(server)
        if match is None:
            why = "it has no port" if re.fullmatch(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]", server) else ""
            raise invalid_setting(name, text, why)
        if not 0 < int(match[1]) <= 65_535:
            raise invalid_setting(name, text, f"{match[1]} is not a port")
        if not server.startswith("[") and not _HOST.fullmatch(server.rpartition(":")[0]):
            # Python's resolver has no OSError for it, which is what clients of Kafka expect.
            raise invalid_setting(
                name, text, "a part of the host between dots is empty, or longer than 63 characters"
            )
    return servers


def parse_url(
    name: str,
    text: str,
    *,
    schemes: frozenset[str] = HTTP,
    default_scheme: Literal["http", ""] = "",
    error: Callable[[str, str, str], ConfigurationError] = invalid_setting,
) -> SplitResult:
    """Return the parts of a URL with one of the `schemes`, a host, and a valid port if any.

    A text without a scheme gets the default one, if there is one. Raises ConfigurationError; `error` creates it
    from name, text and reason, for a URL that is not from an environment variable.
    """
    text = text.strip()
    if not text.isascii() or not text.isprintable() or " " in text:
        raise error(name, text, "a URL contains only printable ASCII without spaces; %20 is a space")
    scheme = _SCHEME.match(text)
    if scheme is None and default_scheme:
        text = f"{default_scheme}://{text}"
    elif scheme is None or scheme[1].lower() not in schemes:
        raise error(name, text, f"its scheme is not {' or '.join(sorted(schemes))}")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as reason:
        raise error(name, text, str(reason)) from None
    if not parts.hostname or port == 0 or parts.netloc.endswith(":"):
        raise error(name, text, "it has no host" if not parts.hostname else "it has no port")
    return parts


def number_option(
    least: float, most: float = math.inf, kind: type[int | float] = float
) -> Callable[[str], float]:
    """Return argparse's `type` for an option whose value is a finite number in a range."""
    what = "a whole number" if kind is int else "a number"
    bounds = f"from {least:g} to {most:g}" if math.isfinite(most) else f"of {least:g} or more"

    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and least <= value <= most):
            raise argparse.ArgumentTypeError(f"{text!r}: expected {what} {bounds}")
        return value

    return parse


def time_option(text: str) -> datetime:
    """argparse's `type` for a time in ISO 8601; one without an offset is UTC."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not an ISO 8601 time such as 2026-01-31T12:00:00Z"
        ) from error
    return at if at.tzinfo else at.replace(tzinfo=UTC)


port_option = number_option(0, 65_535, int)
"""argparse's `type` for a port to listen on; 0 requests a free one."""
