"""TLS of the query service: its certificate, read again when it is renewed, and what it means to have none."""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import logging
import ssl
from pathlib import Path

from endpoint_analytics.schemas.configuration.settings import ConfigurationError

log = logging.getLogger(__name__)


def add_tls_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument(
        "--tls-certificate",
        type=Path,
        metavar="FILE",
        help="serve https with this certificate chain, PEM (none: http)",
    )
    parser.add_argument(
        "--tls-key", type=Path, metavar="FILE", help="the certificate's key, PEM (in the certificate's file)"
    )


def make_server_context(certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """Return the context to serve with; None without a certificate. Raises ConfigurationError."""
    if certificate is None:
        if key is not None:
            raise ConfigurationError("--tls-key is given and --tls-certificate is not: give both")
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    load_certificate(context, certificate, key)
    return context


def load_certificate(context: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    """Read the files into the context, for connections from now on; raises ConfigurationError."""

    def refuse_to_ask() -> str:
        raise ValueError("the key is encrypted")

    try:
        context.load_cert_chain(certificate, key, refuse_to_ask)
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"--tls-certificate {certificate} and --tls-key {key or certificate} cannot be used ({error}): they take a "
            "PEM certificate chain and its key, without a password"
        ) from error


async def renew(context: ssl.SSLContext, certificate: Path, key: Path | None, every_s: float = 60.0) -> None:
    """Read the files again whenever they change, for ever; what cannot be used is logged, and the old one goes on."""
    seen = _changed_at(certificate, key)
    while True:
        await asyncio.sleep(every_s)
        if (found := _changed_at(certificate, key)) == seen:
            continue
        try:
            load_certificate(context, certificate, key)
        except ConfigurationError as error:
            log.error("the certificate has changed and the one before is kept: %s", error)
        else:
            seen = found
            log.info("the certificate was read again")


def _changed_at(*paths: Path | None) -> tuple[int, ...]:
    """Return when the files changed; 0 for one that cannot be seen now."""
    found = []
    for path in filter(None, paths):
        try:
            found.append(path.stat().st_mtime_ns)
        except OSError:
            found.append(0)
    return tuple(found)


def exposure(host: str) -> str | None:
    """Return what serving without TLS at this address means; None where only this machine can come."""
    try:
        if ipaddress.ip_address(host).is_loopback:
            return None
    except ValueError:
        pass
    return (
        f"listening on {host} without TLS: whoever is on the way can read tokens and sessions and use them. Give "
        "--tls-certificate and --tls-key, or let only a proxy with TLS reach this address, one that sets "
        "X-Forwarded-Proto"
    )
