"""The processes of one replica on one machine: together they have one state, and one of them samples hardware
and scrapes the engine.

A server with several worker processes is one replica. Each process keeps a file in a directory that they share,
held by a lock as long as it lives, with its own state in it. The replica runs while any of them does, and is
terminated with the last one; whoever changes the replica's state tells it. Without a directory that they can
share, each process speaks for itself.
"""

from __future__ import annotations

import hashlib
import logging
import os
import stat
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from endpoint_analytics.agents.core.config import AgentConfig
from endpoint_analytics.agents.core.file_lock import CAN_LOCK, FileLock, acquire, is_locked, locked
from endpoint_analytics.agents.core.lifecycle import may_follow
from endpoint_analytics.schemas.configuration.settings import read_text
from endpoint_analytics.schemas.replicas import State

logger = logging.getLogger("endpoint_analytics")

DOOR_WAIT_S = 0.5
ENDED: frozenset[State] = frozenset({"terminated", "failed"})

# The first of these that any living process is in is the replica's.
_RANK: tuple[State, ...] = ("running", "initializing", "draining", "pulling", "downloading", "pending")


def combined(states: Iterable[State]) -> State | None:
    """Return the state of a replica whose living processes are in `states`; None when none lives."""
    found = set(states)
    return next((state for state in _RANK if state in found), None)


class ProcessGroup:
    """One process's part, for the agent's boot `boot_id`. No method raises; the agent's thread calls all
    but `may_sample` and `may_scrape`, each of which is for one thread that samples.
    """

    def __init__(self, config: AgentConfig, boot_id: str) -> None:
        kafka = config.kafka
        names = (kafka.bootstrap_servers, kafka.topic_prefix, config.namespace, config.endpoint)
        identity = "\n".join((*names, config.replica_id))
        self._replica = hashlib.sha256(identity.encode()).hexdigest()[:24]
        self._boot_id = boot_id
        self._own: FileLock | None = None
        self._turns: dict[str, FileLock] = {}
        self._has_left = False
        self._directory = runtime_directory()

    def enter(self, state: State, at_us: int, reason: str) -> tuple[State, int, str] | None:
        """This process enters `state`; return what is to be told of the replica, and from when on, if anything.

        The times that are told of one replica rise from one to the next, whichever process tells them.
        """
        alone = (state, at_us, reason)
        if self._directory is None:
            return alone
        try:
            with locked(self._directory / "door", DOOR_WAIT_S):
                return self._enter(self._directory, state, at_us, reason)
        except OSError as error:
            logger.warning("the processes of this replica cannot meet in %s: %s", self._directory, error)
            self._directory = None
            return alone

    def may_sample(self) -> bool:
        """Return whether this process samples the hardware: the first that asks does, as long as it lives."""
        return self._may_take("sampler")

    def may_scrape(self) -> bool:
        """Return whether this process scrapes the engine: the first that asks does, as long as it lives."""
        return self._may_take("scraper")

    def _may_take(self, turn: str) -> bool:
        if self._directory is None or ((held := self._turns.get(turn)) is not None and held.is_held):
            return True
        if self._has_left:
            return False
        try:
            held = acquire(self._directory / f"{self._replica}.{turn}")
        except OSError:
            return True
        if held is None:
            return False
        self._turns[turn] = held
        return True

    def leave(self) -> None:
        """Let go of everything, as death would."""
        self._has_left = True
        for held in (*self._turns.values(), self._own):
            if held is not None:
                held.release()

    def _enter(self, directory: Path, state: State, at_us: int, reason: str) -> tuple[State, int, str] | None:
        others = self._others(directory)
        told_file = directory / f"{self._replica}.told"
        told, told_at_us = _read_told(told_file)
        if not others and self._own is None:
            told = None  # whoever told it is gone
        if state in ENDED:
            if self._own is not None:
                with suppress(FileNotFoundError):
                    self._own.path.unlink()
                self._own.release()
                self._own = None
        else:
            if self._own is None:
                self._own = acquire(directory / f"{self._replica}.{self._boot_id}")
            if self._own is not None:
                self._own.write(state)
        living = combined([*others, *([] if state in ENDED else [state])])
        now_in = state if living is None else living
        if now_in == told or not may_follow(told, now_in):
            return None
        at_us = max(at_us, told_at_us + 1)
        told_file.write_text(f"{now_in} {at_us}")
        # A reason is this process's own: it says something of the replica only when its state is this one's.
        return now_in, at_us, reason if now_in == state else ""

    def _others(self, directory: Path) -> list[State]:
        """Return the states of the living processes but this one, and forget the dead."""
        states: list[State] = []
        for path in directory.glob(f"{self._replica}.*"):
            boot_id = path.name.partition(".")[2]
            if boot_id in {"told", "sampler", "scraper", self._boot_id}:
                continue
            if is_locked(path):
                states += [state for state in _RANK if state == path.read_text()]
            else:
                path.unlink(missing_ok=True)
        return states


def runtime_directory() -> Path | None:
    """Return the directory where processes meet: as ENDPOINT_ANALYTICS_RUNTIME_DIRECTORY says, else one of this
    user's alone in the system's directory for temporary files. None when there can be none.
    """
    if not CAN_LOCK:
        return None
    named = read_text(os.environ, "runtime_directory")
    try:
        if named:
            directory = Path(named)
            directory.mkdir(parents=True, exist_ok=True)
            return directory
        directory = Path(tempfile.gettempdir()) / f"endpoint-analytics-{os.getuid()}"
        directory.mkdir(mode=0o700, exist_ok=True)
        found = directory.lstat()
    except OSError as error:
        logger.info("the processes of this replica have no directory to meet in: %s", error)
        return None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        logger.warning("%s is not this user's alone: each process speaks for itself", directory)
        return None
    return directory


def _read_told(path: Path) -> tuple[State | None, int]:
    with suppress(OSError, ValueError):
        name, _, at_us = path.read_text().partition(" ")
        return next((state for state in (*_RANK, *ENDED) if state == name), None), int(at_us)
    return None, 0
