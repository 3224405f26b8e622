"""The command-line options for reaching Kafka, the same in every command; passwords are never among them."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from endpoint_analytics.schemas.configuration.command_line import refuse_secrets
from endpoint_analytics.schemas.configuration.config_file import our_environment
from endpoint_analytics.schemas.configuration.kafka_config import KafkaConfig, read_kafka_config
from endpoint_analytics.schemas.configuration.settings import PREFIX

# option -> (name of its variable without the prefix, metavar, help)
OPTIONS = {
    "--kafka": ("KAFKA", "HOST:PORT[,HOST:PORT...]", "bootstrap servers (default: 127.0.0.1:9092)"),
    "--topic-prefix": ("TOPIC_PREFIX", "PREFIX", "prefix of topic names (default: endpoint-analytics)"),
    "--kafka-security-protocol": (
        "KAFKA_SECURITY_PROTOCOL",
        "PROTOCOL",
        "PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL (default: PLAINTEXT)",
    ),
    "--kafka-sasl-mechanism": (
        "KAFKA_SASL_MECHANISM",
        "MECHANISM",
        "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512 (default: PLAIN)",
    ),
    "--kafka-username": ("KAFKA_USERNAME", "NAME", "user name for SASL"),
    "--kafka-password-file": (
        "KAFKA_PASSWORD_FILE",
        "FILE",
        "file whose first line is the user's password",
    ),
    "--kafka-ca-file": (
        "KAFKA_CA_FILE",
        "FILE",
        "PEM file with the CA certificates of the brokers (default: the system's CAs)",
    ),
    "--kafka-certificate-file": ("KAFKA_CERTIFICATE_FILE", "FILE", "PEM file with the client certificate"),
    "--kafka-key-file": (
        "KAFKA_KEY_FILE",
        "FILE",
        "PEM file with the client certificate's key (default: the certificate's file)",
    ),
    "--kafka-key-password-file": (
        "KAFKA_KEY_PASSWORD_FILE",
        "FILE",
        "file whose first line is the key's password",
    ),
    "--kafka-check-hostname": (
        "KAFKA_CHECK_HOSTNAME",
        "on|off",
        "whether the broker's certificate must match its host name (default: on)",
    ),
}


def add_kafka_options(parser: argparse.ArgumentParser) -> None:
    """Add the options; each falls back to its ENDPOINT_ANALYTICS_ environment variable."""
    group = parser.add_argument_group(
        "Kafka", f"each option can also be set by an environment variable, for example --kafka by {PREFIX}KAFKA; "
        f"passwords themselves only by {PREFIX}KAFKA_PASSWORD and {PREFIX}KAFKA_KEY_PASSWORD"
    )  # fmt: skip
    for option, (variable, metavar, text) in OPTIONS.items():
        group.add_argument(option, metavar=metavar, dest=f"kafka_option_{variable}", help=text)
    refuse_secrets(group, "--kafka-password", "--kafka-key-password")


def kafka_of(arguments: argparse.Namespace, environment: Mapping[str, str] | None = None) -> KafkaConfig:
    """Return the configuration from the options and the environment; raises ConfigurationError."""
    values = our_environment() if environment is None else dict(environment)
    for variable, _, _ in OPTIONS.values():
        value = getattr(arguments, f"kafka_option_{variable}", None)
        if value is not None:
            values[f"{PREFIX}{variable}"] = value
            if variable.endswith("_FILE"):  # an option overrides the variable with the same secret
                values.pop(f"{PREFIX}{variable.removesuffix('_FILE')}", None)
    return read_kafka_config(environment=values)
