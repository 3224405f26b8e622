"""Several processes that send under one boot: a memory snapshot was restored twice, or while the original lived on.

The copy continues with the original's boot_id, seq and totals, unaware of being one. Its batches have numbers that were
already counted but different content: treated as resent, they would be dropped. Instead it is counted as a separate
boot, named after the original and a number, from the first batch that reveals it. A batch belongs to the process whose
intervals it continues. Sums are exact whichever process a batch is assigned to; each sequence number counts once per
process.
"""

from __future__ import annotations

from endpoint_analytics.pipeline.core.boots import RECENT, Boot, BootKey, Boots, Verdict
from endpoint_analytics.schemas.outcomes import OutcomeBatch
from endpoint_analytics.schemas.packed_requests import PackedBatch, unpack
from endpoint_analytics.schemas.requests import RequestBatch, Totals
from endpoint_analytics.schemas.samples import SampleBatch

MAX_COPIES = 8
"""Processes in addition to the first under one boot; batches of more are counted only as conflicts."""

_MARK = "~"  # no valid name contains it


def copy_keys(boot: Boot) -> list[BootKey]:
    """Return the boots that stand for copies of this one."""
    return [copy_key(boot.key, number) for number in range(1, boot.copies + 1)]


def copy_key(key: BootKey, number: int) -> BootKey:
    """Return the boot that stands for the copy `number` of a boot."""
    return key._replace(boot_id=f"{key.boot_id}{_MARK}{number + 1}")


def process_of(
    boots: Boots, boot: Boot, batch: RequestBatch | PackedBatch | OutcomeBatch | SampleBatch
) -> Boot | None:
    """Return the process under `boot` that sent the batch, a new copy if it must be one; None if there are too many.

    The copies of `boot` are in `boots`. The returned process knows whether the batch was counted before.
    """
    verdict = boot.classify(batch.seq, batch.end_us)
    if not boot.copies and verdict is not Verdict.OTHER:
        return boot
    processes = [boot, *(boots[key] for key in copy_keys(boot))]
    verdicts = [verdict, *(each.classify(batch.seq, batch.end_us) for each in processes[1:])]
    found = list(zip(processes, verdicts, strict=True))
    for each, each_verdict in found:
        if each_verdict is Verdict.AGAIN and each.knows(batch.seq):
            return each
    if new := [each for each, each_verdict in found if each_verdict is Verdict.NEW]:
        # The one that it continues; else the one in whose numbers it leaves the smallest gap.
        return min(
            new, key=lambda each: (each.recent_ends[-1:] != [batch.start_us], abs(batch.seq - each.next_seq))
        )
    if verdict is Verdict.AGAIN:
        return boot
    # A copy is known from the first of its batches that was read; an earlier one may have been delayed.
    early = [
        each
        for each, each_verdict in found
        if each_verdict is Verdict.EARLIER and each.begin_seq - batch.seq <= RECENT
    ]
    if early:
        return min(early, key=lambda each: each.begin_seq)
    if Verdict.AGAIN in verdicts:
        return processes[verdicts.index(Verdict.AGAIN)]
    if boot.copies >= MAX_COPIES:
        return None
    boot.copies += 1
    copy = Boot(
        copy_key(boot.key, boot.copies),
        next_seq=batch.seq,
        last_seq=batch.seq,
        begin_seq=batch.seq,
        copy_of=boot.key.boot_id,
    )
    if isinstance(batch, PackedBatch | RequestBatch):
        copy.inherited = _before(unpack(batch) if isinstance(batch, PackedBatch) else batch)
    elif isinstance(batch, OutcomeBatch):
        copy.inherited = since(totals_of(batch), Totals(finished=len(batch.outcomes.at_us)))
    boots.restore(copy)
    return copy


def totals_of(batch: OutcomeBatch) -> Totals:
    """Return an outcome batch's totals as those of a request batch: requests that ended are finished."""
    totals = batch.totals
    return Totals(finished=totals.requests, dropped=totals.dropped, dropped_batches=totals.dropped_batches)


def since(totals: Totals, inherited: Totals) -> Totals:
    """Return the totals minus what was inherited."""
    if inherited == Totals():
        return totals
    return Totals(
        arrived=max(totals.arrived - inherited.arrived, 0),
        finished=max(totals.finished - inherited.finished, 0),
        aborted_pending=max(totals.aborted_pending - inherited.aborted_pending, 0),
        aborted_streaming=max(totals.aborted_streaming - inherited.aborted_streaming, 0),
        status=_less(totals.status, inherited.status),
        wait_us=max(totals.wait_us - inherited.wait_us, 0),
        duration_us=max(totals.duration_us - inherited.duration_us, 0),
        dropped=_less(totals.dropped, inherited.dropped),
        dropped_batches=_less(totals.dropped_batches, inherited.dropped_batches),
    )


def _before(batch: RequestBatch) -> Totals:
    """Return the process's totals as they were before the batch."""
    status = dict[str, int]()
    for code in (*batch.responded.status, *batch.informational.status):
        status[str(code)] = status.get(str(code), 0) + 1
    own = Totals(
        arrived=len(batch.arrived.at_us),
        finished=len(batch.finished.at_us),
        aborted_pending=len(batch.aborted_pending.at_us),
        aborted_streaming=len(batch.aborted_streaming.at_us),
        status=status,
        wait_us=sum(batch.responded.wait_us),
        duration_us=sum(batch.finished.duration_us),
    )
    return since(batch.totals, own)


def _less(counts: dict[str, int], inherited: dict[str, int]) -> dict[str, int]:
    left = {name: count - inherited.get(name, 0) for name, count in counts.items()}
    return {name: count for name, count in left.items() if count > 0}
