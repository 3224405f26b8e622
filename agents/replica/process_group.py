"""The process group: the processes of one replica on one machine share one state, and one of them samples hardware
and scrapes the serving engine.

A server with several worker processes is one replica. Each process keeps a file with its own state in a shared
directory, and locks it while it lives. The replica runs while any process runs, and is terminated with the last one;
the process that changes the replica's state reports it. Without a shared directory, each process reports for itself.
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
from endpoint_analytics.agents.core.file_lock import (
    CAN_LOCK,
    FileLock,
    LockHeldError,
    acquire,
    is_locked,
    locked,
)
from endpoint_analytics.agents.core.lifecycle import may_follow
from endpoint_analytics.schemas.configuration.config_file import our_environment
from endpoint_analytics.schemas.configuration.settings import ConfigurationError, read_text
from endpoint_analytics.schemas.replicas import State

logger = logging.getLogger("endpoint_analytics")

LOCK_WAIT_S = 0.5
ENDED: frozenset[State] = frozenset({"terminated", "failed"})

# The replica's state is the first of these that any live process is in.
_RANK: tuple[State, ...] = ("running", "initializing", "draining", "pulling", "downloading", "pending")

# Files of the directory: one lock for all replicas, and for each replica its last report, its roles and its processes.
_LOCK = "lock"
_REPORTED, _SAMPLER, _SCRAPER = "reported", "sampler", "scraper"


def combined(states: Iterable[State]) -> State | None:
    """Return the state of a replica whose live processes are in `states`; None if there are none."""
    found = set(states)
    return next((state for state in _RANK if state in found), None)


class ProcessGroup:
    """One process's membership, for the agent's boot `boot_id`. Only `enter` raises: LockHeldError.

    The agent's thread calls all methods except `may_sample` and `may_scrape`; each of those is called by one sampling
    thread.
    """

    def __init__(self, config: AgentConfig, boot_id: str) -> None:
        kafka = config.kafka
        names = (kafka.bootstrap_servers, kafka.topic_prefix, config.namespace, config.endpoint)
        identity = "\n".join((*names, config.replica_id))
        self._replica = hashlib.sha256(identity.encode()).hexdigest()[:24]
        self._boot_id = boot_id
        self._own: FileLock | None = None
        self._roles: dict[str, FileLock] = {}
        self._own_state = ""
        self._has_left = False
        self._directory = runtime_directory()

    def enter(
        self, state: State, at_us: int, reason: str, *, is_last_try: bool = False
    ) -> tuple[State, int, str] | None:
        """This process enters `state`; return the replica's new state, its time and reason to report, if any.

        Reported times strictly increase for one replica, whichever process reports them. Raises LockHeldError if
        another process keeps the lock for long (it may have been stopped meanwhile): nothing has changed then, so try
        again. The last try does without the lock instead.
        """
        alone = (state, at_us, reason)
        if self._directory is None:
            return alone
        try:
            if not self._make_directory_again():
                return alone
            try:
                with locked(self._directory / _LOCK, LOCK_WAIT_S):
                    return self._enter(self._directory, state, at_us, reason)
            except LockHeldError:
                if not is_last_try:
                    raise
                return self._enter(self._directory, state, at_us, reason)
        except (OSError, ValueError) as error:
            logger.warning("the processes of this replica cannot share %s: %s", self._directory, error)
            self._directory = None
            return alone

    def may_sample(self) -> bool:
        """Return whether this process samples hardware: the first process to ask does, while it lives."""
        return self._may_take(_SAMPLER)

    def may_scrape(self) -> bool:
        """Return whether this process scrapes the serving engine: the first process to ask does, while it lives."""
        return self._may_take(_SCRAPER)

    def _may_take(self, role: str) -> bool:
        if self._directory is None or ((held := self._roles.get(role)) is not None and held.is_held):
            return True
        if self._has_left:
            return False
        try:
            held = acquire(self._directory / f"{self._replica}.{role}")
        except OSError:
            return True
        if held is None:
            return False
        self._roles[role] = held
        return True

    def keep_files(self) -> bool:
        """Keep this process's files from being removed by age, as files in /tmp are, and make missing ones again.

        Returns whether its own file was missing: others may have taken it for dead, so `enter` its state again. Call it
        every minute or so, in the thread that calls `enter`.
        """
        if self._directory is None or self._has_left:
            return False
        with suppress(OSError):
            if not self._make_directory_again():
                return False
            os.utime(self._directory / _LOCK)
            os.utime(self._directory / f"{self._replica}.{_REPORTED}")
        for role, held in list(self._roles.items()):
            if held.is_held and not held.touch():
                # The next call that asks for the role takes it again.
                self._roles.pop(role, None)
                held.release()
        if self._own is None or self._own.touch():
            return False
        self._own.release()
        with suppress(OSError):
            self._own = acquire(self._own.path)
            if self._own is not None:
                self._own.write(self._own_state)
        return True

    def _make_directory_again(self) -> bool:
        """Make the shared directory again if it was removed; returns whether there is one. Raises OSError."""
        if self._directory is not None and not self._directory.exists():
            self._directory = runtime_directory()
        return self._directory is not None

    def leave(self) -> None:
        """Release all locks, as if the process had died."""
        self._has_left = True
        for held in (*self._roles.values(), self._own):
            if held is not None:
                held.release()

    def _enter(self, directory: Path, state: State, at_us: int, reason: str) -> tuple[State, int, str] | None:
        others = self._others(directory)
        reported_file = directory / f"{self._replica}.{_REPORTED}"
        reported, reported_at_us = _read_reported(reported_file)
        is_new = not others and self._own is None
        if is_new or (reported in ENDED and state not in ENDED):
            reported = None  # the process that reported it is gone, or did not see that this one lives
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
                self._own_state = state
        group_state = combined([*others, *([] if state in ENDED else [state])])
        new_state = state if group_state is None else group_state
        if new_state == reported or not may_follow(reported, new_state):
            return None
        at_us = max(at_us, reported_at_us + 1)
        reported_file.write_text(f"{new_state} {at_us}")
        # The reason is about this process: it applies to the replica only if the replica has this process's state.
        return new_state, at_us, reason if new_state == state else ""

    def _others(self, directory: Path) -> list[State]:
        """Return the states of the other live processes, and delete the files of dead ones."""
        states: list[State] = []
        for path in directory.glob(f"{self._replica}.*"):
            boot_id = path.name.partition(".")[2]
            if boot_id in {_REPORTED, _SAMPLER, _SCRAPER, self._boot_id}:
                continue
            if is_locked(path):
                states += [state for state in _RANK if state == path.read_text(errors="replace")]
            else:
                path.unlink(missing_ok=True)
        return states


def runtime_directory() -> Path | None:
    """Return the directory that processes share: ENDPOINT_ANALYTICS_RUNTIME_DIRECTORY, else one private to this user
    in the system's temporary directory. None if neither is possible.
    """
    if not CAN_LOCK:
        return None
    try:
        named = read_text(our_environment(), "runtime_directory")
        if named:
            directory = Path(named)
            directory.mkdir(parents=True, exist_ok=True)
            return directory
        directory = Path(tempfile.gettempdir()) / f"endpoint-analytics-{os.getuid()}"
        directory.mkdir(mode=0o700, exist_ok=True)
        found = directory.lstat()
    except (OSError, ConfigurationError) as error:  # the configuration file may just be edited
        logger.info("the processes of this replica have no directory to share: %s", error)
        return None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        logger.warning("%s is not private to this user: each process reports for itself", directory)
        return None
    return directory


def _read_reported(path: Path) -> tuple[State | None, int]:
    with suppress(OSError, ValueError):
        name, _, at_us = path.read_text().partition(" ")
        return next((state for state in (*_RANK, *ENDED) if state == name), None), int(at_us)
    return None, 0
