"""The oracle of all end-to-end tests: compares what agents accepted with what ClickHouse stores, without tolerance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from endpoint_analytics.infra.fleet.truth import OutcomeCounts
from endpoint_analytics.pipeline.core.boots import BootKey
from endpoint_analytics.pipeline.store.connect import Client
from endpoint_analytics.schemas.requests import Totals

Compare = Callable[[BootKey, str, object, object], None]


@dataclass(frozen=True, slots=True)
class Accepted:
    """What one boot of an agent accepted, and which part of it was given up and counted as dropped.

    `totals` are the agent's own. `lost` is the part of them in batches that the agent dropped (zero
    unless a fault made it drop some). `windows` are counts of requests by (window start in s, phase), if the
    test knows them.
    """

    totals: Totals
    lost: Totals = field(default_factory=Totals)
    windows: Mapping[tuple[int, str], int] | None = None
    outcomes: OutcomeCounts | None = None
    """Those in outcome batches that were not given up, if the test knows them."""


# Data that copies of a process sent under its boot is counted under separate boots (`boot~2`): added to the boot here.
_BOOT = "splitByChar('~', boot_id)[1] AS boot"

_BOOTS = f"""
SELECT namespace, endpoint, replica_id, {_BOOT}, sum(arrived), sum(finished), sum(aborted_pending),
    sum(aborted_streaming), sumMap(status_codes, status_counts) AS status, status.1, status.2,
    sum(ttfb_sum_us), sum(latency_sum_us)
FROM boots FINAL WHERE stream = 'requests' AND namespace = {{namespace:String}}
GROUP BY namespace, endpoint, replica_id, boot
"""

_WINDOWS = f"""
SELECT namespace, endpoint, replica_id, {_BOOT}, sum(arrived), sum(finished), sum(aborted_pending),
    sum(aborted_streaming), sumMap(status_codes, status_counts), sum(ttfb_sum_us), sum(latency_sum_us),
    arraySum(sumMap(latency_buckets, latency_counts).2), arraySum(sumMap(ttfb_buckets, ttfb_counts).2),
    sum(latency_count), sum(ttfb_count)
FROM request_windows FINAL WHERE namespace = {{namespace:String}}
GROUP BY namespace, endpoint, replica_id, boot
"""

_OUTCOMES = f"""
SELECT namespace, endpoint, replica_id, {_BOOT}, sum(complete + cut + error + aborted), sum(input_tokens_sum),
    sum(output_tokens_sum), sum(itl_count), sum(latency_sum_us), sum(latency_count),
    arraySum(sumMap(latency_buckets, latency_counts).2), arraySum(sumMap(itl_buckets, itl_counts).2),
    arraySum(sumMap(input_tokens_buckets, input_tokens_counts).2)
FROM outcome_windows FINAL WHERE namespace = {{namespace:String}}
GROUP BY namespace, endpoint, replica_id, boot
"""

_OUTCOME_BOOTS = f"""
SELECT namespace, endpoint, replica_id, {_BOOT}, sum(finished)
FROM boots FINAL WHERE stream = 'outcomes' AND namespace = {{namespace:String}}
GROUP BY namespace, endpoint, replica_id, boot
"""

_PHASES = f"""
SELECT namespace, endpoint, replica_id, {_BOOT}, toUnixTimestamp(window_start), sum(arrived), sum(finished),
    sum(aborted_pending), sum(aborted_streaming)
