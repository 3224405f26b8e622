"""Keeps parts running: starts each once the parts it needs are up, restarts it when it ends, stops all in order.

The parts themselves and the messages for users are defined elsewhere: the supervisor only emits reports. A start can
take long, so it runs in its own thread; all decisions are made in the thread that calls `tend`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from endpoint_analytics.infra.local.system.restart import RestartRule

ABANDON_S = 2.0
"""How long to wait for a start that was cancelled."""


class PartError(Exception):
    """A part did not start; the message ends with the last lines of its log."""


class Part(Protocol):
    """A supervised process. `name` is shown to users; `needs` names the parts that must be up first."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def needs(self) -> tuple[str, ...]: ...  # noqa: D102

    def start(self) -> str:
        """Start it, wait until it answers, and return its address; raises PartError."""
        ...

    def poll(self) -> int | None:
        """Return its exit status, or None while it runs."""
        ...

    def stop(self, timeout_s: float) -> None:
        """Stop it cleanly, or by force after `timeout_s`; returns when it has ended."""
        ...

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        ...

    def log_tail(self) -> str:
        """Return the last lines of its log."""
        ...


Event = Literal["starting", "up", "ended", "held", "given up", "stopped"]


@dataclass(frozen=True, slots=True)
class Report:
    """What happened to a part.

    `text` is its address, its status, or its error. `seconds` is how long it took or, for `ended`, the delay until it
    is restarted. A `held` part is restarted once the hold is over.
    """

    part: str
    event: Event
    text: str = ""
    seconds: float = 0.0


@dataclass(slots=True)
class _Watched:
    part: Part
    state: Literal["waiting", "starting", "up", "stopped"] = "waiting"
    not_before_s: float = 0.0
    since_s: float = 0.0
    failures: int = 0
    ever_up: bool = False
    thread: threading.Thread | None = None
    outcome: list[str | BaseException] = field(default_factory=list)


class GivenUpError(Exception):
    """A part failed too often; the message names it, and ends with its log."""


class Supervisor:
    """Supervises parts, in the given order; `report` is called in the thread that calls `tend`."""

    def __init__(
        self, parts: Sequence[Part], report: Callable[[Report], None], rule: RestartRule | None = None
    ) -> None:
        self._watched = {part.name: _Watched(part) for part in parts}
        self._report = report
        self._rule = rule or RestartRule()
        self.held = False
        """While true nothing is started, and a part that ends has not failed: the machine cannot run it (full disk)."""

    def add(self, parts: Sequence[Part]) -> None:
        """Supervise these parts too, after the existing ones."""
        self._watched |= {part.name: _Watched(part) for part in parts}

    @property
    def is_up(self) -> bool:
        """Whether every part is up."""
        return all(watched.state == "up" for watched in self._watched.values())

    def check(self, now_s: float) -> None:
        """Check every part once and do what is due, without blocking. Raises GivenUpError."""
        for watched in self._watched.values():
            if watched.state == "starting" and watched.outcome:
                self._came_up(watched, now_s)
            elif watched.state == "up" and (status := watched.part.poll()) is not None:
                self._ended(watched, now_s, f"ended with status {status}", watched.part.log_tail())
            due = watched.state == "waiting" and now_s >= watched.not_before_s and not self.held
            if due and self._has_needs(watched):
                self._start(watched, now_s)

    def stop(self, groups: Sequence[tuple[Sequence[str], float]]) -> None:
        """Stop the parts group by group; those of a group in parallel, each within the group's timeout."""
        for names, timeout_s in groups:
            threads = [
                threading.Thread(target=self._stop_one, args=(self._watched[name], timeout_s), daemon=True)
                for name in names
                if name in self._watched and self._watched[name].state in ("up", "starting")
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    @property
    def has_abandoned(self) -> bool:
        """Whether the thread of a cancelled start is still running."""
        threads = [watched.thread for watched in self._watched.values() if watched.thread is not None]
        return any(thread.is_alive() for thread in threads)

    def _has_needs(self, watched: _Watched) -> bool:
        return all(self._watched[name].state == "up" for name in watched.part.needs)

    def _start(self, watched: _Watched, now_s: float) -> None:
        watched.state, watched.since_s = "starting", now_s
        outcome: list[str | BaseException] = []
        watched.outcome = outcome
        self._report(Report(watched.part.name, "starting"))

        def start() -> None:
            try:
                outcome.append(watched.part.start())
            except OSError as error:
                outcome.append(PartError(f"{watched.part.name} cannot be started: {error}"))
            except BaseException as error:  # noqa: BLE001 - handled by the thread that calls `tend`
                outcome.append(error)

        watched.thread = threading.Thread(target=start, name=f"start-{watched.part.name}", daemon=True)
        watched.thread.start()

    def _came_up(self, watched: _Watched, now_s: float) -> None:
        outcome = watched.outcome[0]
        if isinstance(outcome, str):
            took_s = now_s - watched.since_s
            watched.state, watched.since_s, watched.ever_up = "up", now_s, True
            self._report(Report(watched.part.name, "up", outcome, took_s))
        elif not isinstance(outcome, PartError):
            raise outcome
        elif not watched.ever_up:
            watched.state = "stopped"
            raise GivenUpError(str(outcome))
        else:
            watched.since_s = now_s
            self._ended(watched, now_s, "did not start", str(outcome))

    def _ended(self, watched: _Watched, now_s: float, how: str, tail: str) -> None:
        name = watched.part.name
        watched.state = "waiting"
        if self.held:
            self._report(Report(name, "held", how))
            return
        # A part that ends because a part it needs is gone has not failed.
        if self._has_needs(watched):
            watched.failures = self._rule.count(watched.failures, now_s - watched.since_s)
        wait_s = self._rule.wait_s(max(1, watched.failures))
        if wait_s is None:
            watched.state = "stopped"
            self._report(Report(name, "given up", how))
            raise GivenUpError(
                f"{name} {how}, {watched.failures} times in a row. The last lines of its log:\n{tail}"
            )
        watched.not_before_s = now_s + wait_s
        self._report(Report(name, "ended", how, wait_s))

    def _stop_one(self, watched: _Watched, timeout_s: float) -> None:
        began_s = time.monotonic()
        if watched.state == "starting" and watched.thread is not None:
            watched.part.kill()
            watched.thread.join(ABANDON_S)
        watched.part.stop(timeout_s)
        watched.state = "stopped"
        self._report(Report(watched.part.name, "stopped", "", time.monotonic() - began_s))
