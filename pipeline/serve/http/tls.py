"""TLS for the query service: its certificate, reloaded when it is renewed, and the warning when there is none."""

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
        help="serve https with this PEM certificate chain (default: none, serve http)",
    )
    parser.add_argument(
        "--tls-key",
        type=Path,
        metavar="FILE",
        help="the certificate's private key, PEM (default: read from the certificate file)",
    )


def make_server_context(certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """Return the TLS context to serve with, or None without a certificate. Raises ConfigurationError."""
    if certificate is None:
        if key is not None:
            raise ConfigurationError("--tls-key is given without --tls-certificate: give both")
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    load_certificate(context, certificate, key)
    return context


def load_certificate(context: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    """Load the files into the context, for new connections; raises ConfigurationError."""

    def refuse_to_ask() -> str:
        raise ValueError("the key is encrypted")

    try:
        context.load_cert_chain(certificate, key, refuse_to_ask)
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"--tls-certificate {certificate} and --tls-key {key or certificate} cannot be used ({error}): give a "
            "PEM certificate chain and its private key without a passphrase"
        ) from error


async def renew(context: ssl.SSLContext, certificate: Path, key: Path | None, every_s: float = 60.0) -> None:
    """Reload the files whenever they change, forever. If they cannot be used, log it and keep the old certificate."""
    seen = _changed_at(certificate, key)
    while True:
        await asyncio.sleep(every_s)
        if (found := _changed_at(certificate, key)) == seen:
            continue
        try:
            load_certificate(context, certificate, key)
        except ConfigurationError as error:
            log.error(
                "the certificate files changed but cannot be used; keeping the previous certificate: %s",
                error,
            )
        else:
            seen = found
            log.info("the certificate was reloaded")


def _changed_at(*paths: Path | None) -> tuple[int, ...]:
    """Return when the files were last changed; 0 for one that cannot be read now."""
    found = []
    for path in filter(None, paths):
        try:
            found.append(path.stat().st_mtime_ns)
        except OSError:
            found.append(0)
    return tuple(found)


def exposure(host: str) -> str | None:
    """Return a warning about serving without TLS at this address; None if only this machine can connect."""
    try:
        if ipaddress.ip_address(host).is_loopback:
            return None
    except ValueError:
        pass
    return (
        f"listening on {host} without TLS: anyone on the network path can read and reuse tokens and sessions. Give "
        "--tls-certificate and --tls-key, or let only a TLS proxy that sets X-Forwarded-Proto reach this address"
    )
