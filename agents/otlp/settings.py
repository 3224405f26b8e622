"""The receiver's settings: frozen, checked once. Only settings belong here."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from endpoint_analytics.agents.otlp.identity import Fixed
from endpoint_analytics.schemas.codec import RequestEncoding
from endpoint_analytics.schemas.configuration.kafka_config import KafkaConfig
from endpoint_analytics.schemas.configuration.secret import read_secret
from endpoint_analytics.schemas.configuration.settings import (
    ConfigurationError,
    invalid_setting,
    variable_of,
)
from endpoint_analytics.schemas.errors import InvalidMessageError
from endpoint_analytics.schemas.identity import check_name

Begin = Literal["earliest", "latest"]
"""Where a group without committed offsets starts to read."""

Unconfirmed = Literal["keep", "return"]
"""What becomes of requests that Kafka has not stored in time: they wait here, or are left to their exporters."""

MAX_REPLICAS = 10_000
NAMESPACE_SHARE = 4
"""A namespace may have one of so many parts of all replicas, so that no tenant stops another."""

IDLE_S = 900.0
IDLE_WITHOUT_STATES_S = 86_400.0
"""Without states something else says when a replica ends: until then, heartbeats keep it from looking failed."""


@dataclass(frozen=True, slots=True)
class Limits:
    """`body_bytes` bounds a body, compressed and not; `held_bytes` all that are being read or wait to be decoded.

    An export that Kafka has not stored after `answer_s` is asked to come again.
    """

    body_bytes: int = 16 * 1024 * 1024
    held_bytes: int = 64 * 1024 * 1024
    answer_s: float = 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OtlpSettings:
    """Raises ConfigurationError for invalid values.

    `listen` is the address for OTLP/HTTP, None for none; `topic` is read as a member of `group` ("": none). `token` is
    what senders must present ("": nothing), required if other machines can connect. A replica without spans for
    `idle_s` has ended; `states` says whether to report that. `request_encoding` is
    that of AgentConfig. `remember` is how many spans are recognized when they are
    sent again. `unconfirmed` is what `Receiver` does; None: keep them if only this machine can connect, and so nothing
    can spread exports over several receivers, else return them.
    """

    kafka: KafkaConfig
    listen: tuple[str, int] | None
    fixed: Fixed
    topic: str = ""
    group: str = ""
    begin: Begin = "latest"
    token: str = field(default="", repr=False)
    tls: ssl.SSLContext | None = None
    exclude_paths: tuple[str, ...] = ()
    states: bool = True
    request_encoding: RequestEncoding = "packed"
    idle_s: float = IDLE_S
    remember: int = 400_000
    max_replicas: int = MAX_REPLICAS
    max_namespace_replicas: int | None = None
    unconfirmed: Unconfirmed | None = None
    limits: Limits = field(default_factory=Limits)
    stop_within_s: float = 10.0

    @property
    def namespace_replicas(self) -> int:
        """Most replicas of one namespace: all, if there is only one."""
        if self.max_namespace_replicas is not None:
            return self.max_namespace_replicas
        return self.max_replicas if self.fixed.namespace else max(self.max_replicas // NAMESPACE_SHARE, 1)

    @property
    def unconfirmed_become(self) -> Unconfirmed:
        """What becomes of requests that Kafka has not stored in time."""
        if self.unconfirmed is not None:
            return self.unconfirmed
        return "keep" if self.listen is None or is_loopback(self.listen[0]) else "return"

    def __post_init__(self) -> None:
        for name, value in self.fixed._asdict().items():
            try:
                check_name(name, value or "unset")
            except InvalidMessageError as error:
                raise invalid_setting(name, value) from error
        if self.listen is not None and not self.token and not is_loopback(self.listen[0]):
            raise ConfigurationError(
                f"other machines can connect to {self.listen[0]}, so senders must present a token: put one into a "
                f"file and set --token-file or {variable_of('otlp_token_file')}"
            )


def read_token(environment: Mapping[str, str], file: str | None) -> str:
    """Return the token from the file, else from the environment, "" without one; raises ConfigurationError."""
    token = read_secret({variable_of("otlp_token_file"): file} if file else environment, "otlp_token").strip()
    if not (token.isascii() and token.isprintable()):
        raise invalid_setting("otlp_token", token)
    if file and not token:
        raise invalid_setting("otlp_token_file", file, "its first line is blank")
    return token


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def make_tls(certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """Return the TLS context to serve with, None without a certificate; raises ConfigurationError."""
    if certificate is None:
        if key is not None:
            raise ConfigurationError("--tls-key is given without --tls-certificate: give both")
        return None

    def refuse_to_ask() -> str:
        raise ValueError("the key is encrypted")

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate, key, refuse_to_ask)
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"--tls-certificate {certificate} and --tls-key {key or certificate} cannot be used ({error}): give a "
            "PEM certificate chain and its private key without a passphrase"
        ) from error
    return context
