"""The agent's settings: frozen, checked once, read from arguments and ENDPOINT_ANALYTICS_* variables.

Only settings belong here. Arguments override the environment; secrets never appear in a repr.
"""

from __future__ import annotations

import math
import re
import secrets
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Literal, cast, get_args

from endpoint_analytics.agents.core.file_lock import CAN_LOCK
from endpoint_analytics.schemas.codec import RequestEncoding
from endpoint_analytics.schemas.configuration.config_file import our_environment
from endpoint_analytics.schemas.configuration.kafka_config import KafkaConfig, read_kafka_config
from endpoint_analytics.schemas.configuration.secret import read_secret
from endpoint_analytics.schemas.configuration.settings import (
    PREFIX,
    ConfigurationError,
    check_environment,
    invalid_setting,
    missing_setting,
    parse_list,
    parse_number,
    parse_switch,
    read_text,
)
from endpoint_analytics.schemas.errors import InvalidMessageError
from endpoint_analytics.schemas.identity import check_name
from endpoint_analytics.schemas.limits import MAX_NAME_LENGTH, MAX_SLICES

__all__ = [
    "ENVIRONMENT_PREFIX",
    "AgentConfig",
    "ConfigurationError",
    "KafkaConfig",
    "read_config",
    "read_kafka_config",
]

ENVIRONMENT_PREFIX = PREFIX
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
LEAST_SPOOL_BYTES = 64 * 1024

SpoolDrop = Literal["oldest", "newest"]
OutcomeChoice = Literal["auto", "all", "off"]
Dimension = Literal["route", "model", "caller"]

