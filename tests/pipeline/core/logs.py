"""Kafka logs of one partition, from a seed: several boots with duplicate, late, lost, dishonest or broken batches.

Hypothesis draws the log's sizes and the seed, so that a failing log shrinks.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass

import msgspec
from hypothesis import strategies as st

from endpoint_analytics.pipeline.core.chunks import ChunkRule, Record
from endpoint_analytics.schemas.codec import encode, encode_requests
from endpoint_analytics.schemas.engine import EngineBatch
from endpoint_analytics.schemas.hardware import Accelerator, HardwareBatch
from endpoint_analytics.schemas.limits import MAX_AMOUNT, MAX_DURATION_US
from endpoint_analytics.schemas.outcomes import (
    Gaps,
    OutcomeBatch,
    Outcomes,
    OutcomeTotals,
    SampledRequest,
    Slice,
)
from endpoint_analytics.schemas.replicas import STATES, EndpointSettings, ReplicaState
from endpoint_analytics.schemas.requests import (
    Aborted,
    Arrived,
    Finished,
    Informational,
    RequestBatch,
    Responded,
    Totals,
)

START_US = 1_790_000_000_000_000
LENGTHS_US = (0, 1, 7, 400_000, 1_000_000, 1_000_000, 3_000_000, 10_000_000, 12_000_000, 25_000_000)
ENDS = ("complete", "cut", "error", "aborted")
DAY_US = 86_400_000_000


@dataclass(frozen=True)
class Log:
    """Records of one partition and the rule that divides them into chunks."""

    stream: str
    rule: ChunkRule
    records: list[Record]

    def after(self, offset: int) -> list[Record]:
        """Return the records from `offset` on."""
        return [record for record in self.records if record.offset >= offset]


class Replica:
    """One boot of a replica that serves requests and reports them in honest batches."""

    def __init__(self, rng: random.Random, number: int, start_us: int) -> None:
        self._rng = rng
        self._names = {
            "namespace": "acme",
            "endpoint": f"llm-{number % 2}",
            "replica_id": f"r{number // 2}",
            "boot_id": f"b{number}",
        }
        # Many intervals begin or end with a window.
        self._now_us = start_us + rng.choice([0, rng.randrange(30) * 1_000_000, rng.randrange(30_000_000)])
        self._seq = 0
        self._pending: list[int] = []
        self._streaming: list[int] = []
        self._sums = Counter[str]()
        self._status = Counter[str]()

    def request_batch(self) -> RequestBatch:
        rng = self._rng
        length_us = rng.choice(LENGTHS_US)
        start_us = self._now_us
        pending, streaming = len(self._pending), len(self._streaming)
        phases: dict[str, list[tuple[int, ...]]] = {
            name: []
            for name in (
                "arrived",
                "informational",
                "responded",
                "finished",
                "aborted_pending",
                "aborted_streaming",
            )
        }
        for at_us in sorted(self._moment(length_us) for _ in range(rng.randrange(12))):
            self._event(phases, start_us + at_us, at_us)
        self._now_us = start_us + length_us
        if rng.random() < 0.1:  # the agent's clock is set
            self._now_us += rng.randrange(-20_000_000, 20_000_000)
        for column in phases.values():
            rng.shuffle(column)
        seq, self._seq = self._seq, self._seq + 1
        return RequestBatch(
            **self._names,
            seq=seq,
            start_us=start_us,
            end_us=start_us + length_us,
            pending=pending,
            streaming=streaming,
            oldest_pending_us=rng.randrange(10_000_000) if self._pending else 0,
            arrived=Arrived([at_us for (at_us,) in phases["arrived"]]),
            informational=Informational(*_columns(phases["informational"], 2)),
            responded=Responded(*_columns(phases["responded"], 3)),
            finished=Finished(*_columns(phases["finished"], 3)),
            aborted_pending=Aborted(*_columns(phases["aborted_pending"], 2)),
            aborted_streaming=Aborted(*_columns(phases["aborted_streaming"], 2)),
            totals=Totals(
                **self._sums,
                status=dict(self._status),
                dropped={"buffer_full": seq} if seq % 3 == 0 else {},
                dropped_batches={"too_large": 1} if seq > 5 else {},
            ),
        )

    def hardware_batch(self) -> HardwareBatch:
        interval, at_us = self._sampled()
        return HardwareBatch(
            **self._names,
            **interval,
            at_us=at_us,
            replica=self._readings(at_us, "cpu_percent", "memory_used_bytes"),
            accelerators=[
                Accelerator(f"gpu{i}", self._readings(at_us, "gpu_percent"), f"uuid-{i}", "H200")
                for i in range(2)
            ],
        )

    def engine_batch(self) -> EngineBatch:
        interval, at_us = self._sampled()
        return EngineBatch(
            **self._names,
            **interval,
            at_us=at_us,
            engine=f"engine{len(at_us) % 2}",
            readings=self._readings(at_us, "engine_running_requests", "engine_kv_cache_percent", "engine_x"),
        )

    def outcome_batch(self) -> OutcomeBatch:
        """Return how some requests ended; those of two models and two classes, streamed or not."""
        rng = self._rng
        interval, at_us = self._sampled()
        slices = [
            Slice(model=model, streamed=streamed, input_upto=upto)
            for model in ("", "m")
            for streamed in (False, True)
            for upto in (0, 512)
        ]
        rng.shuffle(slices)

        def column(*values: int) -> list[int | None]:
            return [rng.choice((None, *values)) for _ in at_us] if rng.random() < 0.7 else []

        outcomes = Outcomes(
            at_us=at_us,
            slice=[rng.randrange(4) for _ in at_us],
            ended=[rng.choice(ENDS) for _ in at_us],
            status=column(200, 500),
            duration_us=[rng.choice((0, 1, 9_000_000, MAX_DURATION_US)) for _ in at_us],
            first_byte_us=column(0, 70_000),
            first_token_us=column(0, 80_000),
            last_token_us=column(80_000, 5_000_000),
            events=column(1, 90),
            gap_max_us=column(0, 400_000),
            input_tokens=column(0, 300),
            output_tokens=column(0, 1, 2, 77, MAX_AMOUNT),
            cached_tokens=column(7),
            reasoning_tokens=column(8),
            estimated=[rng.random() < 0.5 for _ in at_us],
            request_bytes=column(0, 100),
            response_bytes=column(5, MAX_AMOUNT),
        )
        gaps = Counter((rng.randrange(4), rng.choice((0, 900, 2_510))) for _ in range(rng.randrange(5)))
        samples = [
            SampledRequest(
                why="slow",
                of=9,
                at_us=at,
                slice=rng.randrange(4),
                ended="complete",
                status=200,
                duration_us=5,
            )
            for at in at_us[:1]
        ]
        return OutcomeBatch(
            **self._names,
            **interval,
            slices=slices[:4],
            outcomes=outcomes,
            gaps=Gaps([of for of, _ in gaps], [bucket for _, bucket in gaps], list(gaps.values())),
            samples=samples,
            totals=OutcomeTotals(7 * interval["seq"], {"recorder_full": 1} if interval["seq"] % 3 else {}),
        )

    def _sampled(self) -> tuple[dict[str, int], list[int]]:
        length_us = self._rng.choice(LENGTHS_US)
        start_us, self._now_us = self._now_us, self._now_us + length_us
        seq, self._seq = self._seq, self._seq + 1
        at_us = sorted(self._moment(length_us) for _ in range(self._rng.randrange(5)))
        return {"seq": seq, "start_us": start_us, "end_us": start_us + length_us}, at_us

    def _readings(self, at_us: list[int], *metrics: str) -> dict[str, list[float | None]]:
        rng = self._rng
        return {
            metric: [
                None if rng.random() < 0.1 else rng.choice([rng.random() * 100, 0.0005, -1e15, 1e15, 7])
                for _ in at_us
            ]
            for metric in metrics
            if rng.random() < 0.9
        }

    def replica_message(self) -> ReplicaState | EndpointSettings:
        self._now_us += self._rng.randrange(3) * 1_000_000
        where = {name: self._names[name] for name in ("namespace", "endpoint")}
        if self._rng.random() < 0.3:
            return EndpointSettings(
                **where, at_us=self._now_us, min_replicas=0, max_replicas=self._rng.randrange(5)
            )
        return ReplicaState(
            **where,
            replica_id=self._names["replica_id"],
            at_us=self._now_us,
            state=self._rng.choice(STATES),
            reason=self._rng.choice(["", "pulled", "\0 “odd” \n"]),
        )

    def _moment(self, length_us: int) -> int:
        return self._rng.choice([0, length_us, self._rng.randint(0, length_us)])

    def _event(self, phases: dict[str, list[tuple[int, ...]]], now_us: int, at_us: int) -> None:
        rng = self._rng
        choices = ["arrived", "arrived"]
        choices += ["responded", "responded", "informational", "aborted_pending"] if self._pending else []
        choices += ["finished", "finished", "aborted_streaming"] if self._streaming else []
        phase = rng.choice(choices)
        waiting = self._streaming if phase in ("finished", "aborted_streaming") else self._pending
        if phase == "arrived":
            self._pending.append(now_us)
            row: tuple[int, ...] = (at_us,)
        elif phase == "informational":
            row = (at_us, rng.choice([100, 103]))
            self._status[str(row[1])] += 1
        else:
            arrived_us = waiting.pop(rng.randrange(len(waiting)))
            age_us = min(max(now_us - arrived_us, 0) * rng.choice([1, 1, 1, 10**6]), MAX_DURATION_US)
            status = rng.choice([200, 200, 200, 404, 500])
            row = (at_us, age_us, status) if phase in ("responded", "finished") else (at_us, age_us)
            if phase == "responded":
                self._streaming.append(arrived_us)
                self._status[str(status)] += 1
                self._sums["wait_us"] += age_us
            elif phase == "finished":
                self._sums["duration_us"] += age_us
        if phase not in ("informational", "responded"):
            self._sums[phase] += 1
        phases[phase].append(row)


def _columns(rows: list[tuple[int, ...]], count: int) -> list[list[int]]:
    return [[row[i] for row in rows] for i in range(count)]


def _spoil(rng: random.Random, batch: RequestBatch) -> RequestBatch:
    """Return the batch made dishonest in one of several ways."""
    length_us = batch.end_us - batch.start_us
    return rng.choice(
        [
            lambda: msgspec.structs.replace(batch, finished=Finished([0] * 30, [5] * 30, [200] * 30)),
            lambda: msgspec.structs.replace(
                batch, aborted_pending=Aborted([length_us] * 40, [1] * 40), pending=2
            ),
            lambda: msgspec.structs.replace(batch, arrived=Arrived([0, length_us + 1])),
            lambda: msgspec.structs.replace(batch, informational=Informational([length_us + 9], [103])),
            lambda: msgspec.structs.replace(
                batch, arrived=Arrived([length_us + 1]), finished=Finished([0] * 30, [5] * 30, [200] * 30)
            ),
        ]
    )()


def _damaged(rng: random.Random, batch: RequestBatch) -> bytes:
    """Return the batch packed, with rows that cannot be read or something else in their place."""
    elements = msgspec.msgpack.decode(encode_requests(batch, "packed"))
    rows = elements[11]
    elements[11] = rng.choice([rows[:-1], rows + b"\0", b"\1\x31\1\0\0\0\0", b"\1\x61\1\0\0\0\0\1\1"])
    return msgspec.msgpack.encode(elements)


def _misplace(rng: random.Random, message):
    """Return the message with a time long ago, late, or in the future."""
    shift_us = rng.choice([-3 * DAY_US, -DAY_US, 3_600_000_000])
    times = {
        name: getattr(message, name) + shift_us
        for name in ("start_us", "end_us", "at_us")
        if _is_time(message, name)
    }
    return msgspec.structs.replace(message, **times)


def _is_time(message, name: str) -> bool:
    return isinstance(getattr(message, name, None), int)


POISON = (
    None,
    b"",
    b"{",
    b"\xff",
    b"null",
    b'{"version":2}',
    b"[" * 5_000,
    b'{"version":1,"seq":-1}',
    b"\x92\x02\x01",
)


def make_log(
    stream: str,
    seed: int,
    boots: int,
    batches: int,
    rule: ChunkRule,
    honest: bool = False,
    start_us: int = START_US,
) -> Log:
    """Return a log. An honest one has duplicates and disorder, but all batches arrive."""
    rng = random.Random(seed)
    making = {
        "requests": Replica.request_batch,
        "hardware": Replica.hardware_batch,
        "engine": Replica.engine_batch,
        "outcomes": Replica.outcome_batch,
        "replicas": Replica.replica_message,
    }[stream]
    replicas = [Replica(rng, number, start_us) for number in range(boots)]
    values: list[bytes | None] = []
    held: list[bytes] = []
    encodings = rng.choice([("json",), ("packed",), ("json", "packed")])

    def wire(message) -> bytes:
        if stream == "requests":
            return encode_requests(message, rng.choice(encodings))
        return encode(message)

    for _ in range(batches):
        message = making(rng.choice(replicas))
        value = wire(message)
        luck = rng.random()
        if luck < 0.7 or (honest and luck < 0.9):
            values.append(value)
        elif luck < 0.8 or honest:
            held.append(value)  # comes late
        elif luck < 0.85:
            pass  # never comes
        elif luck < 0.9 and stream == "requests":
            values.append(_damaged(rng, message) if rng.random() < 0.3 else wire(_spoil(rng, message)))
        elif luck < 0.95:
            values.append(wire(_misplace(rng, message)))
        else:
            values += [value, rng.choice(POISON)]
        if held and rng.random() < 0.2:
            values.append(held.pop(rng.randrange(len(held))))
        if values and rng.random() < 0.15:
            values.append(values[rng.randrange(len(values))])  # a spool is sent again
    values += held if honest else held[: len(held) // 2]
    offset, append_ms = rng.randrange(1_000), start_us // 1000 + 600_000
    records = []
    for value in values:
        records.append(Record(offset, append_ms, value))
        offset += rng.choice([1, 1, 1, 1, 2, 5])
        append_ms += rng.choice([0, 10, 300, 1_000, 4_000, 30_000, -100, -15_000, 20 * 60_000])
    return Log(stream, rule, records)


rules = st.builds(
    ChunkRule, length_ms=st.sampled_from([5_000, 10_000, 60_000]), max_offsets=st.integers(3, 60)
)


def logs(stream: str, honest: bool = False) -> st.SearchStrategy[Log]:
    """Return the strategy of logs."""
    return st.builds(
        make_log,
        stream=st.just(stream),
        seed=st.integers(0, 2**32),
        boots=st.integers(1, 5),
        batches=st.integers(1, 80),
        rule=rules,
        honest=st.just(honest),
    )
