"""The engine's certificate, and ours to it: one way for all that asks an engine, its metrics and its readiness alike.

A certificate is checked against the system's authorities, or against those of a file; what is not checked is so by the
user's word alone.
"""

from __future__ import annotations

import http.client
import ssl
from dataclasses import dataclass, field

from endpoint_analytics.agents.core.config import AgentConfig
from endpoint_analytics.schemas.configuration.settings import wrong

_HINT = (
    "; --engine-ca-file gives the authority that signed it, --engine-server-name the name that it is for, and "
    "--engine-insecure takes any certificate"
)
_ASKS_FOR_OURS = (
    "; the engine asks for a certificate: --engine-certificate-file and --engine-key-file give one"
)
_OURS_IS_ASKED_FOR = ("CERTIFICATE_REQUIRED", "HANDSHAKE_FAILURE", "BAD_CERTIFICATE", "UNKNOWN_CA")


@dataclass(frozen=True, slots=True)
class EngineTls:
    """A context, and the name that the engine's certificate is for where it is not the address's."""

    context: ssl.SSLContext = field(default_factory=ssl.create_default_context)
    server_name: str = ""

    def connect(self, host: str, port: int | None, timeout_s: float) -> http.client.HTTPSConnection:
        """Return a connection that is not made yet."""
        return _Connection(host, port, timeout_s, self)


def engine_tls(config: AgentConfig) -> EngineTls:
    """Return what the settings say; raises ConfigurationError for files that cannot be used."""
    context = ssl.create_default_context()
    if config.engine_ca_file:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            context.load_verify_locations(config.engine_ca_file)
        except (OSError, ssl.SSLError) as error:
            raise wrong("engine_ca_file", config.engine_ca_file, _why(error)) from error
    if config.engine_insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if config.engine_certificate_file:
        try:
            context.load_cert_chain(config.engine_certificate_file, config.engine_key_file or None)
        except (OSError, ssl.SSLError) as error:
            raise wrong("engine_certificate_file", config.engine_certificate_file, _why(error)) from error
    elif config.engine_key_file:
        raise wrong("engine_key_file", config.engine_key_file, "a key without engine_certificate_file")
    return EngineTls(context, config.engine_server_name)


def explained(error: Exception) -> str:
    """Return why an engine could not be asked, and where certificates are the reason how to mend it."""
    said = str(error) or type(error).__name__
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message or said}){_HINT}"
    if isinstance(error, ssl.SSLError) and any(reason in said.upper() for reason in _OURS_IS_ASKED_FOR):
        return said + _ASKS_FOR_OURS
    if isinstance(error, ssl.SSLError) and "WRONG_VERSION_NUMBER" in said.upper():
        return f"{said}: it speaks no TLS; is it http:// instead of https://?"
    return said


class _Connection(http.client.HTTPSConnection):
    """Asks the server for the certificate of another name than the address's, where there is one."""

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
