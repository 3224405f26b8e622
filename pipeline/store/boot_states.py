"""Reads back the fold's state of boots, as of the start of a chunk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import orjson
from clickhouse_connect.driver.asyncclient import AsyncClient
from clickhouse_connect.driver.external import ExternalData

from endpoint_analytics.pipeline.core.boots import Boot, BootKey
from endpoint_analytics.schemas.requests import Totals

_BATCH = 5_000  # boots per query

_COLUMNS = (
    "namespace, endpoint, replica_id, boot_id, chunk, next_seq, last_seq, gap_starts, gap_ends, batches, duplicates,"
    " missing, version, toUnixTimestamp64Micro(first_at) AS first_us, toUnixTimestamp64Micro(last_at) AS last_us,"
    " toUnixTimestamp64Milli(last_append) AS last_append_ms, arrived, finished, aborted_pending,"
    " aborted_streaming, status_codes, status_counts, latency_sum_us, ttfb_count, ttfb_sum_us, pending,"
    " streaming, oldest_pending_us, agent_arrived, agent_finished, agent_aborted_pending,"
    " agent_aborted_streaming, agent_status_codes, agent_status_counts, agent_latency_sum_us,"
    " agent_ttfb_sum_us, dropped_reasons, dropped_counts, dropped_batch_reasons, dropped_batch_counts,"
    " recent_ends, stepped_back, copies, conflicts, copy_of, begin_seq, inherited"
)

# A chunk's newest version holds its complete state, and we continue from the newest chunk before ours. A boot that
# was silent for longer than boot_states are kept is found in boots, where its newest state stays. Columns are named:
# a later version's migration may have extended only one of the two tables yet.
_READ = f"""
SELECT *
FROM
(
    SELECT {_COLUMNS} FROM boot_states
    WHERE stream = {{stream:String}} AND partition = {{partition:UInt32}} AND chunk < {{chunk:UInt64}}
      AND (namespace, endpoint, replica_id, boot_id) IN wanted
    UNION ALL
    SELECT {_COLUMNS} FROM boots
    WHERE stream = {{stream:String}} AND partition = {{partition:UInt32}} AND chunk < {{chunk:UInt64}}
      AND (namespace, endpoint, replica_id, boot_id) IN wanted
)
ORDER BY chunk DESC, version DESC
LIMIT 1 BY namespace, endpoint, replica_id, boot_id
"""  # noqa: S608 - constants; values are bound by the server


async def read_boots(
    client: AsyncClient, stream: str, partition: int, chunk: int, keys: Iterable[BootKey]
) -> list[Boot]:
    """Return the state of each boot after the chunks before `chunk`; a boot that none of them has is new."""
    wanted = sorted(keys)
    found: dict[BootKey, Boot] = {}
    parameters = {"stream": stream, "partition": partition, "chunk": chunk}
    for start in range(0, len(wanted), _BATCH):
        # The names are sent as an external table in the body, since URLs and form fields are limited in size.
        names = ExternalData(
            file_name="wanted",
            data=b"".join(orjson.dumps(tuple(key)) + b"\n" for key in wanted[start : start + _BATCH]),
            fmt="JSONCompactEachRow",
            structure="namespace String, endpoint String, replica_id String, boot_id String",
        )
        result = await client.query(_READ, parameters=parameters, external_data=names)
        for row in result.named_results():
            boot = parse_boot(row)
            found[boot.key] = boot
    return [found.get(key) or Boot(key) for key in wanted]


def parse_boot(row: Mapping[str, Any]) -> Boot:
    """Return the boot of a row of `boot_states`."""
    return Boot(
        key=BootKey(row["namespace"], row["endpoint"], row["replica_id"], row["boot_id"]),
        next_seq=row["next_seq"],
        last_seq=row["last_seq"],
        gaps=list(zip(row["gap_starts"], row["gap_ends"], strict=True)),
        batches=row["batches"],
        duplicates=row["duplicates"],
        missing=row["missing"],
        version=row["version"],
        first_us=row["first_us"],
        last_us=row["last_us"],
        last_append_ms=row["last_append_ms"],
        arrived=row["arrived"],
        finished=row["finished"],
        aborted_pending=row["aborted_pending"],
        aborted_streaming=row["aborted_streaming"],
        status=dict(zip(row["status_codes"], row["status_counts"], strict=True)),
        latency_sum_us=row["latency_sum_us"],
        ttfb_count=row["ttfb_count"],
        ttfb_sum_us=row["ttfb_sum_us"],
        pending=row["pending"],
        streaming=row["streaming"],
        oldest_pending_us=row["oldest_pending_us"],
        recent_ends=list(row["recent_ends"]),
        stepped_back=bool(row["stepped_back"]),
        copies=row["copies"],
        conflicts=row["conflicts"],
        copy_of=row["copy_of"],
        begin_seq=row["begin_seq"],
        inherited=msgspec.json.decode(row["inherited"], type=Totals) if row["inherited"] else Totals(),
        totals=Totals(
            arrived=row["agent_arrived"],
            finished=row["agent_finished"],
            aborted_pending=row["agent_aborted_pending"],
            aborted_streaming=row["agent_aborted_streaming"],
            status=_text_counts(row["agent_status_codes"], row["agent_status_counts"]),
            wait_us=row["agent_ttfb_sum_us"],
            duration_us=row["agent_latency_sum_us"],
            dropped=_text_counts(row["dropped_reasons"], row["dropped_counts"]),
            dropped_batches=_text_counts(row["dropped_batch_reasons"], row["dropped_batch_counts"]),
        ),
    )


def _text_counts(names: Iterable[object], counts: Iterable[int]) -> dict[str, int]:
    return {str(name): count for name, count in zip(names, counts, strict=True)}
