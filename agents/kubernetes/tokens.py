"""Where the token comes from that opens the API server: a file that changes, a command, or a fixed one.

A pod's token is changed in its file about once an hour.
Source: https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins
"""

from __future__ import annotations

import asyncio
import os
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
    """A token that a command prints, as clouds have it (client.authentication.k8s.io ExecCredential)."""

    words: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    api_version: str
    _token: str = field(default="", repr=False)
    _until_s: float = 0.0
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def read(self) -> str:
        """Return the token, from the command when there is none or it ends within a minute; raises AccessError."""
        async with self._asking:  # once, for all that need it
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
