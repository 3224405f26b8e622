"""The limits of messages. Only numbers belong here; the codecs enforce them."""

from __future__ import annotations

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""Larger messages are rejected without being parsed; the topics accept up to twice as much."""

MAX_EVENTS = 100_000
"""Rows of all phases of a batch together. An agent splits a busier interval into several batches."""

MAX_INTERVAL_US = 300_000_000
"""The longest interval of a batch: five minutes. It bounds the number of windows that a message can affect."""

MAX_DURATION_US = 7 * 86_400_000_000
"""The longest wait, duration or age of a request: a week."""

MIN_STATUS = 100
MAX_STATUS = 599
"""HTTP statuses (RFC 9110, section 15)."""

MAX_COUNT = 2**53
"""The largest count: every JSON reader represents it exactly."""

MIN_TIME_US = 1_000_000_000_000_000
MAX_TIME_US = 4_102_444_800_000_000
"""Wall-clock times are between September 2001 and the year 2100, in microseconds since 1970."""

MAX_LEVEL = 10_000_000
"""Requests pending, or streaming, at the same time in one process. It lets a window's request time fit in 64 bits."""

MAX_SUM_US = 2**62
"""Sums of durations are capped here so that they fit in 64 bits: 146,000 years of request time."""

MAX_NAME_LENGTH = 128
"""The longest name of a namespace, an endpoint, a replica or a boot."""

MAX_REASON_LENGTH = 256
"""The longest reason of a replica state."""

MAX_DETAIL_LENGTH = 512
"""The longest detail of an error about a message: it may quote the message."""

MAX_DROP_REASONS = 64
"""Distinct reasons for which an agent dropped requests, or batches."""

MAX_METRICS = 64
"""Hardware metrics of one device in one batch."""

MAX_DEVICES = 64
"""Accelerators in one batch."""

MAX_SAMPLES = 3_600
"""Hardware samples in one batch."""

MAX_READING = 1e15
"""The largest absolute value of a reading. It keeps sums of thousandths exact in 64 bits for every window."""

MAX_REPLICAS = 1_000_000
"""The upper bound of the minimum and maximum replicas settings."""

MAX_OUTCOMES = 20_000
"""Requests in one outcome batch."""

MAX_AMOUNT = 2**40
"""Tokens or bytes of one request, or gaps of a bucket: sums of any number that one read can hold fit in 64 bits."""

MAX_SLICES = 1_000
"""Distinct combinations of route, model, caller and class in one outcome batch."""

MAX_LABEL_LENGTH = 128
"""The longest route, model or caller."""

MAX_ID_LENGTH = 128
"""The longest request id."""

MAX_SAMPLED_REQUESTS = 200
"""Requests in one outcome batch that are described one by one."""

MAX_BUCKET = 4_095
"""The highest number of a sketch's bucket."""
