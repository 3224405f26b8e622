"""Access with a kubeconfig: merges its files, chooses the context, loads certificates. Settings that are not supported
are refused, not ignored.

Source: https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/
"""

from __future__ import annotations

import base64
import os
import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import msgspec

from endpoint_analytics.agents.core.config import ConfigurationError
from endpoint_analytics.agents.kubernetes.access import ClusterAccess
from endpoint_analytics.agents.kubernetes.kubeconfig_models import Cluster, Context, File, User
from endpoint_analytics.agents.kubernetes.tokens import (
    CommandToken,
    FixedToken,
    Token,
    TokenFile,
    load_certificate,
)

Part = TypeVar("Part")
_In = tuple[Path, Part]
"""A part, and the directory of its file, which its relative paths are based on."""


def access_of_kubeconfig(named: str, context: str | None) -> ClusterAccess:
    """Return the access of a context (default: the current one); `named` is a file, or several separated by `:`.

    Of several entries with the same name, the first one counts. Raises ConfigurationError.
    """
    paths = [Path(name).expanduser() for name in named.split(os.pathsep) if name]
    found = [path for path in paths if path.exists()]
    if not found:
        raise ConfigurationError(
            f"there is no {', '.join(map(str, paths))}, and this is not a pod: set --kubeconfig"
        )
    files = [
        (path.parent, _read(path)) for path in reversed(found)
    ]  # the first file is applied last, so it wins
    contexts = {each.name: each.context or Context() for _, file in files for each in file.contexts or ()}
    clusters = {
        each.name: (at, each.cluster or Cluster()) for at, file in files for each in file.clusters or ()
    }
    users = {each.name: (at, each.user or User()) for at, file in files for each in file.users or ()}
    current = [file.current_context for _, file in files if file.current_context]
    name = context or (current[-1] if current else "")
    chosen = contexts.get(name)
    if chosen is None:
        known = ", ".join(sorted(contexts)) or "none"
        missing = f"context {name!r}" if name else "current context"
        raise ConfigurationError(f"{named} has no {missing}; it has {known}")
    cluster, user = clusters.get(chosen.cluster, (Path(), Cluster())), (Path(), User())
    if chosen.user:
        if chosen.user not in users:
            raise ConfigurationError(
                f"{named}: context {name!r} names the user {chosen.user!r}, which does not exist"
            )
        user = users[chosen.user]
    server = cluster[1].server
    if not server.startswith(("http://", "https://")):
        raise ConfigurationError(f"{named}: the cluster {chosen.cluster!r} has no server")
    for why in _unsupported(cluster[1], user[1]):
        raise ConfigurationError(f"{named}: context {name!r}: {why}")
    trusted = _trusted(cluster, user) if server.startswith("https") else None
    return ClusterAccess(
        server.rstrip("/"),
        _token_of(user, cluster, trusted),
        chosen.namespace or "default",
        trusted,
        authority=_path_of(
            cluster[1].certificate_authority_data, cluster[1].certificate_authority, cluster[0]
        ),
        certificate=_certificate_files(user),
        server_name=cluster[1].tls_server_name or None,
        proxy=cluster[1].proxy_url or None,
        headers=tuple(_impersonation(user[1])),
    )


def _unsupported(cluster: Cluster, user: User) -> Iterable[str]:
    """Yield the settings that are not supported: ignoring them would give different access from kubectl's."""
    if user.auth_provider is not None:
        yield "auth-provider is not supported (kubectl removed it in 1.26): use exec"
    if user.username:
        yield "username and password are not supported (Kubernetes removed them in 1.19): use a token or certificate"
    if bool(user.client_certificate or user.client_certificate_data) is not bool(
        user.client_key or user.client_key_data
    ):
        yield "client-certificate and client-key require each other: one is missing"
    if user.exec is not None and user.exec.interactive_mode == "Always":
        yield f"{user.exec.command} requires a terminal (interactiveMode: Always), which an agent does not have"
    if cluster.proxy_url and not cluster.proxy_url.startswith(("http://", "https://")):
        yield f"proxy-url is {cluster.proxy_url!r}: expected http://HOST:PORT or https://HOST:PORT"
    if cluster.insecure_skip_tls_verify and (
        cluster.certificate_authority or cluster.certificate_authority_data
    ):
        yield "insecure-skip-tls-verify and a certificate-authority exclude each other: remove one"
    if not user.as_user and (user.as_uid or user.as_groups or user.as_user_extra):
        yield "as-uid, as-groups and as-user-extra require `as`"


