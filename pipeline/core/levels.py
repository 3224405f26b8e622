"""How many requests are pending and streaming at each moment, from the events that change their number.

A sweep over time: the events of all batches are sorted by (batch, time, kind), their steps are summed, and each window
slot takes its mean, maximum and last level from the steps that fall into it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from endpoint_analytics.pipeline.core.batches import Column, Intervals

_Ints = NDArray[np.int64]

# The kinds in the order in which they apply at one instant: a slot's start, then a request's life.
_SLOT, _ARRIVED, _RESPONDED, _ABORTED_PENDING, _FINISHED, _ABORTED_STREAMING = range(6)
_PENDING_STEP = np.array([0, 1, -1, -1, 0, 0], dtype=np.int64)
_STREAMING_STEP = np.array([0, 0, 1, 0, -1, -1], dtype=np.int64)

# A sort key packs kind (3 bits), offset (33 bits: an hour in microseconds) and batch.
_OFFSET_SHIFT, _BATCH_SHIFT = 3, 36
_KIND_MASK, _OFFSET_MASK = (1 << _OFFSET_SHIFT) - 1, (1 << (_BATCH_SHIFT - _OFFSET_SHIFT)) - 1


@dataclass(frozen=True, slots=True)
class Levels:
    """One value per window slot: level times microseconds, maximum level, level at the slot's end, minimum."""

    pending_us: _Ints
    pending_max: _Ints
    pending_last: _Ints
    streaming_us: _Ints
    streaming_max: _Ints
    streaming_last: _Ints
    active_max: _Ints
    least: _Ints


def levels_of(
    intervals: Intervals,
    pending: _Ints,
    streaming: _Ints,
    phases: Sequence[Column],
) -> Levels:
    """Return the levels in each slot.

    `pending` and `streaming` are the levels at each batch's start. `phases` are arrived, responded,
    aborted_pending, finished, aborted_streaming, in this order.
    """
    keys = [_key(intervals.slot_batch, intervals.slot_from_us, _SLOT)]
    keys += [_key(phase.batch, phase.at_us, kind) for kind, phase in enumerate(phases, start=_ARRIVED)]
    key = np.concatenate(keys)
    key.sort()
    kind = key & _KIND_MASK
    at_us = (key >> _OFFSET_SHIFT) & _OFFSET_MASK
    starts = np.flatnonzero(kind == _SLOT)  # every slot begins with its own marker
    ends = np.append(starts[1:], len(key)) - 1
    sizes = ends - starts + 1

    duration_us = np.empty_like(at_us)
    duration_us[:-1] = at_us[1:] - at_us[:-1]
    duration_us[ends] = intervals.slot_to_us - at_us[ends]

    def level(step: _Ints, at_start: _Ints) -> _Ints:
        risen = np.cumsum(step[kind])
        first = starts[intervals.slot_base]
        base = at_start - risen[first]
        total: _Ints = risen + np.repeat(base[intervals.slot_batch], sizes)
        return total

    pending_level = level(_PENDING_STEP, pending)
    streaming_level = level(_STREAMING_STEP, streaming)
    active_level = pending_level + streaming_level
    return Levels(
        pending_us=np.add.reduceat(pending_level * duration_us, starts),
        pending_max=np.maximum.reduceat(pending_level, starts),
        pending_last=pending_level[ends],
        streaming_us=np.add.reduceat(streaming_level * duration_us, starts),
        streaming_max=np.maximum.reduceat(streaming_level, starts),
        streaming_last=streaming_level[ends],
        active_max=np.maximum.reduceat(active_level, starts),
        least=np.minimum.reduceat(np.minimum(pending_level, streaming_level), starts),
    )


def _key(batch: _Ints, at_us: _Ints, kind: int) -> _Ints:
    key: _Ints = (batch << _BATCH_SHIFT) | (at_us << _OFFSET_SHIFT) | kind
    return key
