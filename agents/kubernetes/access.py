"""How to reach the API server and authenticate, from within a pod or with a kubeconfig.

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
class ClusterAccess:
    """Access to one API server.

    `server` is its URL; `ssl_context` is None for plain HTTP; `namespace` is the pod's own, or the context's.
    `authority` is the CA file, and `certificate` are the files of our client certificate and key, if they may change.
    `server_name` is the name required in the server's certificate, `proxy` is an HTTP proxy's URL, and `headers` are
    for impersonation.
    """

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
        """The server rejected our credentials: use the current token or certificate for the next request."""
        self.token.refuse()
        if self.ssl_context is not None and self.certificate is not None:
            with suppress(OSError):
                self.ssl_context.load_cert_chain(*self.certificate)

    def reload_authority(self) -> None:
        """The server's certificate was not trusted: also trust the current contents of the CA file."""
        if self.ssl_context is not None and self.authority is not None:
            with suppress(OSError):  # includes ssl.SSLError: the next failure tries again
                self.ssl_context.load_verify_locations(cafile=self.authority)


def access_of_pod(directory: Path, environment: Mapping[str, str]) -> ClusterAccess:
    """Return the access of a pod's service account, mounted at `directory`."""
    host, port = environment.get("KUBERNETES_SERVICE_HOST"), environment.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise ConfigurationError("found a service account, but KUBERNETES_SERVICE_HOST is not set")
    try:
        namespace = (directory / "namespace").read_text().strip()
        trusted = ssl.create_default_context(cafile=str(directory / "ca.crt"))
    except OSError as error:
        raise ConfigurationError(f"the service account in {directory} cannot be used: {error}") from error
    host = f"[{host}]" if ":" in host else host
    return ClusterAccess(
        f"https://{host}:{port}",
        TokenFile(directory / "token"),
        namespace,
        trusted,
        authority=directory / "ca.crt",
    )
