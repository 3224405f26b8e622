"""Access by a kubeconfig: its files merged, its context chosen, its certificates loaded.

Source: https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/
"""

from __future__ import annotations

import base64
import os
import ssl
import tempfile
from pathlib import Path
from typing import TypeVar

import msgspec

from endpoint_analytics.agents.config import ConfigurationError
from endpoint_analytics.agents.kubernetes.access import Access
from endpoint_analytics.agents.kubernetes.tokens import CommandToken, FixedToken, Token, TokenFile


class _Read(msgspec.Struct, frozen=True, rename="kebab"):
    """A part of a kubeconfig."""


class _Context(_Read, frozen=True):
    cluster: str = ""
    user: str = ""
    namespace: str | None = None


class _Cluster(_Read, frozen=True):
    server: str = ""
    certificate_authority: str = ""
    certificate_authority_data: str = ""
    insecure_skip_tls_verify: bool = False


class _Variable(_Read, frozen=True):
    name: str
    value: str


class _Command(_Read, frozen=True):
    command: str
    api_version: str = msgspec.field(default="", name="apiVersion")
    args: tuple[str, ...] | None = None
    env: tuple[_Variable, ...] | None = None


class _User(_Read, frozen=True):
    token: str = ""
    token_file: str = msgspec.field(default="", name="tokenFile")
    exec: _Command | None = None
    client_certificate: str = ""
    client_certificate_data: str = ""
    client_key: str = ""
    client_key_data: str = ""


class _Entry(_Read, frozen=True):
    """One of the three, and its name."""

    name: str
    context: _Context | None = None
    cluster: _Cluster | None = None
    user: _User | None = None


class _File(_Read, frozen=True):
    current_context: str | None = None
    contexts: tuple[_Entry, ...] | None = None
    clusters: tuple[_Entry, ...] | None = None
    users: tuple[_Entry, ...] | None = None


Part = TypeVar("Part")
_In = tuple[Path, Part]
"""A part, and the folder of its file, from which its paths start."""


def access_of_kubeconfig(named: str, context: str | None) -> Access:
    """Return the access of a context (the current one by default); `named` is a file, or several parted by `:`.

    Of two entries with one name, the first one counts. Raises ConfigurationError.
    """
    paths = [Path(name).expanduser() for name in named.split(os.pathsep) if name]
    found = [path for path in paths if path.exists()]
    if not found:
        raise ConfigurationError(
            f"there is no {', '.join(map(str, paths))}, and this is no pod: name a --kubeconfig"
        )
    files = [(path.parent, _read(path)) for path in reversed(found)]  # the first one comes last, and stays
    contexts = {each.name: each.context or _Context() for _, file in files for each in file.contexts or ()}
    clusters = {
        each.name: (at, each.cluster or _Cluster()) for at, file in files for each in file.clusters or ()
    }
    users = {each.name: (at, each.user or _User()) for at, file in files for each in file.users or ()}
    current = [file.current_context for _, file in files if file.current_context]
    name = context or (current[-1] if current else "")
    chosen = contexts.get(name)
    if chosen is None:
        known = ", ".join(sorted(contexts)) or "none"
        lacks = f"context {name!r}" if name else "current context"
        raise ConfigurationError(f"{named} has no {lacks}; it has {known}")
    cluster, user = (
        clusters.get(chosen.cluster, (Path(), _Cluster())),
        users.get(chosen.user, (Path(), _User())),
    )
    server = cluster[1].server
    if not server.startswith(("http://", "https://")):
        raise ConfigurationError(f"{named}: the cluster {chosen.cluster!r} has no server")
    trusted = _trusted(cluster, user) if server.startswith("https") else None
    return Access(server.rstrip("/"), _token_of(user), chosen.namespace or "default", trusted)


def _read(path: Path) -> _File:
    try:
        return msgspec.yaml.decode(path.read_bytes(), type=_File | None) or _File()
    except (OSError, msgspec.MsgspecError, ValueError) as error:
        raise ConfigurationError(f"{path} cannot be read as a kubeconfig: {error}") from error


def _trusted(found_cluster: _In[_Cluster], found_user: _In[_User]) -> ssl.SSLContext:
    (cluster_folder, cluster), (user_folder, user) = found_cluster, found_user
    try:
        authority = _bytes_of(
            cluster.certificate_authority_data, cluster.certificate_authority, cluster_folder
        )
        trusted = ssl.create_default_context(cadata=None if authority is None else authority.decode())
        if cluster.insecure_skip_tls_verify:
            trusted.check_hostname, trusted.verify_mode = False, ssl.CERT_NONE
        certificate = _bytes_of(user.client_certificate_data, user.client_certificate, user_folder)
        key = _bytes_of(user.client_key_data, user.client_key, user_folder)
        if certificate is not None and key is not None:
            with tempfile.TemporaryDirectory() as name:  # the ssl module takes them from files alone
                both = Path(name) / "both.pem"
                both.touch(mode=0o600)
                both.write_bytes(certificate + b"\n" + key)
                trusted.load_cert_chain(both)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise ConfigurationError(f"the kubeconfig's certificates cannot be used: {error}") from error
    return trusted


def _bytes_of(data: str, file: str, folder: Path) -> bytes | None:
    if data:
        return base64.b64decode(data, validate=True)
    return (folder / file).read_bytes() if file else None


def _token_of(found: _In[_User]) -> Token:
    folder, user = found
    if user.token_file:
        return TokenFile(folder / user.token_file)
    if user.token or user.exec is None:
        return FixedToken(user.token)
    name, environment = user.exec.command, {each.name: each.value for each in user.exec.env or ()}
    words = (str(folder / name) if "/" in name else name, *(user.exec.args or ()))
    return CommandToken(words, environment, user.exec.api_version)