def _impersonation(user: User) -> Iterable[tuple[str, str]]:
    """Yield the headers for impersonation.

    Source: https://kubernetes.io/docs/reference/access-authn-authz/authentication/#user-impersonation
    """
    if user.as_user:
        yield "Impersonate-User", user.as_user
    if user.as_uid:
        yield "Impersonate-Uid", user.as_uid
    for group in user.as_groups or ():
        yield "Impersonate-Group", group
    for key, values in (user.as_user_extra or {}).items():
        for value in values:
            yield f"Impersonate-Extra-{quote(key.lower(), safe='')}", value


def _read(path: Path) -> File:
    try:
        return msgspec.yaml.decode(path.read_bytes(), type=File | None) or File()
    except (OSError, msgspec.MsgspecError, ValueError) as error:
        raise ConfigurationError(f"{path} cannot be read as a kubeconfig: {error}") from error


def _trusted(found_cluster: _In[Cluster], found_user: _In[User]) -> ssl.SSLContext:
    (cluster_directory, cluster), (user_directory, user) = found_cluster, found_user
    try:
        authority = _bytes_of(
            cluster.certificate_authority_data, cluster.certificate_authority, cluster_directory
        )
        trusted = ssl.create_default_context(cadata=None if authority is None else authority.decode())
        if cluster.insecure_skip_tls_verify:
            trusted.check_hostname, trusted.verify_mode = False, ssl.CERT_NONE
        certificate = _bytes_of(user.client_certificate_data, user.client_certificate, user_directory)
        key = _bytes_of(user.client_key_data, user.client_key, user_directory)
        if certificate is not None and key is not None:
            load_certificate(trusted, certificate, key)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise ConfigurationError(f"the kubeconfig's certificates cannot be used: {error}") from error
    return trusted


def _bytes_of(data: str, file: str, directory: Path) -> bytes | None:
    if data:
        return base64.b64decode(data, validate=True)
    return (directory / file).read_bytes() if file else None


def _path_of(data: str, file: str, directory: Path) -> Path | None:
    return directory / file if file and not data else None


def _certificate_files(found: _In[User]) -> tuple[Path, Path] | None:
    directory, user = found
    certificate = _path_of(user.client_certificate_data, user.client_certificate, directory)
    key = _path_of(user.client_key_data, user.client_key, directory)
    return None if certificate is None or key is None else (certificate, key)


def _token_of(found: _In[User], found_cluster: _In[Cluster], trusted: ssl.SSLContext | None) -> Token:
    directory, user = found
    if user.token_file:
        return TokenFile(directory / user.token_file)
    if user.token or user.exec is None:
        return FixedToken(user.token)
    command = user.exec
    name, environment = command.command, {each.name: each.value for each in command.env or ()}
    words = (str(directory / name) if "/" in name else name, *(command.args or ()))
    spec: dict[str, object] = {"interactive": False}
    if command.provide_cluster_info:
        spec["cluster"] = _cluster_info(found_cluster)
    exec_info = {"apiVersion": command.api_version, "kind": "ExecCredential", "spec": spec}
    return CommandToken(words, environment, exec_info, trusted, command.install_hint)


def _cluster_info(found: _In[Cluster]) -> dict[str, object]:
    directory, cluster = found
    authority = _bytes_of(cluster.certificate_authority_data, cluster.certificate_authority, directory)
    info = {
        "server": cluster.server,
        "tls-server-name": cluster.tls_server_name,
        "insecure-skip-tls-verify": cluster.insecure_skip_tls_verify,
        "certificate-authority-data": base64.b64encode(authority or b"").decode(),
        "proxy-url": cluster.proxy_url,
    }
    return {name: value for name, value in info.items() if value}
