"""Sets up an agent's path to Kafka from its settings: one sender per topic, with or without a spool."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Mapping
from pathlib import Path

from endpoint_analytics.agents.core.config import AgentConfig
from endpoint_analytics.agents.delivery.outage import Outage
from endpoint_analytics.agents.delivery.outbox import Outbox
from endpoint_analytics.agents.delivery.producer import Producer
from endpoint_analytics.agents.delivery.replay import Replay
from endpoint_analytics.agents.delivery.spooled_topic_sender import SpooledTopicSender
from endpoint_analytics.agents.delivery.topic_sender import TopicSender, cancel_all
from endpoint_analytics.agents.spool.counters import SpoolCounters
from endpoint_analytics.agents.spool.disk import DiskThread
from endpoint_analytics.agents.spool.spool import Spool
from endpoint_analytics.agents.spool.spool_outbox import SpoolOutbox
from endpoint_analytics.schemas.identity import partition_key
from endpoint_analytics.schemas.topics import AGENT_TOPICS

logger = logging.getLogger("endpoint_analytics")

SAVE_WITHIN_S = 1.0
"""At shutdown: time for the disk to store what Kafka has not."""


class Senders:
    """The senders by topic suffix, and their background tasks. Coroutines run on the agent's event loop."""

    def __init__(self, config: AgentConfig, boot_id: str, ssl_context: ssl.SSLContext | None) -> None:
        self.senders: Mapping[str, TopicSender | SpooledTopicSender]
        self._replays: list[Replay] = []
        self._spool: Spool | None = None
        self._disk = DiskThread()
        self._tasks: list[asyncio.Task[None]] = []
        outage = Outage(config.kafka.bootstrap_servers)
        key = partition_key(config.namespace, config.endpoint, config.replica_id)
        names = {topic.suffix: topic.name(config.kafka.topic_prefix) for topic in AGENT_TOPICS}

        def producer() -> Producer:
            return Producer(config.kafka, ssl_context, outage)

        if not config.spool:
            self.senders = {
                suffix: TopicSender(name, key, Outbox(config.outbox_batches, config.outbox_bytes), producer())
                for suffix, name in names.items()
            }
            return
        disk = self._disk
        outboxes = {suffix: SpoolOutbox(config.outbox_batches, config.outbox_bytes) for suffix in names}
        spool = self._spool = Spool(
            Path(config.spool),
            boot_id,
            config.kafka.topic_prefix,
            key,
            config.spool_bytes,
            drop_newest=config.spool_drop == "newest",
            sending_through=lambda suffix: outboxes[suffix].sending_through,
        )
        self.senders = {
            suffix: SpooledTopicSender(suffix, name, key, outboxes[suffix], producer(), spool, disk)
            for suffix, name in names.items()
        }
        self._replays = [
            Replay(suffix, name, outboxes[suffix], producer(), spool, disk) for suffix, name in names.items()
        ]

    @property
    def spool(self) -> SpoolCounters | None:
        """What the spool holds and has lost; None without a spool. Any thread may read it."""
        return None if self._spool is None else self._spool.figures

    def start(self) -> None:
        """Start sending."""
        running = [task for sender in self.senders.values() for task in sender.tasks()]
        if self._spool is not None:
            self._disk.start()
            running += [self._disk.run(self._spool.prepare), *(replay.run() for replay in self._replays)]
        self._tasks = [asyncio.create_task(task) for task in running]
        for task in self._tasks:
            task.add_done_callback(_log_bug)

    async def drain(self, timeout_s: float) -> None:
        """Wait at most `timeout_s` until Kafka has all messages; what it does not have by then goes to the spool."""
        senders = self.senders.values()
        await _all_within([asyncio.ensure_future(sender.drained()) for sender in senders], timeout_s)
        if self._spool is not None:
            await _all_within([asyncio.ensure_future(sender.saved()) for sender in senders], SAVE_WITHIN_S)
        elif lost := sum(sender.unsent for sender in senders if isinstance(sender, TopicSender)):
            logger.warning(
                "Kafka did not accept %d messages within %.1f s: they are lost. A spool would keep them",
                lost,
                timeout_s,
            )

    async def stop(self) -> None:
        """Stop sending; what is on disk stays there."""
        await cancel_all(self._tasks)
        if self._spool is not None:
            await _all_within([asyncio.ensure_future(self._disk.run(self._spool.close))], SAVE_WITHIN_S)
            self._disk.stop()


async def _all_within(waiting: list[asyncio.Future[None]], timeout_s: float) -> None:
    await asyncio.wait(waiting, timeout=timeout_s)
    for one in waiting:
        one.cancel()


def _log_bug(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("a background task of the agent has stopped", exc_info=error)
