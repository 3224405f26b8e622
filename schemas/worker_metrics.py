"""The metrics that the worker exports about itself at /metrics."""

from __future__ import annotations

from endpoint_analytics.schemas.metrics import Family

MESSAGES = Family("worker_messages", "counter", "Messages folded since the worker started, by stream")
EVENTS = Family("worker_events", "counter", "Events folded since the worker started, by stream")
REJECTED = Family(
    "worker_rejected_messages", "counter", "Messages rejected since the worker started, by stream"
)
ROWS = Family("worker_stored_rows", "counter", "Rows stored in ClickHouse since the worker started")
STORE_FAILURES = Family("worker_store_failures", "counter", "Failed attempts to store rows")
PARTITIONS = Family("worker_assigned_partitions", "gauge", "Partitions assigned to the worker")
UNREADABLE = Family(
    "worker_unreadable_batches",
    "counter",
    "Record batches that could not be read (checksum, codec, content) since the worker started, by stream",
)
PAUSED = Family(
    "worker_paused_partitions",
    "gauge",
    "Partitions that the worker has paused because nearly all their messages are unusable, by stream",
)
UNSENT = Family(
    "worker_unsent_rejections",
    "counter",
    "Rejected messages in ClickHouse but not in the rejected topic, which is missing or does not accept them",
)
