"""The states of replicas over time, from their events and their agents' lifetimes. Pure: no SQL, no clock.

The rules are those of `presence`, applied at every moment instead of now: an event determines the state; without
events, the agent's heartbeat does; and if an agent should be reporting but is silent for longer than the heartbeat
timeout, the replica has failed until it reports again.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from endpoint_analytics.pipeline.store.presence import ENDED, Presence
from endpoint_analytics.schemas.identity import UNASSIGNED
from endpoint_analytics.schemas.replicas import ShownState, State

_WITH_AGENT = frozenset({"initializing", "running", "draining"})
FOREVER = float("inf")
REPORTING, SILENT = "its agent is reporting", "its agent is silent"
LATE = "the pipeline is late"


@dataclass(frozen=True, slots=True)
class Event:
    """A replica entered `state`."""

    at_s: float
    state: State
    reason: str


@dataclass(frozen=True, slots=True)
class AgentLife:
    """One boot of an agent: from its first interval to the newest message that the broker appended."""

    first_s: float
    last_s: float


@dataclass(frozen=True, slots=True)
class Span:
    """A time in a state; `to_s` is FOREVER if it is the current one."""

    state: ShownState
    from_s: float
    to_s: float
    reason: str
    inferred: bool

    @property
    def seconds(self) -> float | None:
        """Return its duration, or None for the current state."""
        return None if self.to_s == FOREVER else self.to_s - self.from_s


def spans_of(
    replica: str, events: Sequence[Event], lives: Sequence[AgentLife], presence: Presence, now_s: float
) -> tuple[Span, ...]:
    """Return the replica's spans in order of time, without overlap; `events` must be in order, `lives` need not be.

    Unassigned requests have none.
    """
    if replica == UNASSIGNED:
        return ()
    heartbeat_s = presence.heartbeat.total_seconds()
    alive = _united((life.first_s, life.last_s + heartbeat_s) for life in lives)
    events = _start_with_boot(events, lives, heartbeat_s)
    if not events:
        found = _heard(alive, alive[0][0] if alive else 0.0, FOREVER, "running", REPORTING, True)
    else:
        found = []
        if alive and alive[0][0] < events[0].at_s:
            found += _heard(alive, alive[0][0], events[0].at_s, "running", REPORTING, True)
        ends = [event.at_s for event in events[1:]] + [FOREVER]
        firsts_s, lasts_s = [first_s for first_s, _ in alive], [last_s for _, last_s in alive]
        first_agent_s = firsts_s[0] if alive else FOREVER
        reporting_from_s = _first_reports(lives)
        for event, end_s in zip(events, ends, strict=True):
            heard = alive[bisect_right(lasts_s, event.at_s) : bisect_left(firsts_s, end_s)]
            agent_s = reporting_from_s(event.at_s) if event.state == "initializing" else first_agent_s
            found += _spans_of_event(event, end_s, heard, agent_s, presence)
    # A state reported just now counts, a silence that begins just now does not yet.
    begun = [
        span
        for span in found
        if span.from_s < span.to_s
        and (span.from_s < now_s or (span.from_s == now_s and span.reason != SILENT))
    ]
    if begun and begun[-1].to_s >= now_s:
        begun[-1] = replace(begun[-1], to_s=FOREVER)
    return _joined(begun)


def _start_with_boot(
    events: Sequence[Event], lives: Sequence[AgentLife], heartbeat_s: float
) -> Sequence[Event]:
    """Return the events, with `initializing` moved back to the start of the boot that reported it.

    An agent records from its first moment but reports its state a little later; before that it was not running.
    """
    begun = sorted(lives, key=lambda life: life.first_s)
    moved: list[Event] = []
    for event in events:
        after_s = max(moved[-1].at_s if moved else 0.0, event.at_s - heartbeat_s)
        index = bisect_left(begun, event.at_s, key=lambda life: life.first_s) - 1
        life = begun[index] if event.state == "initializing" and index >= 0 else None
        # A boot that was silent by then did not report it: its container was restarted.
        is_its_own = life is not None and life.last_s >= event.at_s and life.first_s > after_s
        moved.append(replace(event, at_s=life.first_s) if life is not None and is_its_own else event)
    return moved


def _first_reports(lives: Sequence[AgentLife]) -> Callable[[float], float]:
    """Return a function from a moment to the start of the first boot that reported at or after it, else FOREVER."""
    by_last = sorted(lives, key=lambda life: life.last_s)
    firsts_s = list(accumulate((life.first_s for life in reversed(by_last)), min, initial=FOREVER))[::-1]
    return lambda moment_s: firsts_s[bisect_left(by_last, moment_s, key=lambda life: life.last_s)]


def _spans_of_event(
    event: Event, end_s: float, heard: Sequence[tuple[float, float]], agent_s: float, presence: Presence
) -> list[Span]:
    """Divide the time until the next event. `heard` are the times in it when an agent reported, the first of those that
    matter from `agent_s` on: for `initializing`, an agent that had reported before it belongs to an earlier life."""
    if event.state in ENDED:
        return [Span(event.state, event.at_s, end_s, event.reason, False)]
    if event.state not in _WITH_AGENT or agent_s >= end_s:
        # It has no agent yet, so silence means nothing; without another event for a day, it is gone.
        waits_to_s = max(
            [event.at_s + presence.waiting.total_seconds(), *(last_s for _, last_s in heard[-1:])]
        )
        return [Span(event.state, event.at_s, min(end_s, waits_to_s), event.reason, False)]
    granted_s = max(event.at_s + presence.heartbeat.total_seconds(), agent_s)
    cover = _united([*heard, (event.at_s, min(granted_s, end_s))])
    return _heard(cover, event.at_s, end_s, event.state, event.reason, False)


def _heard(
    alive: Sequence[tuple[float, float]],
    from_s: float,
    to_s: float,
    state: State,
    reason: str,
    inferred: bool,
) -> list[Span]:
    """Divide [from_s, to_s) into the state, while the agent reported, and `failed`, while it was silent."""
    spans: list[Span] = []
    at_s = from_s
    for first_s, last_s in alive:
        first_s, last_s = max(first_s, at_s), min(last_s, to_s)  # noqa: PLW2901 - the part inside
        if first_s >= last_s:
            continue
        spans += [Span("failed", at_s, first_s, SILENT, True), Span(state, first_s, last_s, reason, inferred)]
        at_s = last_s
    return [*spans, Span("failed", at_s, to_s, SILENT, True)]


def _united(time_ranges: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    united: list[tuple[float, float]] = []
    for first_s, last_s in sorted(time_ranges):
        if united and first_s <= united[-1][1]:
            united[-1] = (united[-1][0], max(united[-1][1], last_s))
        else:
            united.append((first_s, last_s))
    return united


def _joined(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Return the spans, with adjacent equal ones merged."""
    joined: list[Span] = []
    for span in spans:
        last = joined[-1] if joined else None
        if last is not None and last.to_s == span.from_s and _same(last, span):
            joined[-1] = replace(last, to_s=span.to_s, reason=last.reason or span.reason)
        else:
            joined.append(span)
    return tuple(joined)


