"""How to reach the API server, and as whom: from within a pod, or by a kubeconfig.

A pod's token is changed in its file about once an hour, and its certificate authority now and then: both are read
again. Sources: https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/ and the kubeconfig reference.
"""

from __future__ import annotations

import asyncio
import base64
import os
import ssl
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import yaml

from endpoint_analytics.agents.config import ConfigurationError

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
READ_AGAIN_S = 10.0
EXEC_WITHIN_S = 30.0


class AccessError(Exception):
    """A token cannot be had now: the message says why."""


@dataclass(slots=True)
class TokenFile:
    """A token in a file that is changed from time to time."""

    path: Path
    _token: str = field(default="", repr=False)
    _read_s: float = 0.0

    async def read(self) -> str:
        """Return the token, at most READ_AGAIN_S old; raises AccessError."""
        if not self._token or time.monotonic() - self._read_s > READ_AGAIN_S:
            try:
                self._token = self.path.read_text().strip()
            except OSError as error:
                raise AccessError(f"the token cannot be read: {error}") from error
            self._read_s = time.monotonic()
        return self._token

    def refuse(self) -> None:
        """The server refused the token: read it again at the next need."""
        self._token = ""


@dataclass(slots=True)
class FixedToken:
    """A token that stays as it is; empty for none."""

    token: str = field(default="", repr=False)

    async def read(self) -> str:
        """Return the token."""
        return self.token

    def refuse(self) -> None:
        """There is no other."""


@dataclass(slots=True)
class CommandToken:
    """A token that a command prints, as clouds have it (client.authentication.k8s.io ExecCredential)."""

    words: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    api_version: str
    _token: str = field(default="", repr=False)
    _until_s: float = 0.0

    async def read(self) -> str:
        """Return the token, from the command when there is none or it ends within a minute; raises AccessError."""
        if not self._token or time.time() > self._until_s - 60:
            self._token, self._until_s = await self._ask()
        return self._token

    def refuse(self) -> None:
        """The server refused the token: ask the command at the next need."""
        self._token = ""

    async def _ask(self) -> tuple[str, float]:
        asked = {"apiVersion": self.api_version, "kind": "ExecCredential", "spec": {"interactive": False}}
        environment = {
            **os.environ,
            **self.environment,
            "KUBERNETES_EXEC_INFO": msgspec.json.encode(asked).decode(),
        }
        try:
            process = await asyncio.create_subprocess_exec(
                *self.words, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, env=environment
            )
        except OSError as error:
            raise AccessError(f"{self.words[0]}: {error.strerror}") from error
        try:
            async with asyncio.timeout(EXEC_WITHIN_S):
                said, _ = await process.communicate()
        except TimeoutError as error:
            raise AccessError(f"{self.words[0]} gave no token within {EXEC_WITHIN_S:g} s") from error
        finally:
            with suppress(ProcessLookupError):
                process.kill()
        try:
            found = msgspec.json.decode(said, type=_ExecCredential).status
        except msgspec.DecodeError as error:
            raise AccessError(f"{self.words[0]} ended with {process.returncode} and gave no token") from error
        until = found.expirationTimestamp
        return found.token, float("inf") if until is None else until.timestamp()


class _ExecStatus(msgspec.Struct):
    token: str
    expirationTimestamp: datetime | None = None  # noqa: N815 - its name


class _ExecCredential(msgspec.Struct):
    status: _ExecStatus


Token = TokenFile | FixedToken | CommandToken


@dataclass(frozen=True, slots=True)
class Access:
    """`server` is a URL; `ssl_context` None for plain HTTP; `namespace` is where we are, or where the context is.
    `authority` is the file whose certificates vouch for the server, when it may change."""

    server: str
    token: Token
    namespace: str
    ssl_context: ssl.SSLContext | None = None
    authority: Path | None = None

    def trust_anew(self) -> None:
        """The server's certificate was refused: trust what the authority's file holds now, too."""
        if self.ssl_context is not None and self.authority is not None:
            with suppress(OSError):  # ssl.SSLError is one: the next refusal tries again
                self.ssl_context.load_verify_locations(cafile=self.authority)


def find_access(kubeconfig: str | None, context: str | None, environment: Mapping[str, str]) -> Access:
    """Return the access that is named; else that of the pod we are in; else that of the user's kubeconfig.

    Raises ConfigurationError.
    """
    if kubeconfig is None and context is None and (SERVICE_ACCOUNT / "token").exists():
        return access_of_pod(SERVICE_ACCOUNT, environment)
    named = kubeconfig or environment.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")
    return access_of_kubeconfig(named, context)


def access_of_pod(folder: Path, environment: Mapping[str, str]) -> Access:
    """Return the access of a pod's service account, which is mounted at `folder`."""
    host, port = environment.get("KUBERNETES_SERVICE_HOST"), environment.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise ConfigurationError("there is a service account, and KUBERNETES_SERVICE_HOST is not set")
    try:
        namespace = (folder / "namespace").read_text().strip()
        trusted = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    except OSError as error:
        raise ConfigurationError(f"the service account in {folder} cannot be used: {error}") from error
    host = f"[{host}]" if ":" in host else host
    return Access(
        f"https://{host}:{port}", TokenFile(folder / "token"), namespace, trusted, authority=folder / "ca.crt"
    )


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