_BOUNDS: Mapping[str, tuple[float, float]] = {
    "flush_interval_s": (0.01, 1.0),
    "stop_timeout_s": (0, 60),
    "scrape_interval_s": (0.1, 5),
    "recorder_limit": (1, math.inf),
    "name_limit": (1, MAX_SLICES),
    "outbox_batches": (1, math.inf),
    "outbox_bytes": (1, math.inf),
    "spool_bytes": (LEAST_SPOOL_BYTES, math.inf),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentConfig:
    """All settings of an agent; raises ConfigurationError if one is invalid.

    Times are in seconds, sizes in bytes. `recorder_limit` bounds the arrivals waiting for a flush; `outbox_batches`
    and `outbox_bytes` bound the messages waiting for Kafka in memory. `hardware` and `states` say whether to send
    those: a process whose launcher sends them does not. `spool` is a directory for messages that wait longer ("":
    none), `spool_bytes` its limit per process, `spool_drop` which messages to drop at that limit. `scrape` is the
    URL of a serving engine's metrics ("" or "off": none), read every `scrape_interval_s` with the bearer token
    `scrape_token`, which never appears in a repr; `scrape_metrics` are additional metrics,
    `engine_name=prometheus_name`, and `scrape_select` selects the engine's samples by label. `engine_*` configure how
    to verify the engine's certificate and which client certificate to present, for the metrics and for the ready URL
    of `agent run`. Requests for `exclude_paths`, such as health probes, are not recorded.
    `request_encoding` is the form of request batches in Kafka: "packed", or "json" for readers of the topic that
    expect it.

    `outcomes` says of which requests more is told than their phases: "auto" of streams of events and of language
    models' answers, "all", or "off"; a sample of slow and failed requests is left out only if it is "off". `dimensions`
    are the names to divide requests by, which implies "all": the route, the model, the caller that `caller_header`
    names, `caller_hashed` or as it is. Of each, an agent sends at most `name_limit` names at a time.
    """

    namespace: str
    endpoint: str
    replica_id: str
    kafka: KafkaConfig = field(default_factory=KafkaConfig)
    flush_interval_s: float = 1.0
    stop_timeout_s: float = 5.0
    recorder_limit: int = 20_000
    outbox_batches: int = 600
    outbox_bytes: int = 64 * 1024 * 1024
    hardware: bool = True
    states: bool = True
    spool: str = ""
    spool_bytes: int = 256 * 1024 * 1024
    spool_drop: str = "oldest"
    scrape: str = ""
    scrape_interval_s: float = 1.0
    scrape_metrics: tuple[str, ...] = ()
    scrape_select: str = ""
    scrape_token: str = field(default="", repr=False)
    engine_ca_file: str = ""
    engine_certificate_file: str = ""
    engine_key_file: str = ""
    engine_server_name: str = ""
    engine_insecure: bool = False
    exclude_paths: tuple[str, ...] = ()
    request_encoding: RequestEncoding = "packed"
    outcomes: OutcomeChoice = "auto"
    dimensions: tuple[Dimension, ...] = ()
    caller_header: str = ""
    caller_hashed: bool = False
    name_limit: int = 100

    def __post_init__(self) -> None:
        for name in ("namespace", "endpoint", "replica_id"):
            try:
                check_name(name, getattr(self, name))
            except InvalidMessageError as error:
                raise invalid_setting(name, getattr(self, name)) from error
        for name, (least, most) in _BOUNDS.items():
            if not least <= getattr(self, name) <= most:
                raise invalid_setting(name, getattr(self, name))
        if not (self.scrape_token.isascii() and self.scrape_token.isprintable()):
            raise invalid_setting("scrape_token", self.scrape_token)
        if isinstance(self.exclude_paths, str):
            raise invalid_setting(
                "exclude_paths", self.exclude_paths, "it is one string, not a list of paths"
            )
        for path in self.exclude_paths:
            if not path.startswith("/"):
                raise invalid_setting("exclude_paths", path)
        _check_choice("request_encoding", self.request_encoding, get_args(RequestEncoding))
        _check_choice("outcomes", self.outcomes, get_args(OutcomeChoice))
        for dimension in self.dimensions:
            _check_choice("dimensions", dimension, get_args(Dimension))
        if self.dimensions and self.outcomes == "off":
            raise ConfigurationError("dimensions are set, but outcomes is off: set it to all, or remove it")
        if "caller" in self.dimensions and not _HEADER.fullmatch(self.caller_header):
            raise invalid_setting("caller_header", self.caller_header, "the dimension caller needs it")
        _check_choice("spool_drop", self.spool_drop, get_args(SpoolDrop))
        if self.spool and not CAN_LOCK:
            raise ConfigurationError(
                "spool is set, but this system has no flock: unset it to run without a spool"
            )


def read_config(
    *,
    namespace: str | None = None,
    endpoint: str | None = None,
    replica_id: str | None = None,
    kafka: str | None = None,
    topic_prefix: str | None = None,
    flush_interval_s: float | None = None,
    hardware: bool | None = None,
    spool: str | None = None,
    scrape: str | None = None,
    scrape_metrics: Sequence[str] | None = None,
    scrape_select: str | None = None,
    exclude_paths: Sequence[str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> AgentConfig:
    """Return the settings: each argument, else its ENDPOINT_ANALYTICS_ variable, else its default.

    Raises ConfigurationError.
    """
    values = our_environment() if environment is None else environment
    check_environment(values)
    settings = read_settings(values)
    if flush_interval_s is not None:
        settings["flush_interval_s"] = flush_interval_s
    if hardware is not None:
        settings["hardware"] = hardware
    return AgentConfig(
        namespace=_required("namespace", namespace, values),
        endpoint=_required("endpoint", endpoint, values),
        replica_id=replica_id or read_text(values, "replica_id") or default_replica_id(values),
        spool=read_text(values, "spool") if spool is None else spool,
        scrape=read_text(values, "scrape") if scrape is None else scrape.strip(),
        scrape_metrics=_read_list("scrape_metrics", scrape_metrics, values),
        scrape_select=read_text(values, "scrape_select") if scrape_select is None else scrape_select,
        scrape_token=read_secret(values, "scrape_token").strip(),
        engine_ca_file=read_text(values, "engine_ca_file"),
        engine_certificate_file=read_text(values, "engine_certificate_file"),
        engine_key_file=read_text(values, "engine_key_file"),
        engine_server_name=read_text(values, "engine_server_name"),
        exclude_paths=_read_list("exclude_paths", exclude_paths, values),
        spool_drop=read_text(values, "spool_drop").lower() or "oldest",
        request_encoding=read_request_encoding(values),
        outcomes=cast("OutcomeChoice", read_text(values, "outcomes").lower() or "auto"),
        dimensions=cast("tuple[Dimension, ...]", parse_list(read_text(values, "dimensions").lower())),
        caller_header=read_text(values, "caller_header"),
        kafka=read_kafka_config(bootstrap_servers=kafka, topic_prefix=topic_prefix, environment=values),
        **settings,  # type: ignore[arg-type]  # read_settings converts each to the type of its default
    )


def read_settings(environment: Mapping[str, str]) -> dict[str, float | bool]:
    """Return AgentConfig's numbers and switches set in the environment, e.g. ENDPOINT_ANALYTICS_HARDWARE=off."""
    found: dict[str, float | bool] = {}
    for setting in fields(AgentConfig):
        kind = type(setting.default)
        if kind in {bool, int, float} and (text := read_text(environment, setting.name)):
            name = setting.name
            found[name] = parse_switch(name, text) if kind is bool else parse_number(name, text, kind)
    return found


def read_request_encoding(environment: Mapping[str, str]) -> RequestEncoding:
    """Return the setting, "packed" if it is not set; raises ConfigurationError."""
    encoding = read_text(environment, "request_encoding").lower() or "packed"
    _check_choice("request_encoding", encoding, get_args(RequestEncoding))
    return cast("RequestEncoding", encoding)


def default_replica_id(environment: Mapping[str, str]) -> str:
    """Return a valid name derived from HOSTNAME (a pod's or container's own name), else a random one."""
    host = environment.get("HOSTNAME") or socket.gethostname()
    name = re.sub(r"[^A-Za-z0-9._-]", "-", host)[:MAX_NAME_LENGTH].strip("._-")
    return name or f"replica-{secrets.token_hex(4)}"


def _read_list(name: str, value: Sequence[str] | None, environment: Mapping[str, str]) -> tuple[str, ...]:
    return parse_list(read_text(environment, name)) if value is None else tuple(value)


def _required(name: str, value: str | None, environment: Mapping[str, str]) -> str:
    found = value or read_text(environment, name)
    if not found:
        raise missing_setting(name)
    return found


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise invalid_setting(name, value)
