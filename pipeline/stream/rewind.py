"""Sets the workers' group back to what the database has, after an older one was restored.

Workers store before they commit, so their group is never ahead of the database, until a backup replaces that. What the
database has already is not counted again (docs/exactly-once.md), so reading too much costs time only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import CommitFailedError, IllegalGenerationError, KafkaError, UnknownMemberIdError

from endpoint_analytics.pipeline.core.chunks import ChunkRule
from endpoint_analytics.pipeline.store.progress import Progress, StreamPartition
from endpoint_analytics.schemas.configuration.kafka_client import client_settings, make_ssl_context
from endpoint_analytics.schemas.configuration.kafka_config import KafkaConfig
from endpoint_analytics.schemas.configuration.kafka_failure import explain_failure, find_unreadable
from endpoint_analytics.schemas.configuration.settings import variable_of
from endpoint_analytics.schemas.topics import AGENT_TOPICS

MARGIN = timedelta(hours=1)
"""How long before its newest row the database counts as complete: a backup of a running one has tables of different
moments."""

_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


class RewindError(Exception):
    """The group cannot be set back; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Rewound:
    """A partition that the group reads again from `offset` on, instead of `committed`.

    `begins_at` is when the broker appended that message, if it is the oldest that Kafka still has and earlier ones,
    which were asked for, may have been deleted.
    """

    topic: str
    partition: int
    committed: int
    offset: int
    begins_at: datetime | None = None


def complete_to(progress: Progress) -> dict[StreamPartition, datetime]:
    """Return up to which append time the database is complete, for each partition that it has something of."""
    return {partition: each.read_to - MARGIN for partition, each in progress.partitions.items()}


async def rewind(
    kafka: KafkaConfig, group: str, begin: Mapping[StreamPartition, datetime], default: datetime = _BEGINNING
) -> list[Rewound]:
    """Set the group back to the first message appended since `begin` of each partition, or else since `default`.

    Both are taken for the start of the chunk that they are in: a chunk that was read from its middle on, because the
    database lacks it, would be counted twice once it is read from its start on. The group is never set forward. Raises
    RewindError, also while a worker of the group runs, for a group that has read nothing, and for a topic that does not
    exist or that our user may not read.
    """
    ssl_context = make_ssl_context(kafka)
    consumer = AIOKafkaConsumer(
        **client_settings(kafka, ssl_context), group_id=group, enable_auto_commit=False
    )
    admin = AIOKafkaAdminClient(**client_settings(kafka, ssl_context))
    try:
        await consumer.start()
        await admin.start()
        streams = {topic.name(kafka.topic_prefix): topic.suffix for topic in AGENT_TOPICS}
        # Found before anything is changed: without them, only some topics would be read again.
        if refused := await find_unreadable(kafka, ssl_context, streams, group):
            raise RewindError("; ".join(refused))
        found = [
            TopicPartition(each["topic"], partition["partition"])
            for each in await admin.describe_topics(sorted(streams))
            for partition in each["partitions"]
        ]
        consumer.assign(found)
        since_ms = {
            each: _chunk_start_ms(begin.get((streams[each.topic], each.partition), default)) for each in found
        }
        offsets = {each: await consumer.committed(each) for each in found}
        if all(committed is None for committed in offsets.values()):
            raise RewindError(
                f"the group {group} has read nothing of {', '.join(streams)}: is it the workers' group (--group or "
                f"{variable_of('group')})? If it is, they begin with the oldest messages anyway"
            )
        first, heads = await consumer.offsets_for_times(since_ms), await consumer.beginning_offsets(found)
        rewound = []
        for each, committed in offsets.items():
            message = first.get(each)
            if committed is not None and message is not None and message.offset < committed:
                is_cut = 0 < message.offset == heads[each]
                begins_at = datetime.fromtimestamp(message.timestamp / 1000, UTC) if is_cut else None
                rewound.append(Rewound(each.topic, each.partition, committed, message.offset, begins_at))
        if rewound:
            await consumer.commit(
                {TopicPartition(each.topic, each.partition): each.offset for each in rewound}
            )
    except (CommitFailedError, IllegalGenerationError, UnknownMemberIdError) as error:
        raise RewindError(
            f"the group {group} has members: stop its workers, and try again; Kafka keeps one with an instance id for "
            "its session timeout (30 s) after it stopped"
        ) from error
    except (KafkaError, OSError) as error:
        raise RewindError(await explain_failure(error, kafka, ssl_context)) from error
    finally:
        await consumer.stop()
        await admin.close()
    return rewound


def _chunk_start_ms(at: datetime) -> int:
    """Return the start of the chunk length that `at` is in, in milliseconds since 1970; 0 before that."""
    at_ms, length_ms = int(at.timestamp() * 1000), ChunkRule().length_ms
    return max(at_ms - at_ms % length_ms, 0)
