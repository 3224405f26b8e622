"""The agent's settings: frozen, checked once, read from arguments and ENDPOINT_ANALYTICS_* variables.

Only settings belong here. Arguments go before the environment; secrets never show in a repr.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Literal, get_args

from endpoint_analytics.agents.spool.claim import CAN_LOCK
from endpoint_analytics.schemas.errors import InvalidMessageError
from endpoint_analytics.schemas.identity import check_name
from endpoint_analytics.schemas.limits import MAX_NAME_LENGTH
from endpoint_analytics.schemas.topics import DEFAULT_PREFIX

ENVIRONMENT_PREFIX = "ENDPOINT_ANALYTICS_"
LEAST_SPOOL_BYTES = 64 * 1024
DEFAULT_BOOTSTRAP_SERVERS = "127.0.0.1:9092"

SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
SpoolDrop = Literal["oldest", "newest"]
SaslMechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]

_SWITCHES = {
    "1": True,
    "true": True,
    "on": True,
    "yes": True,
    "0": False,
    "false": False,
    "off": False,
    "no": False,
}
_SERVER = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_TOPIC_PREFIX = re.compile(r"[A-Za-z0-9._-]{1,200}")


class ConfigurationError(ValueError):
    """A setting that is missing or wrong: the message says which one and how to mend it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaConfig:
    """How to reach Kafka. `password` never shows in a repr.

    Raises ConfigurationError for what cannot work: an unknown protocol, SASL without a user.
    """

    bootstrap_servers: str = DEFAULT_BOOTSTRAP_SERVERS
    topic_prefix: str = DEFAULT_PREFIX
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str = "PLAIN"
    username: str = ""
    password: str = field(default="", repr=False)
    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""

    def __post_init__(self) -> None:
        for server in self.bootstrap_servers.split(","):
            if not _SERVER.fullmatch(server.strip()):
                raise ConfigurationError(
                    f"kafka is {self.bootstrap_servers!r}; it takes host:port, several parted by commas"
                )
        if not _TOPIC_PREFIX.fullmatch(self.topic_prefix):
            raise ConfigurationError(
                f"topic_prefix is {self.topic_prefix!r}; it takes 1 to 200 letters, digits, '.', '_' or '-'"
            )
        _check_choice("kafka_security_protocol", self.security_protocol, get_args(SecurityProtocol))
        _check_choice("kafka_sasl_mechanism", self.sasl_mechanism, get_args(SaslMechanism))
        if self.security_protocol.startswith("SASL") and not (self.username and self.password):
            raise ConfigurationError(
                f"kafka_security_protocol is {self.security_protocol}, which needs kafka_username and "
                f"kafka_password ({ENVIRONMENT_PREFIX}KAFKA_USERNAME, {ENVIRONMENT_PREFIX}KAFKA_PASSWORD)"
            )
        if self.username and not self.security_protocol.startswith("SASL"):
            raise ConfigurationError(
                f"kafka_username is set and kafka_security_protocol is {self.security_protocol}, "
                "which sends none; set it to SASL_SSL (or SASL_PLAINTEXT)"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentConfig:
    """Everything that an agent needs to know; raises ConfigurationError when it cannot work so.

    Times are in seconds, sizes in bytes. `recorder_limit` bounds the arrivals that wait for a flush,
    `outbox_batches` and `outbox_bytes` what waits for Kafka in memory. `hardware` and `states` say
    whether those are sent: a process whose launcher sends them does not. `spool` is a folder for what waits
    longer ("": none), `spool_bytes` its cap for each process, `spool_drop` what goes at the cap. `scrape` is the
    URL of a serving engine's metrics ("" or "off": none), read each `scrape_interval_s` with the bearer token
    `scrape_token`, which never shows in a repr; `scrape_metrics` are metrics of the user's own,
    `engine_name=prometheus_name`. Requests of `exclude_paths`, such as a
    probe's, are not recorded.
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
    scrape_token: str = field(default="", repr=False)
    exclude_paths: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("namespace", "endpoint", "replica_id"):
            try:
                check_name(name, getattr(self, name))
            except InvalidMessageError as error:
                raise ConfigurationError(error.detail) from error
        if not 0.01 <= self.flush_interval_s <= 1.0:
            raise ConfigurationError(f"flush_interval_s is {self.flush_interval_s}; it takes 0.01 to 1.0")
        if not (self.scrape_token.isascii() and self.scrape_token.isprintable()):
            raise ConfigurationError("scrape_token has a character that no header can have")
        if not 0.1 <= self.scrape_interval_s <= 5:
            raise ConfigurationError(f"scrape_interval_s is {self.scrape_interval_s}; it takes 0.1 to 5")
        if not 0 <= self.stop_timeout_s <= 60:
            raise ConfigurationError(f"stop_timeout_s is {self.stop_timeout_s}; it takes 0 to 60")
        for name in ("recorder_limit", "outbox_batches", "outbox_bytes"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name} is {getattr(self, name)}; it takes 1 or more")
        if self.spool_bytes < LEAST_SPOOL_BYTES:
            raise ConfigurationError(
                f"spool_bytes is {self.spool_bytes}; it takes {LEAST_SPOOL_BYTES} or more"
            )
        for path in self.exclude_paths:
            if not path.startswith("/"):
                raise ConfigurationError(f"exclude_paths has {path!r}; it takes whole paths, such as /health")
        _check_choice("spool_drop", self.spool_drop, get_args(SpoolDrop))
        if self.spool and not CAN_LOCK:
            raise ConfigurationError("spool is set, and this system has no flock: it works without a spool")


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
    exclude_paths: Sequence[str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> AgentConfig:
    """Return the settings: each argument, else its ENDPOINT_ANALYTICS_ variable, else its default.

    Raises ConfigurationError.
    """
    values = os.environ if environment is None else environment
    settings = read_settings(values)
    if flush_interval_s is not None:
        settings["flush_interval_s"] = flush_interval_s
    if hardware is not None:
        settings["hardware"] = hardware
    return AgentConfig(
        namespace=_required("namespace", namespace, values),
        endpoint=_required("endpoint", endpoint, values),
        replica_id=replica_id or values.get(f"{ENVIRONMENT_PREFIX}REPLICA_ID") or default_replica_id(values),
        spool=values.get(f"{ENVIRONMENT_PREFIX}SPOOL", "") if spool is None else spool,
        scrape=(values.get(f"{ENVIRONMENT_PREFIX}SCRAPE", "") if scrape is None else scrape).strip(),
        scrape_metrics=_read_list("scrape_metrics", scrape_metrics, values),
        scrape_token=values.get(f"{ENVIRONMENT_PREFIX}SCRAPE_TOKEN", "").strip(),
        exclude_paths=_read_list("exclude_paths", exclude_paths, values),
        spool_drop=values.get(f"{ENVIRONMENT_PREFIX}SPOOL_DROP", "").strip().lower() or "oldest",
        kafka=read_kafka_config(bootstrap_servers=kafka, topic_prefix=topic_prefix, environment=values),
        **settings,  # type: ignore[arg-type]  # read_settings gives each the type of its default
    )


def read_settings(environment: Mapping[str, str]) -> dict[str, float | bool]:
    """Return the numbers and switches of AgentConfig that the variables set: ENDPOINT_ANALYTICS_HARDWARE=off."""
    found: dict[str, float | bool] = {}
    for setting in fields(AgentConfig):
        text = environment.get(f"{ENVIRONMENT_PREFIX}{setting.name.upper()}", "").strip().lower()
        kind = type(setting.default)
        if not text or kind not in {bool, int, float}:
            continue
        try:
            found[setting.name] = _SWITCHES[text] if kind is bool else kind(text)
        except (KeyError, ValueError) as error:
            takes = "on or off" if kind is bool else "a number"
            raise ConfigurationError(f"{setting.name} is {text!r}; it takes {takes}") from error
    return found


def read_kafka_config(
    *,
    bootstrap_servers: str | None = None,
    topic_prefix: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> KafkaConfig:
    """Return how to reach Kafka: arguments, else the variables, else 127.0.0.1:9092 in the clear."""
    values = os.environ if environment is None else environment

    def read(name: str, default: str = "") -> str:
        return values.get(f"{ENVIRONMENT_PREFIX}{name}") or default

    return KafkaConfig(
        bootstrap_servers=bootstrap_servers or read("KAFKA", DEFAULT_BOOTSTRAP_SERVERS),
        topic_prefix=topic_prefix or read("TOPIC_PREFIX", DEFAULT_PREFIX),
        security_protocol=read("KAFKA_SECURITY_PROTOCOL", "PLAINTEXT").upper(),
        sasl_mechanism=read("KAFKA_SASL_MECHANISM", "PLAIN").upper(),
        username=read("KAFKA_USERNAME"),
        password=read("KAFKA_PASSWORD"),
        ca_file=read("KAFKA_CA_FILE"),
        certificate_file=read("KAFKA_CERTIFICATE_FILE"),
        key_file=read("KAFKA_KEY_FILE"),
    )


def read_list(text: str) -> tuple[str, ...]:
    """Return what stands between the commas, without blanks around it."""
    return tuple(item.strip() for item in text.split(",") if item.strip())


def default_replica_id(environment: Mapping[str, str]) -> str:
    """Return a valid name made of HOSTNAME (a pod's or container's own name), else a random one."""
    host = environment.get("HOSTNAME") or socket.gethostname()
    name = re.sub(r"[^A-Za-z0-9._-]", "-", host)[:MAX_NAME_LENGTH].strip("._-")
    return name or f"replica-{secrets.token_hex(4)}"


def _read_list(name: str, value: Sequence[str] | None, environment: Mapping[str, str]) -> tuple[str, ...]:
    if value is not None:
        return tuple(value)
    return read_list(environment.get(f"{ENVIRONMENT_PREFIX}{name.upper()}", ""))


def _required(name: str, value: str | None, environment: Mapping[str, str]) -> str:
    variable = f"{ENVIRONMENT_PREFIX}{name.upper()}"
    found = value or environment.get(variable)
    if not found:
        raise ConfigurationError(f"{name} is not set: pass {name}=... or set {variable}")
    return found


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigurationError(f"{name} is {value!r}; it takes {', '.join(choices)}")
