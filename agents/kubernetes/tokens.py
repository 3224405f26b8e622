"""Sources of the API server token: a file that changes, a command, or a fixed value.

A pod's token file is updated about once an hour.
Source: https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins
"""

from __future__ import annotations

import asyncio
import os
import ssl
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import msgspec

READ_AGAIN_S = 10.0
EXEC_WITHIN_S = 30.0


class AccessError(Exception):
    """No token is available now; the message says why."""


@dataclass(slots=True)
class TokenFile:
    """A token in a file that is updated from time to time."""

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
        """The server refused the token: read the file again on next use."""
        self._token = ""


@dataclass(slots=True)
class FixedToken:
    """A token that never changes; empty for none."""

    token: str = field(default="", repr=False)

    async def read(self) -> str:
        """Return the token."""
        return self.token

    def refuse(self) -> None:
        """Do nothing: there is no other token."""


@dataclass(slots=True)
class CommandToken:
    """A token from a command, or a certificate that is loaded into `ssl_context`, as cloud providers use.

    `exec_info` is passed to the command (client.authentication.k8s.io ExecCredential).
    """

    words: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    exec_info: Mapping[str, object]
    ssl_context: ssl.SSLContext | None = None
    hint: str = ""
    _token: str = field(default="", repr=False)
    _until_s: float = 0.0
    _running: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def read(self) -> str:
        """Return the token (empty with a certificate); raises AccessError.

        Runs the command if there is no token, or it expires within a minute.
        """
        async with self._running:  # once for all callers
            if time.time() > self._until_s - 60:
                self._token, self._until_s = self._taken(await self._run())
            return self._token

    def refuse(self) -> None:
        """The server refused it: run the command again on next use."""
        self._until_s = 0.0

    def _taken(self, found: _ExecStatus) -> tuple[str, float]:
        if found.certificate and found.key:
            if self.ssl_context is None:
                raise AccessError(
                    f"{self.words[0]} returned a certificate, but the server is reached over plain HTTP"
                )
            try:
                load_certificate(self.ssl_context, found.certificate.encode(), found.key.encode())
            except OSError as error:
                raise AccessError(
                    f"{self.words[0]} returned a certificate that cannot be used: {error}"
                ) from error
        elif not found.token:
            raise AccessError(f"{self.words[0]} returned no token and no certificate")
        return found.token, float("inf") if found.until is None else found.until.timestamp()

    async def _run(self) -> _ExecStatus:
        environment = {
            **os.environ,
            **self.environment,
            "KUBERNETES_EXEC_INFO": msgspec.json.encode(self.exec_info).decode(),
        }
        try:
            process = await asyncio.create_subprocess_exec(
                *self.words, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, env=environment
            )
        except OSError as error:
            hint = f": {self.hint}" if self.hint else ""
            raise AccessError(f"{self.words[0]}: {error.strerror}{hint}") from error
        try:
            async with asyncio.timeout(EXEC_WITHIN_S):
                output, _ = await process.communicate()
        except TimeoutError as error:
            raise AccessError(f"{self.words[0]} returned no token within {EXEC_WITHIN_S:g} s") from error
        finally:
            with suppress(ProcessLookupError):
                process.kill()
        try:
            return msgspec.json.decode(output, type=_ExecCredential).status
        except msgspec.DecodeError as error:
            raise AccessError(
                f"{self.words[0]} exited with status {process.returncode} and returned no token"
            ) from error


class _ExecStatus(msgspec.Struct):
    token: str = ""
    certificate: str = msgspec.field(default="", name="clientCertificateData")
    key: str = msgspec.field(default="", name="clientKeyData")
    until: datetime | None = msgspec.field(default=None, name="expirationTimestamp")


class _ExecCredential(msgspec.Struct):
    status: _ExecStatus


def load_certificate(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """Present the certificate on new connections; raises OSError (which includes ssl.SSLError)."""
    with tempfile.TemporaryDirectory() as name:  # the ssl module loads them only from files
        both = Path(name) / "both.pem"
        both.touch(mode=0o600)
        both.write_bytes(certificate + b"\n" + key)
        context.load_cert_chain(both)


Token = TokenFile | FixedToken | CommandToken
