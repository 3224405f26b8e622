"""The command-line options that say how to reach Kafka, the same in every command; passwords are never among them."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping

from endpoint_analytics.schemas.configuration.command_line import refuse_secrets
from endpoint_analytics.schemas.configuration.kafka_config import KafkaConfig, read_kafka_config
from endpoint_analytics.schemas.configuration.settings import PREFIX

# option -> (variable's end, what it says)
OPTIONS = {
    "--kafka": ("KAFKA", "bootstrap servers, HOST:PORT,... (127.0.0.1:9092)"),
    "--topic-prefix": ("TOPIC_PREFIX", "prefix of the topics' names (endpoint-analytics)"),
    "--kafka-security-protocol": (
        "KAFKA_SECURITY_PROTOCOL",
        "PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL (PLAINTEXT)",
    ),
    "--kafka-sasl-mechanism": ("KAFKA_SASL_MECHANISM", "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512 (PLAIN)"),
    "--kafka-username": ("KAFKA_USERNAME", "user for SASL"),
    "--kafka-password-file": ("KAFKA_PASSWORD_FILE", "file whose first line is the user's password"),
    "--kafka-ca-file": ("KAFKA_CA_FILE", "CA certificates that vouch for the brokers, PEM (the system's)"),
    "--kafka-certificate-file": ("KAFKA_CERTIFICATE_FILE", "client certificate, PEM"),
    "--kafka-key-file": ("KAFKA_KEY_FILE", "key of the client certificate, PEM (in the certificate's file)"),
    "--kafka-key-password-file": ("KAFKA_KEY_PASSWORD_FILE", "file whose first line is the key's password"),
    "--kafka-check-hostname": (
        "KAFKA_CHECK_HOSTNAME",
        "off: do not compare the broker's name with its certificate (on)",
    ),
}


def add_kafka_options(parser: argparse.ArgumentParser) -> None:
    """Add the options; each falls back to its ENDPOINT_ANALYTICS_ variable."""
    group = parser.add_argument_group(
        "Kafka", f"each also as a variable: --kafka is {PREFIX}KAFKA; passwords themselves only as "
        f"{PREFIX}KAFKA_PASSWORD and {PREFIX}KAFKA_KEY_PASSWORD"
    )  # fmt: skip
    for option, (variable, text) in OPTIONS.items():
        group.add_argument(option, metavar="...", dest=f"kafka_option_{variable}", help=text)
    refuse_secrets(group, "--kafka-password", "--kafka-key-password")


def kafka_of(arguments: argparse.Namespace, environment: Mapping[str, str] | None = None) -> KafkaConfig:
    """Return what the options and the environment say; raises ConfigurationError."""
    values = dict(os.environ if environment is None else environment)
    for variable, _ in OPTIONS.values():
        value = getattr(arguments, f"kafka_option_{variable}", None)
        if value is not None:
            values[f"{PREFIX}{variable}"] = value
            if variable.endswith("_FILE"):  # an option goes before the variable that says the same otherwise
                values.pop(f"{PREFIX}{variable.removesuffix('_FILE')}", None)
    return read_kafka_config(environment=values)
