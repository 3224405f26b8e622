"""Access by a kubeconfig: its files merged, its context chosen, its certificates loaded.

Source: https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/
"""

from __future__ import annotations

import base64
import os
import ssl
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from endpoint_analytics.agents.config import ConfigurationError
from endpoint_analytics.agents.kubernetes.access import Access
from endpoint_analytics.agents.kubernetes.tokens import CommandToken, FixedToken, Token, TokenFile


def access_of_kubeconfig(named: str, context: str | None) -> Access:
    """Return the access of a context (the current one by default); `named` is a file, or several parted by `:`."""
    paths = [Path(name).expanduser() for name in named.split(os.pathsep) if name]
    merged = _Merged(paths)
    chosen = merged.contexts.get(context or merged.current)
    if chosen is None:
        known = ", ".join(sorted(merged.contexts)) or "none"
        raise ConfigurationError(f"{named} has no context {context or merged.current!r}; it has {known}")
    at = chosen[1]
    cluster_folder, cluster = merged.clusters.get(str(at.get("cluster")), (Path(), {}))
    user_folder, user = merged.users.get(str(at.get("user")), (Path(), {}))
    server = str(cluster.get("server", ""))
    if not server.startswith(("http://", "https://")):
        raise ConfigurationError(f"{named}: the cluster {at.get('cluster')!r} has no server")
    trusted = _trusted(cluster, cluster_folder, user, user_folder) if server.startswith("https") else None
    return Access(
        server.rstrip("/"), _token_of(user, user_folder), str(at.get("namespace") or "default"), trusted
    )


class _Merged:
    """The files of a kubeconfig together: of two entries with one name, the first one counts."""

    def __init__(self, paths: list[Path]) -> None:
        self.current = ""
        self.clusters: dict[str, tuple[Path, dict[str, Any]]] = {}
        self.contexts: dict[str, tuple[Path, dict[str, Any]]] = {}
        self.users: dict[str, tuple[Path, dict[str, Any]]] = {}
        found = [path for path in paths if path.exists()]
        if not found:
            raise ConfigurationError(
                f"there is no {', '.join(map(str, paths))}, and this is no pod: name a --kubeconfig"
            )
        for path in found:
            try:
                read = yaml.safe_load(path.read_text()) or {}
                self._add(path, read)
            except (OSError, yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
                raise ConfigurationError(f"{path} cannot be read as a kubeconfig: {error}") from error

    def _add(self, path: Path, read: dict[str, Any]) -> None:
        self.current = self.current or str(read.get("current-context") or "")
        for entries, kind, into in (
            ("clusters", "cluster", self.clusters),
            ("contexts", "context", self.contexts),
            ("users", "user", self.users),
        ):
            for entry in read.get(entries) or ():
                into.setdefault(str(entry["name"]), (path.parent, entry.get(kind) or {}))


def _trusted(
    cluster: Mapping[str, Any], cluster_folder: Path, user: Mapping[str, Any], user_folder: Path
) -> ssl.SSLContext:
    try:
        authority = _bytes_of(cluster, "certificate-authority", cluster_folder)
        trusted = ssl.create_default_context(cadata=None if authority is None else authority.decode())
        if cluster.get("insecure-skip-tls-verify"):
            trusted.check_hostname, trusted.verify_mode = False, ssl.CERT_NONE
        certificate = _bytes_of(user, "client-certificate", user_folder)
        key = _bytes_of(user, "client-key", user_folder)
        if certificate is not None and key is not None:
            with tempfile.TemporaryDirectory() as name:  # the ssl module takes them from files alone
                both = Path(name) / "both.pem"
                both.touch(mode=0o600)
                both.write_bytes(certificate + b"\n" + key)
                trusted.load_cert_chain(both)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise ConfigurationError(f"the kubeconfig's certificates cannot be used: {error}") from error
    return trusted


def _bytes_of(entry: Mapping[str, Any], name: str, folder: Path) -> bytes | None:
    """Return what `name`-data holds, or the file `name`, whose path may be relative to the kubeconfig."""
    if data := entry.get(f"{name}-data"):
        return base64.b64decode(data, validate=True)
    if file := entry.get(name):
        return (folder / str(file)).read_bytes()
    return None


def _token_of(user: Mapping[str, Any], folder: Path) -> Token:
    if file := user.get("tokenFile"):
        return TokenFile(folder / str(file))
    if token := user.get("token"):
        return FixedToken(str(token))
    if command := user.get("exec"):
        environment = {str(each["name"]): str(each["value"]) for each in command.get("env") or ()}
        name = str(command["command"])
        words = (str(folder / name) if "/" in name else name, *map(str, command.get("args") or ()))
        return CommandToken(words, environment, str(command.get("apiVersion", "")))
    return FixedToken()
