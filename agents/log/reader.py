"""The access log reader: follows lines, parses requests, makes batches, and sends them to Kafka in order.

It reads more only after Kafka has stored what was read, so nothing piles up in memory: the access log is the buffer.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from endpoint_analytics.agents.core.config import AgentConfig
from endpoint_analytics.agents.core.exclusion import is_excluded, path_of
from endpoint_analytics.agents.delivery.producer import Outgoing, Producer, TooLargeError
from endpoint_analytics.agents.log.batching import MAX_REQUESTS, next_batch, take
from endpoint_analytics.agents.log.files import UNREADABLE, Position
from endpoint_analytics.agents.log.following import Follower, LogLines
from endpoint_analytics.agents.log.formats import Parser
from endpoint_analytics.agents.log.logged import OTHER, OUTGOING, Logged, Other, Unfit
from endpoint_analytics.agents.log.position_file import (
    BOOT_US,
    PositionFile,
    SavedPosition,
    with_batch,
    with_lost_batch,
    with_new_boot,
    with_position,
)
from endpoint_analytics.schemas.codec import encode_requests
from endpoint_analytics.schemas.identity import partition_key
from endpoint_analytics.schemas.requests import Totals
from endpoint_analytics.schemas.topics import REQUESTS

logger = logging.getLogger("endpoint_analytics")

SHOWN_CHARACTERS = 300
RETRY_S = 1.0


class AccessLogReader:
    """Reads one access log: call `begin`, then `run` until `stop`, then `close`."""

    def __init__(
        self,
        config: AgentConfig,
        path: Path,
        parser: Parser,
        positions: PositionFile,
        producer: Producer,
        *,
        from_end: bool = True,
    ) -> None:
        self._config = config
        self._path = path
        self._parse = parser
        self._positions = positions
        self._producer = producer
        self._follower = Follower(path, positions.entry.position, from_end=from_end)
        self._unsent: deque[tuple[Logged | Other | None, LogLines, int]] = deque()
        self._topic = REQUESTS.name(config.kafka.topic_prefix)
        self._key = partition_key(config.namespace, config.endpoint, config.replica_id)
        self._excluded = frozenset(config.exclude_paths)
        self._has_shown = False
        self._trouble: set[str] = set()
        self._stopping = asyncio.Event()

    @property
    def totals(self) -> Totals:
        """The totals in the position file."""
        return self._positions.entry.state.totals

    def stop(self) -> None:
        """Stop after everything read so far has been sent."""
        self._stopping.set()

    async def begin(self) -> None:
        """Open the log and store the start position: everything written from here on is counted."""
        with self._log_errors():
            self._follower.open()
        await self._write(with_position(self._positions.entry, self._follower.position))

    async def run(self) -> None:
        """Resend the batch that was in flight when the last reader ended, then everything new."""
        entry = self._positions.entry
        if entry.message is not None:
            await self._send(entry.message)
        if now_us() - entry.boot_began_us > BOOT_US:
            await self._write(with_new_boot(self._positions.entry, now_us()))
            self._producer.forget_partition(self._topic, self._key)
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        while True:
            is_last = self._stopping.is_set()
            self._read()
            await self._send_batch()
            if self._unsent:
                continue
            if is_last:
                return
            due_s = max(due_s + self._config.flush_interval_s, loop.time())
            await _wait(self._stopping, due_s - loop.time())

    async def close(self) -> None:
        """Close the log, the position file and the Kafka connection."""
        self._follower.close()
        self._positions.close()
        await self._producer.close()

    def _read(self) -> None:
        with self._log_errors():
            while len(self._unsent) < MAX_REQUESTS:
                found = self._follower.poll(time.monotonic())
                if found is None:
                    break
                for line, end in zip(found.lines, found.ends, strict=True):
                    self._unsent.append((self._parsed(line), found, end))

    @contextmanager
    def _log_errors(self) -> Iterator[None]:
        """Log once that the access log cannot be read, and continue."""
        try:
            yield
        except UNREADABLE as error:
            self._complain("read", f"cannot read {self._path}, retrying: {error}")
        else:
            self._trouble.discard("read")

    def _parsed(self, line: bytes) -> Logged | Other | None:
        text = line.decode("utf-8", "replace")
        if not text.strip():
            return OTHER
        logged = self._parse(text)
        if logged is None or isinstance(logged, Unfit):
            if not self._has_shown:
                self._has_shown = True
                logger.warning(
                    "%s: a line does not match the format%s; others will only be counted: %.*s",
                    self._path,
                    f" ({logged.why})" if logged else "",
                    SHOWN_CHARACTERS,
                    text,
                )
            return None
        if logged is OUTGOING:
            self._complain(
                "outgoing",
                f"{self._path}: requests that the replica itself sends (upstream_cluster outbound) are not counted; "
                "for a gateway's log use --format istio-gateway",
            )
        if self._excluded and isinstance(logged, Logged) and self._is_excluded(logged):
            return OTHER
        return logged

    def _is_excluded(self, logged: Logged) -> bool:
        if logged.target is None:
            self._complain(
                "path", f"{self._path}: its lines have no path, so requests for exclude_paths are counted too"
            )
            return False
        return is_excluded(path_of(logged.target), self._excluded)

    async def _send_batch(self) -> None:
        """Send one batch: the next requests, or an empty one as a heartbeat."""
        at_us = now_us()
        requests, dropped, position = self._take(at_us)
        entry = self._positions.entry
        batch, state = next_batch(self._config, entry.state, requests, dropped, at_us)
        message = encode_requests(batch, self._config.request_encoding)
        partition = self._producer.partition(self._topic, self._key)
        await self._write(with_batch(entry, state, position, message, partition))
        await self._send(message)

    def _take(self, at_us: int) -> tuple[list[Logged], Counter[str], Position | None]:
        """Take the lines of the next batch; return their requests, dropped lines by reason, and the end position."""
        ahead = [logged for logged, _, _ in self._unsent if isinstance(logged, Logged)]
        wanted = take(ahead, at_us)
        requests: list[Logged] = []
        dropped = Counter[str]()
        position = None if self._unsent else self._follower.position
        last: tuple[LogLines, int] | None = None
        while self._unsent:
            logged, lines, end = self._unsent[0]
            if logged is None:
                dropped["unfit_line"] += 1
            elif isinstance(logged, Logged):
                if len(requests) == wanted:
                    break
                requests.append(logged)
            last = lines, end
            self._unsent.popleft()
        if last is not None:
            position = last[0].file.position(last[1])
        return requests, dropped, position

    async def _send(self, message: bytes) -> None:
        try:
            outgoing = Outgoing(self._key, message, self._positions.entry.partition)
            await self._producer.send(self._topic, outgoing)
        except TooLargeError as error:  # the broker has a limit below our batch size
            logger.warning("lost a batch that is too large for Kafka: %s", error)
            await self._write(with_lost_batch(self._positions.entry))

    async def _write(self, entry: SavedPosition) -> None:
        """Write the position file, retrying until it succeeds: nothing may be sent before."""
        while True:
            try:
                self._positions.write(entry)
            except OSError as error:
                self._complain("write", f"cannot write the position, retrying: {error}")
                await asyncio.sleep(RETRY_S)
            else:
                self._trouble.discard("write")
                return

    def _complain(self, about: str, what: str) -> None:
        if about not in self._trouble:
            self._trouble.add(about)
            logger.warning("%s", what)


def now_us() -> int:
    """Return microseconds since 1970."""
    return time.time_ns() // 1_000


async def _wait(event: asyncio.Event, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        pass
