"""The command-line options that say how to reach Kafka; the password comes from the environment alone."""

from __future__ import annotations

import argparse
import os

from endpoint_analytics.agents.config import ENVIRONMENT_PREFIX, KafkaConfig, read_kafka_config

# option -> (variable's end, what it says)
OPTIONS = {
    "--kafka": ("KAFKA", "bootstrap servers, host:port,... (127.0.0.1:9092)"),
    "--topic-prefix": ("TOPIC_PREFIX", "what the topics' names begin with (endpoint-analytics)"),
    "--kafka-security-protocol": ("KAFKA_SECURITY_PROTOCOL", "PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"),
    "--kafka-sasl-mechanism": ("KAFKA_SASL_MECHANISM", "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512"),
    "--kafka-username": ("KAFKA_USERNAME", "user for SASL; the password is read from the environment"),
    "--kafka-ca-file": ("KAFKA_CA_FILE", "certificates that vouch for the broker, PEM"),
    "--kafka-certificate-file": ("KAFKA_CERTIFICATE_FILE", "our own certificate, PEM"),
    "--kafka-key-file": ("KAFKA_KEY_FILE", "our own certificate's key, PEM"),
}


def add_kafka_options(parser: argparse.ArgumentParser) -> None:
    """Add the options; each falls back to its ENDPOINT_ANALYTICS_ variable."""
    group = parser.add_argument_group(
        "Kafka", f"each also as a variable: --kafka is {ENVIRONMENT_PREFIX}KAFKA; the password is only "
        f"{ENVIRONMENT_PREFIX}KAFKA_PASSWORD"
    )  # fmt: skip
    for option, (variable, text) in OPTIONS.items():
        group.add_argument(option, metavar="...", dest=f"kafka_option_{variable}", help=text)
    group.add_argument(
        "--timeout", type=float, default=10.0, metavar="S", help="seconds to wait for Kafka (10)"
    )


def kafka_of(arguments: argparse.Namespace) -> KafkaConfig:
    """Return what the options and the environment say; raises ConfigurationError."""
    environment = dict(os.environ)
    for variable, _ in OPTIONS.values():
        value = getattr(arguments, f"kafka_option_{variable}")
        if value is not None:
            environment[f"{ENVIRONMENT_PREFIX}{variable}"] = value
    return read_kafka_config(environment=environment)
