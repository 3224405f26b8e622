"""The bounds that every message keeps. Only numbers belong here; the codecs enforce them."""

from __future__ import annotations

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""Larger messages are rejected unread; the topics take up to twice as much."""

MAX_EVENTS = 100_000
"""Rows of all columns of one batch together. An agent cuts a busier interval into several batches."""

MAX_INTERVAL_US = 300_000_000
"""The longest time that one batch covers: five minutes. It bounds the windows that a message can touch."""

MAX_DURATION_US = 7 * 86_400_000_000
"""The longest wait, duration or age of a request: a week."""

MAX_COUNT = 2**53
"""The largest count: what every JSON reader keeps exact."""

MIN_TIME_US = 1_000_000_000_000_000
MAX_TIME_US = 4_102_444_800_000_000
"""Wall-clock times lie between September 2001 and the year 2100, in microseconds since 1970."""

MAX_LEVEL = 10_000_000
"""Requests pending, or streaming, at once in one process. With it, a window's request time fits 64 bits."""

MAX_SUM_US = 2**62
"""Sums of durations end here, instead of leaving 64 bits: 146,000 years of request time."""

MAX_NAME_LENGTH = 128
"""Of a namespace, an endpoint, a replica or a boot."""

MAX_REASON_LENGTH = 256
"""Of the reason given with a replica's state."""

MAX_DETAIL_LENGTH = 512
"""Of what an error says of a message: it may quote the message."""

MAX_DROP_REASONS = 64
"""Reasons for which one agent dropped requests, or batches."""

MAX_METRICS = 64
"""Hardware metrics of one device in one batch."""

MAX_DEVICES = 64
"""Accelerators in one batch."""

MAX_SAMPLES = 3_600
"""Hardware samples in one batch."""

MAX_READING = 1e15
"""Of a sample, either way. It keeps sums of thousandths exact in 64 bits for every window."""

MAX_REPLICAS = 1_000_000
"""Of the minimum and maximum replicas settings."""
