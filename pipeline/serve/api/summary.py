"""The figures of a whole range: summary, replicas, timeline, scale events. Pure; a share of nothing is None."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from endpoint_analytics.pipeline.serve.api.columns import aborted, of_class
from endpoint_analytics.pipeline.serve.api.models import (
    AbortedShare,
    Bar,
    ClassCount,
    Conflict,
    Distribution,
    Loss,
    Paused,
    Replica,
    ScaleEvent,
    StateSpan,
    Summary,
)
from endpoint_analytics.pipeline.store.conflicts import BatchConflict
from endpoint_analytics.pipeline.store.losses import LostRequests
from endpoint_analytics.pipeline.store.paused_partitions import PausedPartition
from endpoint_analytics.pipeline.store.series import RequestStep
from endpoint_analytics.pipeline.store.series_replicas import KnownReplica, Replicas
from endpoint_analytics.pipeline.store.series_states import FOREVER, RunningCount, Span, ready_seconds

MAX_EVENTS = 2000
Quantiles = tuple[float, ...] | None


def summary_of(step: RequestStep | None, latency: Quantiles, ttfb: Quantiles) -> Summary:
    """Return the summary of one step that spans the whole range; `step` is None if there is no data."""
    classes = [(f"{each}xx", of_class(step, each) if step else 0) for each in (2, 3, 4, 5)]
    final = sum(count for _, count in classes)
    lost = aborted(step) if step else 0
    ended = lost + (step.finished if step else 0)
    return Summary(
        covered=step is not None,
        arrived=step.arrived if step else 0,
        final=final,
        informational=of_class(step, 1) if step else 0,
        classes=[ClassCount(name, count, count / final if final else None) for name, count in classes],
        statuses={str(status): count for status, count in sorted(step.status.items())} if step else {},
        aborted=AbortedShare(lost, step.aborted_pending if step else 0, lost / ended if ended else None),
        latency=_distribution(step, "latency", latency),
        ttfb=_distribution(step, "ttfb", ttfb),
        pending_mean=step.pending_request_us / step.covered_us if step and step.covered_us else None,
        pending_max=step.pending_max if step else None,
        oldest_pending=step.oldest_pending_us / 1e6 if step else None,
    )


def _distribution(
    step: RequestStep | None, which: Literal["latency", "ttfb"], quantiles: Quantiles
) -> Distribution:
    if step is None:
        return Distribution(0, None, None, None, None, None, None)
    count, total_us, most_us = (
        (step.latency_count, step.latency_sum_us, step.latency_max_us)
        if which == "latency"
        else (step.ttfb_count, step.ttfb_sum_us, step.ttfb_max_us)
    )
    if not count:
        return Distribution(0, None, None, None, None, None, None)
    p50, p90, p95, p99 = quantiles or (None, None, None, None)
    return Distribution(count, total_us / count / 1e6, p50, p90, p95, p99, most_us / 1e6)


def replicas_of(replicas: Replicas, replica: str) -> list[Replica]:
    """Return the replicas of the range, by id."""
    return [
        Replica(
            each.replica,
            each.state,
            each.unknown_since_s,
            each.unknown_reason,
            each.first_s,
            each.last_s,
            each.boots,
            each.copies,
            each.conflicts,
            each.pending,
        )
        for each in replicas.replicas
        if replica in ("", each.replica)
    ]


def timeline_of(replicas: Replicas, replica: str, from_s: float, to_s: float) -> list[Bar]:
    """Return a bar for each replica with a state, by start time; spans outside the range are left out."""
    bars = []
    for each in replicas.replicas:
        inside = [span for span in each.spans if span.from_s < to_s and span.to_s > from_s]
        if inside and replica in ("", each.replica):
            bars.append(Bar(each.replica, [_state_span(span) for span in inside], ready_seconds(each.spans)))
    return sorted(bars, key=lambda bar: (bar.states[0].from_, bar.replica))


def losses_of(losses: Sequence[LostRequests]) -> list[Loss] | None:
    """Return what was lost in the range, or None if nothing was."""
    return [
        Loss(each.replica, each.from_s, each.to_s, each.requests, each.batches, dict(each.reasons))
        for each in losses
    ] or None


def conflicts_of(conflicts: Sequence[BatchConflict]) -> list[Conflict] | None:
    """Return the batches of the range that are in no figure, or None if there are none."""
    return [
        Conflict(each.replica, each.stream, each.from_s, each.to_s, each.batches) for each in conflicts
    ] or None


def paused_of(paused: Sequence[PausedPartition]) -> list[Paused]:
    """Return the paused partitions."""
    return [
        Paused(each.stream, each.partition, each.since_ms / 1e3, each.reason, each.command) for each in paused
    ]


def _state_span(span: Span) -> StateSpan:
    to_s = None if span.to_s == FOREVER else span.to_s
    return StateSpan(span.state, span.from_s, to_s, span.seconds, span.reason, span.inferred)


def events_of(replicas: Replicas, replica: str, from_s: float, to_s: float) -> list[ScaleEvent]:
    """Return the newest MAX_EVENTS setting changes and replica state changes, by time."""
    running = RunningCount(span for each in replicas.replicas for span in each.spans)
    events = [
        ScaleEvent(
            setting.at_s,
            "settings",
            None,
            None,
            "",
            setting.min_replicas,
            setting.max_replicas,
            running.at(setting.at_s),
        )
        for setting in replicas.settings
        if from_s <= setting.at_s < to_s
    ]
    for each in replicas.replicas:
        if replica in ("", each.replica):
            events += [
                _entered(each, span, replicas, running)
                for span in each.spans
                if from_s <= span.from_s < to_s and span.state != "unknown"
            ]
    return sorted(events, key=lambda event: event.at)[-MAX_EVENTS:]


def _entered(replica: KnownReplica, span: Span, replicas: Replicas, running: RunningCount) -> ScaleEvent:
    setting = replicas.in_force(span.from_s)
    return ScaleEvent(
        span.from_s,
        "state",
        replica.replica,
        span.state,
        span.reason,
        setting.min_replicas if setting else None,
        setting.max_replicas if setting else None,
        running.at(span.from_s),
    )
