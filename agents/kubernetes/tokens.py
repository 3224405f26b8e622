"""Where the token comes from that opens the API server: a file that changes, a command, or a fixed one.

A pod's token is changed in its file about once an hour.
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
    """A token that a command prints, or a certificate that it loads into `ssl_context`, as clouds have it.

    `asked` is what the command is told (client.authentication.k8s.io ExecCredential).
    """

    words: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    asked: Mapping[str, object]
    ssl_context: ssl.SSLContext | None = None
    hint: str = ""
    _token: str = field(default="", repr=False)
    _until_s: float = 0.0
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def read(self) -> str:
        """Return the token, empty where a certificate stands for it, from the command when there is none or it ends
        within a minute; raises AccessError."""
        async with self._asking:  # once, for all that need it
            if time.time() > self._until_s - 60:
                self._token, self._until_s = self._taken(await self._ask())
            return self._token

    def refuse(self) -> None:
        """The server refused it: ask the command at the next need."""
        self._until_s = 0.0

    def _taken(self, found: _ExecStatus) -> tuple[str, float]:
        if found.certificate and found.key:
            if self.ssl_context is None:
                raise AccessError(
                    f"{self.words[0]} gave a certificate, and the server is asked over plain HTTP"
                )
            try:
                load_certificate(self.ssl_context, found.certificate.encode(), found.key.encode())
            except OSError as error:
                raise AccessError(
                    f"{self.words[0]} gave a certificate that cannot be used: {error}"
                ) from error
        elif not found.token:
            raise AccessError(f"{self.words[0]} gave no token and no certificate")
        return found.token, float("inf") if found.until is None else found.until.timestamp()

    async def _ask(self) -> _ExecStatus:
        environment = {
            **os.environ,
            **self.environment,
            "KUBERNETES_EXEC_INFO": msgspec.json.encode(self.asked).decode(),
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
                said, _ = await process.communicate()
        except TimeoutError as error:
            raise AccessError(f"{self.words[0]} gave no token within {EXEC_WITHIN_S:g} s") from error
        finally:
            with suppress(ProcessLookupError):
                process.kill()
        try:
            return msgspec.json.decode(said, type=_ExecCredential).status
        except msgspec.DecodeError as error:
            raise AccessError(f"{self.words[0]} ended with {process.returncode} and gave no token") from error


class _ExecStatus(msgspec.Struct):
    token: str = ""
    certificate: str = msgspec.field(default="", name="clientCertificateData")
    key: str = msgspec.field(default="", name="clientKeyData")
    until: datetime | None = msgspec.field(default=None, name="expirationTimestamp")


class _ExecCredential(msgspec.Struct):
    status: _ExecStatus


def load_certificate(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """Show the certificate with new connections; raises OSError (ssl.SSLError is one)."""
    with tempfile.TemporaryDirectory() as name:  # the ssl module takes them from files alone
        both = Path(name) / "both.pem"
        both.touch(mode=0o600)
        both.write_bytes(certificate + b"\n" + key)
        context.load_cert_chain(both)


Token = TokenFile | FixedToken | CommandToken
