"""How to reach the API server, and as whom; from within a pod, or by a kubeconfig.

Source: https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from endpoint_analytics.agents.core.config import ConfigurationError
from endpoint_analytics.agents.kubernetes.tokens import Token, TokenFile


@dataclass(frozen=True, slots=True)
class Access:
    """`server` is a URL; `ssl_context` None for plain HTTP; `namespace` is where we are, or where the context is.
    `authority` is the file whose certificates vouch for the server, and `certificate` are those of our own certificate
    and key, when they may change. `server_name` is the one that the server's certificate has to have, `proxy` the URL
    of what leads there, and `headers` say as whom we ask, where that is not ourselves."""

    server: str
    token: Token
    namespace: str
    ssl_context: ssl.SSLContext | None = None
    authority: Path | None = None
    certificate: tuple[Path, Path] | None = None
    server_name: str | None = None
    proxy: str | None = None
    headers: tuple[tuple[str, str], ...] = ()

    def refused(self) -> None:
        """The server does not know us: show it, with the next request, what token or certificate there is by then."""
        self.token.refuse()
        if self.ssl_context is not None and self.certificate is not None:
            with suppress(OSError):
                self.ssl_context.load_cert_chain(*self.certificate)

    def trust_anew(self) -> None:
        """The server's certificate was refused: trust what the authority's file holds now, too."""
        if self.ssl_context is not None and self.authority is not None:
            with suppress(OSError):  # ssl.SSLError is one: the next refusal tries again
                self.ssl_context.load_verify_locations(cafile=self.authority)


def access_of_pod(directory: Path, environment: Mapping[str, str]) -> Access:
    """Return the access of a pod's service account, which is mounted at `directory`."""
    host, port = environment.get("KUBERNETES_SERVICE_HOST"), environment.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise ConfigurationError("there is a service account, and KUBERNETES_SERVICE_HOST is not set")
    try:
        namespace = (directory / "namespace").read_text().strip()
        trusted = ssl.create_default_context(cafile=str(directory / "ca.crt"))
    except OSError as error:
        raise ConfigurationError(f"the service account in {directory} cannot be used: {error}") from error
    host = f"[{host}]" if ":" in host else host
    return Access(
        f"https://{host}:{port}",
        TokenFile(directory / "token"),
        namespace,
        trusted,
        authority=directory / "ca.crt",
    )
