"""A second, simplest possible fold: message by message, event by event, plain dicts, exact integers.

Only decoding is shared with the sources. Returns rows as `Worker.table.final()` does, except that pairs of
arrays (`x_codes` and `x_counts` ...) are dicts here; `comparable` brings stored rows into the same form.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from decimal import Decimal, localcontext
from itertools import count as numbers_from
from itertools import pairwise

from tests.pipeline.core.logs import Log
from tests.pipeline.core.worker import TABLES, Final, Values

from endpoint_analytics.schemas.codec import (
    decode_engine,
    decode_hardware,
    decode_outcomes,
    decode_replicas,
    decode_requests,
)
from endpoint_analytics.schemas.errors import InvalidMessageError

WINDOW_US = 10_000_000
RECENT = 16
LATE_US, EARLY_US = 48 * 3600 * 1_000_000, 60_000_000
DECODE = {
    "requests": decode_requests,
    "hardware": decode_hardware,
    "engine": decode_engine,
    "outcomes": decode_outcomes,
    "replicas": decode_replicas,
}

# In the order in which they apply at one instant: (phase, pending step, streaming step).
LIFE = (
    ("arrived", 1, 0),
    ("responded", -1, 1),
    ("aborted_pending", -1, 0),
    ("finished", 0, -1),
    ("aborted_streaming", 0, -1),
)

with localcontext() as _context:
    _context.prec = 60
    # Microseconds up to which the buckets of a native histogram of schema 6 reach, from 2^-20 s on.
    BOUNDS = [0] + [int(10**6 * Decimal(2) ** (Decimal(number - 1280) / 64)) for number in range(1, 2_512)]


def bucket_of(value_us: int) -> int:
    """Return the first bucket whose bound reaches the value."""
    return bisect_left(BOUNDS, value_us)


def number_bucket_of(value: int) -> int:
    """Return the bucket of tokens or bytes: 0 of 0, else the first 1 + i with 2^(i/64) at least the value."""
    if not value:
        return 0
    guess = max(64 * (value.bit_length() - 1) - 1, 0)
    return next(1 + i for i in numbers_from(guess) if 2**i >= value**64)


def seconds(time: int, digits: int) -> str:
    return f"{time // 10**digits}.{time % 10**digits:0{digits}d}"


class Reference:
    """Reads a whole log, one message after another."""

    def __init__(self, log: Log, partition: int = 0) -> None:
        self._log = log
        self._partition = partition
        self._boots: dict[tuple[str, ...], Values] = {}
        self._ends: dict[tuple[str, ...], dict[int, int]] = {}
        self._seqs: dict[tuple[str, ...], set[int]] = {}
        self.final: Final = {name: {} for name in TABLES}
        first = None
        for record in log.records:
            if (
                first is None
                or record.append_ms // log.rule.length_ms > first.append_ms // log.rule.length_ms
                or record.offset // log.rule.max_offsets > first.offset // log.rule.max_offsets
            ):
                first = record
            self._message(first, record)

    def _message(self, first, record) -> None:
        place = {"partition": self._partition, "chunk": first.offset}
        chunk = self._row(
            "chunks",
            {"stream": self._log.stream, **place},
            {
                "chunk_time": first.append_ms // 1000,
                "messages": 0,
                "events": 0,
                "duplicates": 0,
                "rejected": 0,
            },
        )
        chunk["version"], chunk["last_append"] = record.offset, seconds(record.append_ms, 3)
        chunk["messages"] += 1
        try:
            message = DECODE[self._log.stream](record.value)
            self._check_time(record, message)
            if self._log.stream == "replicas":
                chunk["events"] += self._replica_message(record, message)
            elif not self._is_new(message):
                chunk["duplicates"] += 1
                self._boot_row(place, first, record, message)
            elif self._log.stream in ("hardware", "engine"):
                chunk["events"] += self._samples(place, record, message)
                self._saw(message)
                self._boot_row(place, first, record, message)
            elif self._log.stream == "outcomes":
                chunk["events"] += self._outcomes(place, record, message)
                self._boot_row(place, first, record, message)
            else:
                try:
                    chunk["events"] += self._requests(place, record, message)
                finally:
                    self._boot_row(place, first, record, message)
        except InvalidMessageError as error:
            chunk["rejected"] += 1
            self._row(
                "rejected",
                {"topic": f"ea.{self._log.stream}", "partition": self._partition, "offset": record.offset},
                {
                    "append_time": seconds(record.append_ms, 3),
                    "reason": error.reason,
                    "value_bytes": len(record.value or b""),
                },
            )

    def _row(self, table: str, key: Values, new: Values) -> Values:
        names, _ = TABLES[table]
        return self.final[table].setdefault(tuple(key[name] for name in names), {**key, **new})

    def _check_time(self, record, message) -> None:
        start_us = getattr(message, "start_us", None) or message.at_us
        end_us = getattr(message, "end_us", None) or message.at_us
        if end_us > record.append_ms * 1000 + EARLY_US:
            raise InvalidMessageError("too_early", "")
        if start_us < record.append_ms * 1000 - LATE_US:
            raise InvalidMessageError("too_late", "")

    # Boots

    def _key(self, message) -> tuple[str, ...]:
        return (message.namespace, message.endpoint, message.replica_id, message.boot_id)

    def _names(self, message) -> Values:
        return dict(zip(("namespace", "endpoint", "replica_id", "boot_id"), self._key(message), strict=True))

    def _boot(self, message) -> Values:
        counted = (
            "batches duplicates arrived finished aborted_pending aborted_streaming latency_sum_us ttfb_count"
            " ttfb_sum_us pending streaming oldest_pending_us last_seq agent_arrived agent_finished"
            " agent_aborted_pending agent_aborted_streaming agent_latency_sum_us agent_ttfb_sum_us"
        )
        new = dict.fromkeys(counted.split(), 0) | {
            "first_at": None,
            "last_at": seconds(0, 6),
            "status": Counter(),
            "agent_status": {},
            "dropped": {},
            "dropped_batch": {},
            "stepped_back": 0,
            "copies": 0,
            "conflicts": 0,
            "copy_of": "",
            "begin_seq": 0,
            "inherited": "",
        }
        return self._boots.setdefault(self._key(message), new)

    def _is_new(self, message) -> bool:
        boot, seqs = self._boot(message), self._seqs.setdefault(self._key(message), set())
        if message.seq in seqs:
            boot["duplicates"] += 1
            return False
        ends = self._ends.setdefault(self._key(message), {})
        if not seqs or message.seq > max(seqs):
            known = [ends[seq] for seq in sorted(ends) if seq >= max(seqs, default=0) + 1 - RECENT]
            boot["stepped_back"] |= bool(known and message.end_us < known[-1])
        ends[message.seq] = message.end_us
        seqs.add(message.seq)
        boot["batches"] += 1
        return True

    def _saw(self, message) -> bool:
        boot = self._boot(message)
        if boot["first_at"] is None or message.start_us < boot["first_at"]:
            boot["first_at"] = message.start_us
        if message.seq < boot["last_seq"]:
            return False
        boot["last_seq"], boot["last_at"] = message.seq, seconds(message.end_us, 6)
        return True

    def _boot_row(self, place: Values, first, record, message) -> None:
        boot, seqs = self._boot(message), self._seqs[self._key(message)]
        missing = sorted(set(range(max(seqs))) - seqs)
        starts = [seq for seq in missing if seq - 1 not in missing]
        ends = [seq + 1 for seq in missing if seq + 1 not in missing]
        key = {"stream": self._log.stream, **self._names(message), **place}
        row = self._row("boot_states", key, {})
        row.update(
            {name: dict(value) if isinstance(value, dict) else value for name, value in boot.items()}
            | {
                "version": record.offset,
                "chunk_time": first.append_ms // 1000,
                "next_seq": max(seqs) + 1,
                "gap_starts": starts,
                "gap_ends": ends,
                "missing": len(missing),
                "first_at": seconds(boot["first_at"] or 0, 6),
                "recent_ends": [
                    self._ends[self._key(message)].get(s, 0)
                    for s in range(max(max(seqs) + 1 - RECENT, 0), max(seqs) + 1)
                ],
                "last_append": seconds(record.append_ms, 3),
            }
        )
        self.final["boots"][tuple(key[name] for name in TABLES["boots"][0])] = row

    # Requests

    def _requests(self, place: Values, record, batch) -> int:
        length_us = batch.end_us - batch.start_us
        events = []  # (time, order at one instant, phase, duration or None, status or None)
        for order, phase in enumerate([*(name for name, _, _ in LIFE), "informational"]):
            columns = getattr(batch, phase)
            spans = getattr(columns, "wait_us", None) or getattr(columns, "duration_us", None)
            statuses = getattr(columns, "status", None)
            for i, at_us in enumerate(columns.at_us):
                if at_us > length_us:
                    raise InvalidMessageError("out_of_interval", "")
                time_us = batch.start_us + min(at_us, max(length_us - 1, 0))
                span_us = spans[i] if spans else None
                events.append((time_us, order, phase, span_us, statuses[i] if statuses else None))
        events.sort(key=lambda event: event[:2])

        levels = [(batch.start_us, batch.pending, batch.streaming)]
        steps = {phase: (pending, streaming) for phase, pending, streaming in LIFE}
        for time_us, _, phase, _, _ in events:
            pending, streaming = steps.get(phase, (0, 0))
            levels.append((time_us, levels[-1][1] + pending, levels[-1][2] + streaming))
        if any(pending < 0 or streaming < 0 for _, pending, streaming in levels):
            raise InvalidMessageError("not_conserved", "")

        windows = range(
            batch.start_us // WINDOW_US, (batch.start_us + max(length_us - 1, 0)) // WINDOW_US + 1
        )
        for window in windows:
            self._window(place, record, batch, window, levels, window == windows[-1])
        for time_us, _, phase, span_us, status in events:
            self._event(place, batch, time_us // WINDOW_US, phase, span_us, status)

        boot = self._boot(batch)
        for _, _, phase, span_us, status in events:
            if phase in ("responded", "informational"):
                boot["status"][status] += 1
            if phase == "responded":
                boot["ttfb_count"] += 1
                boot["ttfb_sum_us"] += span_us
            elif phase != "informational":
                boot[phase] += 1
            if phase == "finished":
                boot["latency_sum_us"] += span_us
        if self._saw(batch):
            totals = batch.totals
            boot |= {
                "pending": levels[-1][1],
                "streaming": levels[-1][2],
                "oldest_pending_us": batch.oldest_pending_us,
                "agent_arrived": totals.arrived,
                "agent_finished": totals.finished,
                "agent_aborted_pending": totals.aborted_pending,
                "agent_aborted_streaming": totals.aborted_streaming,
                "agent_status": {int(status): count for status, count in totals.status.items()},
                "agent_latency_sum_us": totals.duration_us,
                "agent_ttfb_sum_us": totals.wait_us,
                "dropped": totals.dropped,
                "dropped_batch": totals.dropped_batches,
            }
        return len(events)

    def _window_row(self, place: Values, batch, window: int) -> Values:
        counted = (
            "version arrived finished aborted_pending aborted_streaming pending_request_us pending_max"
            " streaming_request_us streaming_max active_max oldest_pending_us latency_count latency_sum_us"
            " latency_max_us ttfb_count ttfb_sum_us ttfb_max_us covered_to_us pending_last streaming_last"
            " latency_min_us ttfb_min_us"
        )
        new = dict.fromkeys(counted.split(), 0)
        new |= {name: Counter() for name in ("status", "latency", "ttfb")}
        key = {**self._names(batch), "window_start": window * 10, **place}
        return self._row("request_windows", key, {**new, "covered_from_us": math.inf})

    def _window(self, place: Values, record, batch, window: int, levels, is_last: bool) -> None:
        row = self._window_row(place, batch, window)
        from_us = max(batch.start_us, window * WINDOW_US)
        to_us = min(batch.end_us, (window + 1) * WINDOW_US)
        before = [level for level in levels if level[0] // WINDOW_US < window] or [levels[0]]
        inside = [level for level in levels if level[0] // WINDOW_US == window]
        course = [(from_us, *before[-1][1:]), *inside]
        for (start_us, pending, streaming), (end_us, _, _) in pairwise([*course, (to_us, 0, 0)]):
            row["pending_request_us"] += pending * (end_us - start_us)
            row["streaming_request_us"] += streaming * (end_us - start_us)
        row["pending_max"] = max(row["pending_max"], *(level[1] for level in course))
        row["streaming_max"] = max(row["streaming_max"], *(level[2] for level in course))
        row["active_max"] = max(row["active_max"], *(level[1] + level[2] for level in course))
        row["version"] = record.offset
        row["covered_from_us"] = min(row["covered_from_us"], from_us - window * WINDOW_US)
        if to_us - window * WINDOW_US >= row["covered_to_us"]:
            row["covered_to_us"] = to_us - window * WINDOW_US
            row["pending_last"], row["streaming_last"] = course[-1][1:]
        if is_last:
            row["oldest_pending_us"] = max(row["oldest_pending_us"], batch.oldest_pending_us)

    def _event(self, place: Values, batch, window: int, phase: str, span_us, status) -> None:
        row = self._window_row(place, batch, window)
        if phase in ("responded", "informational"):
            row["status"][status] += 1
        if phase not in ("responded", "informational"):
            row[phase] += 1
        name = {"responded": "ttfb", "finished": "latency"}.get(phase)
        if name:
            least = row[f"{name}_min_us"] if row[f"{name}_count"] else span_us
            row[f"{name}_min_us"] = min(least, span_us)
            row[f"{name}_max_us"] = max(row[f"{name}_max_us"], span_us)
            row[f"{name}_count"] += 1
            row[f"{name}_sum_us"] += span_us
            row[name][bucket_of(span_us)] += 1

    # Hardware, engine, replicas

    def _devices(self, batch):
        if self._log.stream == "engine":
            return [("", {"engine": batch.engine}, batch.readings)]
        devices = [("", {"device_uuid": "", "device_name": ""}, batch.replica)]
        devices += [
            (gpu.device, {"device_uuid": gpu.uuid, "device_name": gpu.name}, gpu.readings)
            for gpu in batch.accelerators
        ]
        return devices

    def _samples(self, place: Values, record, batch) -> int:
        samples = [
            (device, about, metric, batch.start_us + at_us, round(reading * 1000))
            for device, about, readings in self._devices(batch)
            for metric, column in readings.items()
            for at_us, reading in zip(batch.at_us, column, strict=True)
            if reading is not None
        ]
        for device, about, metric, time_us, reading in samples:
            key = {
                **self._names(batch),
                "device": device,
                "metric": metric,
                "window_start": time_us // WINDOW_US * 10,
                **place,
            }
            row = self._row(f"{self._log.stream}_windows", key, {**about, "all": []})
            row["version"] = record.offset
            row["all"].append((time_us, reading))
            measured = [reading for _, reading in row["all"]]
            last_us = max(time_us for time_us, _ in row["all"])
            row |= {
                "samples": len(measured),
                "sum": sum(measured) / 1000,
                "min": min(measured) / 1000,
                "max": max(measured) / 1000,
                "last": [reading for time_us, reading in row["all"] if time_us == last_us][-1] / 1000,
                "last_at": seconds(last_us, 6),
            }
        return len(samples)

    # Outcomes

    def _outcomes(self, place: Values, record, batch) -> int:
        last_us = max(batch.end_us - 1, batch.start_us)
        rows = batch.outcomes
        for i, at_us in enumerate(rows.at_us):
            window = min(batch.start_us + at_us, last_us) // WINDOW_US
            row = self._outcome_row(place, record, batch, window, rows.slice[i])
            values = {
                name: (getattr(rows, name) or [None] * len(rows.at_us))[i] for name in rows.__struct_fields__
            }
            self._outcome(row, values)
        for number, bucket, count in zip(batch.gaps.slice, batch.gaps.bucket, batch.gaps.count, strict=True):
            row = self._outcome_row(place, record, batch, last_us // WINDOW_US, number)
            row["itl"][bucket] += count
            row["itl_count"] += count
        for number, sample in enumerate(batch.samples):
            of = batch.slices[sample.slice]
            names = ("why", "of", "ended", "status", "duration_us", "wait_us", "first_token_us", "last_token_us",
                     "gap_max_us", "events", "input_tokens", "output_tokens", "request_bytes", "response_bytes",
                     "request_id", "trace_id")  # fmt: skip
            key = {
                **self._names(batch),
                "at": seconds(batch.start_us + sample.at_us, 6),
                "partition": self._partition,
                "offset": record.offset,
                "number": number,
            }
            told = {"route": of.route, "model": of.model, "caller": of.caller, "streamed": int(of.streamed)}
            self._row("request_samples", key, told | {name: getattr(sample, name) for name in names})
        boot = self._boot(batch)
        boot["finished"] += len(rows.at_us)
        if self._saw(batch):
            totals = batch.totals
            boot |= {"agent_finished": totals.requests, "dropped": totals.dropped}
        return len(rows.at_us)

    def _outcome_row(self, place: Values, record, batch, window: int, number: int) -> Values:
        of = batch.slices[number]
        key = {
            **self._names(batch),
            "window_start": window * 10,
            "route": of.route,
            "model": of.model,
            "caller": of.caller,
            "streamed": int(of.streamed),
            "input_upto": of.input_upto,
            **place,
        }
        sketches = ("latency", "first_byte", "ttft", "tpot", "stall", "itl", "input_tokens", "output_tokens",
                    "request_bytes", "response_bytes")  # fmt: skip
        new = dict.fromkeys(["complete", "cut", "error", "aborted", "estimated", "itl_sum_us"], 0)
        for name in (*sketches, "events", "cached_tokens", "reasoning_tokens"):
            new |= {f"{name}_count": 0, f"{name}_sum_us" if name in sketches[:6] else f"{name}_sum": 0}
        new |= {f"{name}_max_us": 0 for name in ("latency", "ttft", "stall")}
        new |= {name: Counter() for name in ("status", *sketches)}
        row = self._row("outcome_windows", key, new)
        row["version"] = record.offset
        return row

    def _outcome(self, row: Values, of) -> None:
        row[of["ended"]] += 1
        row["estimated"] += of["estimated"] or 0
        if of["status"] is not None:
            row["status"][of["status"]] += 1
        first, last, tokens = of["first_token_us"], of["last_token_us"], of["output_tokens"]
        tpot = None
        if first is not None and last is not None and last >= first:
            row["itl_sum_us"] += last - first
            if tokens is not None and tokens > 1:
                tpot = (last - first) // (tokens - 1)
        times = {"latency": of["duration_us"], "first_byte": of["first_byte_us"], "ttft": first, "tpot": tpot,
                 "stall": of["gap_max_us"]}  # fmt: skip
        for name, value in times.items():
            if value is not None:
                row[f"{name}_count"] += 1
                row[f"{name}_sum_us"] += value
                row[name][bucket_of(value)] += 1
                if f"{name}_max_us" in row:
                    row[f"{name}_max_us"] = max(row[f"{name}_max_us"], value)
        for name in ("input_tokens", "output_tokens", "request_bytes", "response_bytes", "events", "cached_tokens",
                     "reasoning_tokens"):  # fmt: skip
            if of[name] is not None:
                row[f"{name}_count"] += 1
                row[f"{name}_sum"] += of[name]
                if name in row:
                    row[name][number_bucket_of(of[name])] += 1

    def _replica_message(self, record, message) -> int:
        row = {
            "namespace": message.namespace,
            "endpoint": message.endpoint,
            "at": seconds(message.at_us, 6),
            "partition": self._partition,
            "offset": record.offset,
        }
        if hasattr(message, "state"):
            if message.at_us // 1000 > record.append_ms:
                row["at"] = seconds(record.append_ms * 1000 + 999, 6)
            row |= {"replica_id": message.replica_id, "state": message.state, "reason": message.reason}
            self._row("replica_events", row, {}).update(row)
        else:
            row |= {"min_replicas": message.min_replicas, "max_replicas": message.max_replicas}
            self._row("endpoint_settings", row, {}).update(row)
        return 1


def reference(log: Log) -> Final:
    """Return the final rows of the log, in the form of `comparable`."""
    final = Reference(log).final
    for table in ("hardware_windows", "engine_windows"):
        for row in final[table].values():
            del row["all"]
    for row in final["outcome_windows"].values():
        row |= {
            name: dict(sorted(found.items())) for name, found in row.items() if isinstance(found, Counter)
        }
    return final


PAIRS = (
    ("status", "status_codes", "status_counts"),
    ("agent_status", "agent_status_codes", "agent_status_counts"),
    ("latency", "latency_buckets", "latency_counts"),
    ("ttfb", "ttfb_buckets", "ttfb_counts"),
    *(
        (name, f"{name}_buckets", f"{name}_counts")
        for name in (
            "first_byte",
            "ttft",
            "tpot",
            "stall",
            "itl",
            "input_tokens",
            "output_tokens",
            "request_bytes",
            "response_bytes",
        )
    ),
    ("dropped", "dropped_reasons", "dropped_counts"),
    ("dropped_batch", "dropped_batch_reasons", "dropped_batch_counts"),
)


def comparable(final: Final) -> Final:
    """Return stored rows with pairs of arrays as dicts, and without the texts of errors."""
    return {
        table: {key: _comparable(values) for key, values in rows.items()} for table, rows in final.items()
    }


def _comparable(values: Values) -> Values:
    row = {name: value for name, value in values.items() if name != "detail"}
    for name, keys, counts in PAIRS:
        if keys in row:
            pairs = list(zip(row.pop(keys), row.pop(counts), strict=True))
            row[name] = dict(pairs)
            assert len(row[name]) == len(pairs)
    return row
