"""Converts settings for Kafka clients: the TLS context, and aiokafka's arguments. Opens no connections."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

from endpoint_analytics.schemas.configuration.kafka_config import KafkaConfig
from endpoint_analytics.schemas.configuration.settings import PREFIX, ConfigurationError, invalid_setting


def make_ssl_context(config: KafkaConfig) -> ssl.SSLContext | None:
    """Return the TLS context for the settings, or None without TLS.

    Raises ConfigurationError with the file that cannot be used, and why.
    """
    if not config.uses_tls:
        return None
    try:
        context = ssl.create_default_context(cafile=_path(config.ca_file))
    except OSError as error:  # ssl.SSLError is one
        raise _unusable("kafka_ca_file", config.ca_file, error) from error
    context.check_hostname = config.check_hostname
    if config.certificate_file:
        _load_certificate(context, config)
    return context


def client_settings(config: KafkaConfig, ssl_context: ssl.SSLContext | None) -> dict[str, Any]:
    """Return the arguments that tell any aiokafka client where Kafka is and how to log in."""
    settings: dict[str, Any] = {
        "bootstrap_servers": config.servers,
        "security_protocol": config.security_protocol,
        "ssl_context": ssl_context,
    }
    if config.uses_sasl:
        settings["sasl_mechanism"] = config.sasl_mechanism
        settings["sasl_plain_username"] = config.username
        settings["sasl_plain_password"] = config.password
    return settings


def _load_certificate(context: ssl.SSLContext, config: KafkaConfig) -> None:
    asked = False

    def password() -> str:
        # Otherwise OpenSSL prompts on the terminal, and a service would wait forever.
        nonlocal asked
        asked = True
        return config.key_password

    key = config.key_file or config.certificate_file
    for name, path in (
        ("kafka_certificate_file", config.certificate_file),
        ("kafka_key_file", config.key_file),
    ):
        try:
            if path:
                Path(path).expanduser().open("rb").close()
        except OSError as error:
            raise _unusable(name, path, error) from error
    try:
        context.load_cert_chain(str(_path(config.certificate_file)), _path(config.key_file), password)
    except (OSError, ValueError) as error:
        if asked:
            name = f"{PREFIX}KAFKA_KEY_PASSWORD"
            reason = f"{name} does not open it" if config.key_password else f"it is encrypted: set {name}"
            raise ConfigurationError(
                f"the key in {key!r} cannot be used: {reason} (or {name}_FILE)"
            ) from error
        if getattr(error, "reason", "") == "KEY_VALUES_MISMATCH":
            raise ConfigurationError(
                f"the key in {key!r} does not match the certificate kafka_certificate_file "
                f"{config.certificate_file!r}: use a key and certificate that belong together"
            ) from error
        raise ConfigurationError(
            f"the client certificate for Kafka cannot be used ({error}): kafka_certificate_file "
            f"{config.certificate_file!r} and kafka_key_file {config.key_file!r} need a PEM certificate and its PEM key"
        ) from error


def _path(path: str) -> str | None:
    return str(Path(path).expanduser()) if path else None


def _unusable(name: str, path: str, error: OSError) -> ConfigurationError:
    return invalid_setting(name, path, error.strerror or str(error))