FROM request_windows FINAL WHERE namespace = {{namespace:String}}
GROUP BY namespace, endpoint, replica_id, boot, window_start
"""


def differences(client: Client, namespace: str, accepted: Mapping[BootKey, Accepted]) -> list[str]:
    """Return every difference between what was accepted, minus what was counted as dropped, and what is stored.

    An empty list means that each event is in ClickHouse exactly once, in the boots' cumulative counts, in the
    windows and in the sketches.
    """
    found: list[str] = []

    def compare(where: BootKey, what: str, stored: object, expected: object) -> None:
        if stored != expected:
            found.append(f"{'/'.join(where)}: {what} is {stored}, should be {expected}")

    parameters = {"namespace": namespace}
    boots = {BootKey(*row[:4]): row[4:] for row in client.query(_BOOTS, parameters=parameters).result_rows}
    windows = {
        BootKey(*row[:4]): row[4:] for row in client.query(_WINDOWS, parameters=parameters).result_rows
    }
    found.extend(
        f"{'/'.join(key)}: stored, but unknown to all agents" for key in boots.keys() - accepted.keys()
    )
    for key, truth in accepted.items():
        if key not in boots:
            if _less(truth.totals, truth.lost) != Totals():
                found.append(f"{'/'.join(key)}: not stored at all")
            continue
        expected = _less(truth.totals, truth.lost)
        arrived, finished, pending, streaming, _, codes, counts, wait_us, duration_us = boots[key]
        for what, stored, due in (
            ("arrived", arrived, expected.arrived),
            ("finished", finished, expected.finished),
            ("aborted_pending", pending, expected.aborted_pending),
            ("aborted_streaming", streaming, expected.aborted_streaming),
            ("statuses", _counts(codes, counts), expected.status),
            ("ttfb_sum_us", wait_us, expected.wait_us),
            ("latency_sum_us", duration_us, expected.duration_us),
        ):
            compare(key, what, stored, due)
        if truth.totals != Totals() and key not in windows and expected != Totals():
            found.append(f"{'/'.join(key)}: not in the windows")
        if key in windows:
            row = windows[key]
            finals = sum(count for status, count in expected.status.items() if int(status) >= 200)
            for what, stored, due in (
                ("windows' arrived", row[0], expected.arrived),
                ("windows' finished", row[1], expected.finished),
                ("windows' aborted_pending", row[2], expected.aborted_pending),
                ("windows' aborted_streaming", row[3], expected.aborted_streaming),
                ("windows' statuses", _counts(*row[4]), expected.status),
                ("windows' ttfb_sum_us", row[5], expected.wait_us),
                ("windows' latency_sum_us", row[6], expected.duration_us),
                ("latency sketch", row[7], expected.finished),
                ("ttfb sketch", row[8], finals),
                ("latency_count", row[9], expected.finished),
                ("ttfb_count", row[10], finals),
            ):
                compare(key, what, stored, due)
    _compare_windows(client, parameters, accepted, compare)
    _compare_outcomes(client, parameters, accepted, compare)
    return sorted(found)


def _compare_windows(
    client: Client, parameters: dict[str, str], accepted: Mapping[BootKey, Accepted], compare: Compare
) -> None:
    if not any(truth.windows is not None for truth in accepted.values()):
        return
    stored: dict[BootKey, Counter[tuple[int, str]]] = {}
    for row in client.query(_PHASES, parameters=parameters).result_rows:
        counts = stored.setdefault(BootKey(*row[:4]), Counter())
        for phase, count in zip(
            ("arrived", "finished", "aborted_pending", "aborted_streaming"), row[5:], strict=True
        ):
            if count:
                counts[row[4], phase] += count
    for key, truth in accepted.items():
        if truth.windows is not None:
            expected = {window: count for window, count in truth.windows.items() if count}
            compare(key, "counts by window", dict(stored.get(key, {})), expected)


def _compare_outcomes(
    client: Client, parameters: dict[str, str], accepted: Mapping[BootKey, Accepted], compare: Compare
) -> None:
    if all(truth.outcomes is None for truth in accepted.values()):
        return
    windows, boots = (
        {BootKey(*row[:4]): row[4:] for row in client.query(query, parameters=parameters).result_rows}
        for query in (_OUTCOMES, _OUTCOME_BOOTS)
    )
    for key, truth in accepted.items():
        due = truth.outcomes
        if due is None:
            continue
        requests, read, written, gaps, duration_us, *sketches = windows.get(key, (0,) * 9)
        for what, stored, expected in (
            ("outcomes' requests", requests, due.requests),
            ("outcomes' input tokens", read, due.input_tokens),
            ("outcomes' output tokens", written, due.output_tokens),
            ("outcomes' gaps", gaps, due.gaps),
            ("outcomes' latency_sum_us", duration_us, due.duration_us),
            ("outcomes' sketches", sketches, [due.requests, due.requests, due.gaps, due.requests]),
            ("outcomes' boot", boots.get(key, (0,))[0], due.requests),
        ):
            compare(key, what, stored, expected)


def _counts(codes: Sequence[int], counts: Sequence[int]) -> dict[str, int]:
    return {str(code): count for code, count in zip(codes, counts, strict=True) if count}


def _less(totals: Totals, lost: Totals) -> Totals:
    status = Counter(totals.status)
    status.subtract(lost.status)
    return Totals(
        arrived=totals.arrived - lost.arrived,
        finished=totals.finished - lost.finished,
        aborted_pending=totals.aborted_pending - lost.aborted_pending,
        aborted_streaming=totals.aborted_streaming - lost.aborted_streaming,
        status={code: count for code, count in status.items() if count},
        wait_us=totals.wait_us - lost.wait_us,
        duration_us=totals.duration_us - lost.duration_us,
    )
