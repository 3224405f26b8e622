"""TLS to a serving engine: its certificate and our client certificate, shared by the scraper and the ready probe.

A certificate is verified against the system's certificate authorities, or those in a file; only an explicit setting
turns verification off.
"""

from __future__ import annotations

import http.client
import ssl
from dataclasses import dataclass, field

from endpoint_analytics.agents.core.config import AgentConfig
from endpoint_analytics.schemas.configuration.settings import invalid_setting

_HINT = (
    "; set --engine-ca-file to the authority that signed it, --engine-server-name to the host name it is issued for, "
    "or --engine-insecure to accept any certificate"
)
_CLIENT_CERTIFICATE_HINT = (
    "; the engine requires a client certificate: set --engine-certificate-file and --engine-key-file"
)
_CLIENT_CERTIFICATE_ERRORS = ("CERTIFICATE_REQUIRED", "HANDSHAKE_FAILURE", "BAD_CERTIFICATE", "UNKNOWN_CA")


@dataclass(frozen=True, slots=True)
class EngineTls:
    """A TLS context, and the host name in the engine's certificate if it differs from the URL's."""

    context: ssl.SSLContext = field(default_factory=ssl.create_default_context)
    server_name: str = ""

    def connect(self, host: str, port: int | None, timeout_s: float) -> http.client.HTTPSConnection:
        """Return a connection that is not open yet."""
        return _Connection(host, port, timeout_s, self)


def engine_tls(config: AgentConfig) -> EngineTls:
    """Return the TLS settings of `config`; raises ConfigurationError for unusable files."""
    context = ssl.create_default_context()
    if config.engine_ca_file:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            context.load_verify_locations(config.engine_ca_file)
        except (OSError, ssl.SSLError) as error:
            raise invalid_setting("engine_ca_file", config.engine_ca_file, _why(error)) from error
    if config.engine_insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if config.engine_certificate_file:
        try:
            context.load_cert_chain(config.engine_certificate_file, config.engine_key_file or None)
        except (OSError, ssl.SSLError) as error:
            raise invalid_setting(
                "engine_certificate_file", config.engine_certificate_file, _why(error)
            ) from error
    elif config.engine_key_file:
        raise invalid_setting(
            "engine_key_file", config.engine_key_file, "a key without engine_certificate_file"
        )
    return EngineTls(context, config.engine_server_name)


def explained(error: Exception) -> str:
    """Return why a request to an engine failed, with a hint if certificates are the reason."""
    text = str(error) or type(error).__name__
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message or text}){_HINT}"
    if isinstance(error, ssl.SSLError) and any(
        reason in text.upper() for reason in _CLIENT_CERTIFICATE_ERRORS
    ):
        return text + _CLIENT_CERTIFICATE_HINT
    if isinstance(error, ssl.SSLError) and "WRONG_VERSION_NUMBER" in text.upper():
        return f"{text}: the engine does not speak TLS; use http:// instead of https://?"
    return text


class _Connection(http.client.HTTPSConnection):
    """Uses the configured server name, if any, instead of the URL's host for SNI and verification."""

    def __init__(self, host: str, port: int | None, timeout_s: float, tls: EngineTls) -> None:
        super().__init__(host, port, timeout=timeout_s, context=tls.context)
        self._tls = tls

    def connect(self) -> None:
        http.client.HTTPConnection.connect(self)
        self.sock = self._tls.context.wrap_socket(
            self.sock, server_hostname=self._tls.server_name or self.host
        )


def _why(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
