"""The access log reader's position file: how far it has read, and the batch that it is sending. One small file.

The order of writes makes every line count once. A batch is written here, with the position after its lines, before it
is sent; the next one is written only after Kafka has stored it. After a crash, the batch in it is sent again
unchanged, with its sequence number: the worker counts each number once. After a day a new boot starts, before the
worker may have forgotten which numbers it has seen.

Values that an older version wrote and that a message does not allow are clamped when read: the worker refused that
batch, so it is repaired and sent again.
"""

from __future__ import annotations

import logging
import os
import zlib
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import orjson
from msgspec.structs import replace

from endpoint_analytics.agents.core.clamp import status_in_range, totals_in_range
from endpoint_analytics.agents.core.config import AgentConfig, ConfigurationError
from endpoint_analytics.agents.core.file_lock import FileLock, acquire
from endpoint_analytics.agents.log.batching import ReaderState
from endpoint_analytics.agents.log.files import Position
from endpoint_analytics.schemas.codec import decode_requests
from endpoint_analytics.schemas.errors import InvalidMessageError
from endpoint_analytics.schemas.requests import Totals

logger = logging.getLogger("endpoint_analytics")

BOOT_US = 24 * 3_600 * 1_000_000
VERSION = 2


class SavedPosition(msgspec.Struct, frozen=True):
    """The position file's content. `message` is the batch before `state.next_seq`, sent or not; None at the start."""

    version: int
    owner: str
    state: ReaderState = msgspec.field(name="book")  # its name in the file
    boot_began_us: int
    position: Position | None = None
    message: bytes | None = None
    partition: int | None = None
    """Of Kafka, where the boot's batches are; None before the first one is stored."""


class PositionFile:
    """The file at `path`, with a lock file next to it for a single reader. Raises ConfigurationError if unusable."""

    def __init__(self, path: Path, config: AgentConfig, now_us: int) -> None:
        self._path = path
        self._owner = f"{config.namespace}/{config.endpoint}/{config.replica_id}/{config.kafka.topic_prefix}"
        try:
            self._lock: FileLock | None = acquire(path.with_name(f"{path.name}.lock"))
            self.entry = self._read(now_us)
            if self._lock is not None:
                self.write(self.entry)
        except OSError as error:
            raise ConfigurationError(
                f"cannot store the position in {path}: {error}. Choose another file with --position"
            ) from error
        if self._lock is None:
            raise ConfigurationError(f"another log reader uses {path}: choose another file with --position")

    def _read(self, now_us: int) -> SavedPosition:
        try:
            entry = decode_entry(self._path.read_bytes())
        except FileNotFoundError:
            return SavedPosition(VERSION, self._owner, ReaderState(uuid4().hex), now_us)
        except ValueError as error:
            raise ConfigurationError(
                f"{self._path} is damaged, so the read position is unknown: {error}. Remove it to start at the log's "
                "end (lines written meanwhile are not counted), or with --from start (lines counted before are "
                "counted twice)"
            ) from error
        if entry.version != VERSION or entry.owner != self._owner:
            raise ConfigurationError(
                f"{self._path} holds the position of {entry.owner} (version {entry.version}), "
                f"but this reader is {self._owner}. Choose another file with --position"
            )
        return entry

    def write(self, entry: SavedPosition) -> None:
        """Replace the content, durably even across a power loss; raises OSError."""
        new = self._path.with_name(f"{self._path.name}.new")
        with os.fdopen(
            os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb"
        ) as file:
            file.write(encode_entry(entry))
            file.flush()
            os.fsync(file.fileno())
        new.rename(self._path)
        directory = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        self.entry = entry

    def close(self) -> None:
        """Release the lock, so that another reader can take over."""
        if self._lock is not None:
            self._lock.release()


def encode_entry(entry: SavedPosition) -> bytes:
    """Return the file's content: a line of JSON, and its CRC-32 (zlib's) in hexadecimal."""
    line = msgspec.json.encode(entry)
    return b"%s\n%08x\n" % (line, zlib.crc32(line))


def decode_entry(content: bytes) -> SavedPosition:
    """Return the entry in a file's content, clamped; raises ValueError if the content was altered."""
    line, _, rest = content.partition(b"\n")
    if rest != b"%08x\n" % zlib.crc32(line):
        raise ValueError("checksum mismatch")
    try:
        entry = msgspec.json.decode(line, type=SavedPosition)
    except msgspec.ValidationError:
        entry = msgspec.convert(_repaired(orjson.loads(line), "book"), type=SavedPosition)
    try:
        if entry.message is not None:
            decode_requests(entry.message)
    except InvalidMessageError as error:
        repaired = _repaired_message(entry.message or b"")
        what = "it is lost" if repaired is None else "sending it again repaired"
        logger.warning("the last batch had values that are out of range; %s: %s", what, error)
        return replace(entry, message=repaired)
    return entry


def _repaired_message(message: bytes) -> bytes | None:
    """Return the batch with its values in range, None if it cannot be repaired."""
    try:
        batch = _repaired({"batch": orjson.loads(message)}, "batch")["batch"]
        for phase in ("informational", "responded", "finished"):
            column = batch.get(phase, {}).get("status", [])
            column[:] = [status_in_range(status) for status in column]
        repaired = orjson.dumps(batch)
        decode_requests(repaired)
    except (ValueError, TypeError, AttributeError, KeyError):
        return None
    return repaired


def _repaired(found: dict[str, Any], holder: str) -> dict[str, Any]:
    """Return the object with the totals of its member `holder` in range; raises ValueError if it has none."""
    try:
        totals = totals_in_range(Totals(**found[holder].get("totals", {})))
    except (TypeError, AttributeError, KeyError) as error:
        raise ValueError(f"its totals are invalid: {error!r}") from error
    return {**found, holder: {**found[holder], "totals": msgspec.to_builtins(totals)}}


def with_batch(
    entry: SavedPosition,
    state: ReaderState,
    position: Position | None,
    message: bytes,
    partition: int | None = None,
) -> SavedPosition:
    """Return the entry to write before `message` is sent; `partition` is where the boot's earlier ones are."""
    where = entry.partition if partition is None else partition
    return SavedPosition(
        VERSION, entry.owner, state, entry.boot_began_us, position or entry.position, message, where
    )


def with_position(entry: SavedPosition, position: Position | None) -> SavedPosition:
    """Return the entry for reading from `position`, unless it already has a position."""
    return entry if entry.position is not None else replace(entry, position=position)


def with_lost_batch(entry: SavedPosition) -> SavedPosition:
    """Return the entry after its batch was dropped as too large for Kafka."""
    totals = entry.state.totals
    lost = {**totals.dropped_batches, "too_large": totals.dropped_batches.get("too_large", 0) + 1}
    state = replace(entry.state, totals=replace(totals, dropped_batches=lost))
    return replace(entry, state=state, message=None)


def with_new_boot(entry: SavedPosition, now_us: int) -> SavedPosition:
    """Return the entry of a new boot that continues where the old one ended, whose last batch must be stored."""
    return SavedPosition(
        VERSION,
        entry.owner,
        ReaderState(uuid4().hex, end_us=entry.state.end_us),
        now_us,
        entry.position,
        None,
    )
