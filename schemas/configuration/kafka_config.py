"""How to reach Kafka: the same settings for agents, worker, signals, fleet and commands, read in the same way.

Only settings and their checks belong here; `kafka_client` prepares clients from them. A setting that would have no
effect is an error, since a user who provides a certificate or a password expects it to be used.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from endpoint_analytics.schemas.brokers import DEFAULT_BOOTSTRAP_SERVERS, MECHANISMS, PROTOCOLS
from endpoint_analytics.schemas.configuration.config_file import our_environment
from endpoint_analytics.schemas.configuration.secret import read_secret
from endpoint_analytics.schemas.configuration.settings import (
    PREFIX,
    ConfigurationError,
    invalid_setting,
    parse_servers,
    parse_switch,
    read_text,
)
from endpoint_analytics.schemas.topics import DEFAULT_PREFIX

_TOPIC_PREFIX = re.compile(r"[A-Za-z0-9._-]{1,200}")


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaConfig:
    """How to reach Kafka. Protocol and mechanism are stored in upper case; passwords never appear in a repr.

    `sasl_mechanism` defaults to PLAIN with SASL, and is "" without. `key_password` decrypts an encrypted `key_file`
    (or the key in `certificate_file`). Without `check_hostname`, the broker's certificate may have any name, as long as
    the CA signed it. Raises ConfigurationError for settings that cannot work, and for settings without effect.
    """

    bootstrap_servers: str = DEFAULT_BOOTSTRAP_SERVERS
    topic_prefix: str = DEFAULT_PREFIX
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str = ""
    username: str = ""
    password: str = field(default="", repr=False)
    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""
    key_password: str = field(default="", repr=False)
    check_hostname: bool = True

    def __post_init__(self) -> None:
        parse_servers("kafka", self.bootstrap_servers)
        if not _TOPIC_PREFIX.fullmatch(self.topic_prefix):
            raise invalid_setting("topic_prefix", self.topic_prefix)
        object.__setattr__(self, "security_protocol", self.security_protocol.strip().upper())
        object.__setattr__(self, "sasl_mechanism", self.sasl_mechanism.strip().upper())
        _check_protocol(self)
        _check_effect(self)
        if self.uses_sasl and not self.sasl_mechanism:
            object.__setattr__(self, "sasl_mechanism", "PLAIN")

    @property
    def servers(self) -> list[str]:
        """The bootstrap servers, as a list of HOST:PORT."""
        return list(parse_servers("kafka", self.bootstrap_servers))

    @property
    def uses_tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.security_protocol.endswith("SSL")

    @property
    def uses_sasl(self) -> bool:
        """Whether the client logs in as a user."""
        return self.security_protocol.startswith("SASL")


def _check_protocol(config: KafkaConfig) -> None:
    if config.security_protocol not in PROTOCOLS:
        raise invalid_setting("kafka_security_protocol", config.security_protocol)
    if config.sasl_mechanism in {"GSSAPI", "OAUTHBEARER"}:
        raise invalid_setting(
            "kafka_sasl_mechanism",
            config.sasl_mechanism,
            "it is not supported; use SSL with a client certificate instead",
        )
    if config.sasl_mechanism and config.sasl_mechanism not in MECHANISMS:
        raise invalid_setting("kafka_sasl_mechanism", config.sasl_mechanism)
    if config.uses_sasl and not (config.username and config.password):
        raise ConfigurationError(
            f"kafka_security_protocol is {config.security_protocol}, which needs kafka_username and "
            f"kafka_password ({PREFIX}KAFKA_USERNAME, {PREFIX}KAFKA_PASSWORD or "
            f"{PREFIX}KAFKA_PASSWORD_FILE)"
        )
    if not config.certificate_file and (config.key_file or config.key_password):
        raise ConfigurationError(
            f"{'kafka_key_file' if config.key_file else 'kafka_key_password'} is set but "
            "kafka_certificate_file is not: a key is useless without its certificate"
        )


def _check_effect(config: KafkaConfig) -> None:
    """Raise ConfigurationError for a setting that the protocol does not use."""
    of_sasl = {name: bool(getattr(config, name)) for name in ("sasl_mechanism", "username", "password")}
    of_tls = {
        name: bool(getattr(config, name))
        for name in ("ca_file", "certificate_file", "key_file", "key_password")
    } | {"check_hostname": not config.check_hostname}
    for is_used, given, needed in (
        (config.uses_sasl, of_sasl, "SASL_SSL (or SASL_PLAINTEXT) to log in"),
        (config.uses_tls, of_tls, "SASL_SSL or SSL for an encrypted connection"),
    ):
        unused = [f"kafka_{name}" for name, is_set in given.items() if is_set]
        if unused and not is_used:
            raise ConfigurationError(
                f"{' and '.join(unused)} would have no effect: kafka_security_protocol is "
                f"{config.security_protocol}. Set {PREFIX}KAFKA_SECURITY_PROTOCOL to {needed}, or leave "
                f"{'it' if len(unused) == 1 else 'them'} out"
            )


def read_kafka_config(
    *,
    bootstrap_servers: str | None = None,
    topic_prefix: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> KafkaConfig:
    """Return how to reach Kafka: from arguments, else environment variables, else 127.0.0.1:9092 without encryption.

    Raises ConfigurationError, also for a password file that cannot be read.
    """
    values = our_environment() if environment is None else environment

    def read(name: str) -> str:
        return read_text(values, f"kafka_{name}")

    return KafkaConfig(
        bootstrap_servers=bootstrap_servers or read_text(values, "kafka") or DEFAULT_BOOTSTRAP_SERVERS,
        topic_prefix=topic_prefix or read_text(values, "topic_prefix") or DEFAULT_PREFIX,
        security_protocol=read("security_protocol") or "PLAINTEXT",
        sasl_mechanism=read("sasl_mechanism"),
        username=read("username"),
        password=read_secret(values, "kafka_password"),
        ca_file=read("ca_file"),
        certificate_file=read("certificate_file"),
        key_file=read("key_file"),
        key_password=read_secret(values, "kafka_key_password"),
        check_hostname=parse_switch("kafka_check_hostname", read("check_hostname") or "on"),
    )