def _same(one: Span, other: Span) -> bool:
    """Whether both are one state, reported twice (by a load balancer and the agent, say), with at most one reason."""
    reasons = {one.reason, other.reason} - {""}
    return (one.state, one.inferred) == (other.state, other.inferred) and len(reasons) < 2


def unknown_from(spans: Sequence[Span], since_s: float, why: str = LATE) -> tuple[Span, ...]:
    """Return the spans up to `since_s`, followed by `unknown` with the given reason."""
    known = (replace(span, to_s=min(span.to_s, since_s)) for span in spans if span.from_s < since_s)
    return (*known, Span("unknown", since_s, FOREVER, why, True))


def ready_seconds(spans: Sequence[Span]) -> float | None:
    """Return the time from the first span of the newest start to its first running one; None if that is unknown.

    A start begins after a reported end, since a name may be used again; silence is no end. If its first span is
    running, nobody said when it was asked for.
    """
    ends = [span.state in ENDED and not span.inferred for span in spans]
    began = max((at for at in range(1, len(spans)) if ends[at - 1] and not ends[at]), default=0)
    first_run = next((span for span in spans[began:] if span.state == "running"), None)
    if first_run is None or first_run is spans[began]:
        return None
    return first_run.from_s - spans[began].from_s


class RunningCount:
    """How many replicas run at each moment."""

    def __init__(self, spans: Iterable[Span]) -> None:
        changes: dict[float, int] = {}
        for span in spans:
            if span.state == "running":
                changes[span.from_s] = changes.get(span.from_s, 0) + 1
                changes[span.to_s] = changes.get(span.to_s, 0) - 1
        self._at_s = sorted(changes)
        self._running = [0]
        for at_s in self._at_s:
            self._running.append(self._running[-1] + changes[at_s])

    def at(self, moment_s: float) -> int:
        """Return the number of running replicas at the moment, including one that starts exactly then."""
        return self._running[bisect_right(self._at_s, moment_s)]
