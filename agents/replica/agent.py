"""The agent: a daemon thread that flushes the recorder every second and sends the result to Kafka.

The imperative shell. The request path touches only `agent.recorder`; everything else happens in the thread.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
import zlib
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import uuid4

from endpoint_analytics.agents.core.batching import Batcher
from endpoint_analytics.agents.core.clamp import text_in_range, time_in_range
from endpoint_analytics.agents.core.clock import read_offset_us, steady_offset_us
from endpoint_analytics.agents.core.config import AgentConfig
from endpoint_analytics.agents.core.file_lock import LockHeldError
from endpoint_analytics.agents.core.lifecycle import may_follow
from endpoint_analytics.agents.core.recorder import Recorder, Snapshot
from endpoint_analytics.agents.core.sampling import Interval, Sample, SamplingThread
from endpoint_analytics.agents.delivery.client_log_filter import quiet_client
from endpoint_analytics.agents.delivery.senders import Senders
from endpoint_analytics.agents.hardware.reading import Collector, HardwareReading
from endpoint_analytics.agents.hardware.sampler import SAMPLE_EVERY_S, Sampler, default_collectors, make_batch
from endpoint_analytics.agents.outcome.batching import OutcomeBatcher
from endpoint_analytics.agents.replica.process_group import ProcessGroup
from endpoint_analytics.agents.scrape.readings import EngineReading
from endpoint_analytics.agents.scrape.scraper import ScrapeFigures, Scraper, make_engine_batch
from endpoint_analytics.agents.scrape.settings import scrape_settings
from endpoint_analytics.agents.spool.counters import SpoolCounters
from endpoint_analytics.schemas.codec import encode, encode_requests
from endpoint_analytics.schemas.configuration.kafka_client import make_ssl_context
from endpoint_analytics.schemas.limits import MAX_REASON_LENGTH
from endpoint_analytics.schemas.replicas import ReplicaState, State
from endpoint_analytics.schemas.requests import Totals
from endpoint_analytics.schemas.topics import ENGINE, HARDWARE, OUTCOMES, REPLICAS, REQUESTS, Topic

logger = logging.getLogger("endpoint_analytics")

REPORT_AGAIN_S = 0.5
KEEP_FILES_EVERY_S = 60.0


@dataclass(frozen=True, slots=True)
class AgentSnapshot:
    """The agent's own counters: totals as of the last flush; messages since the start, by topic suffix.

    `waiting` counts messages that Kafka has not stored yet (not counting one in flight), `dropped` those dropped, by
    reason. `spool` is None without a spool, `scrape` if no serving engine is scraped.
    """

    boot_id: str
    state: State | None
    totals: Totals = field(default_factory=Totals)
    active: int = 0
    flushes: int = 0
    sent: Mapping[str, int] = field(default_factory=dict)
    waiting: Mapping[str, int] = field(default_factory=dict)
    dropped: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    spool: SpoolCounters | None = None
    scrape: ScrapeFigures | None = None


class Agent:
    """One boot of one replica's agent: call `start()`, then `stop()` once. `recorder` may be used at any time.

    With `requests=False` it sends only states, hardware and a serving engine's metrics. Raises ConfigurationError if
    the Kafka certificates or the engine's URL cannot be used.
    """

    def __init__(
        self,
        config: AgentConfig,
        collectors: tuple[Collector, ...] | None = None,
        *,
        requests: bool = True,
    ) -> None:
        self.config = config
        self.boot_id = uuid4().hex
        self.recorder = Recorder(config.recorder_limit)
        self._collectors = collectors
        self._requests = requests
        scraped = scrape_settings(config)
        self._scraper = None if scraped is None else Scraper(scraped)
        self._process_group = ProcessGroup(config, self.boot_id)
        self._batcher = Batcher(config, self.boot_id)
        self._outcomes = None if config.outcomes == "off" else OutcomeBatcher(config, self.boot_id)
        self._offset_us = read_offset_us()
        self._state: State | None = None
        self._unreported: deque[tuple[State, int, str]] = deque()
        self._totals = Totals()
        self._flushes = 0
        self._sending = Senders(config, self.boot_id, make_ssl_context(config.kafka))
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()
        self._stop_timeout_s = config.stop_timeout_s
        self._process = os.getpid()

    def start(self) -> None:
        """Start the thread; returns at once, whether or not Kafka is reachable."""
        loop = self._loop = asyncio.SelectorEventLoop()
        self._thread = threading.Thread(
            target=self._run, args=(loop,), name="endpoint-analytics", daemon=True
        )
        self.enter("initializing")
        self._thread.start()

    def enter(self, state: State, reason: str = "") -> bool:
        """This process enters `state` now; returns whether the lifecycle allows it.

        Never blocks. A state that may not follow the current one is ignored. The replica's state also depends on its
        other processes on this machine (`process_group`).
        """
        loop = self._loop
        if loop is None or loop.is_closed() or not may_follow(self._state, state):
            return False
        at_us = time.time_ns() // 1_000
        try:
            loop.call_soon_threadsafe(self._report, state, at_us, reason)
        except RuntimeError:  # the loop closed in between
            return False
        self._state = state
        return True

    def stop(self, timeout_s: float | None = None) -> None:
        """Flush one last time, report the replica as terminated, and wait until Kafka has everything.

        Waits at most `timeout_s` (default: the settings' stop_timeout_s), plus a moment for the thread and the disk.
        Does nothing if the agent does not run in this process.
        """
        thread, loop = self._thread, self._loop
        if thread is None or loop is None or self._process != os.getpid() or not thread.is_alive():
            return
        limit_s = self.config.stop_timeout_s if timeout_s is None else timeout_s
        if self._state != "failed":
            self.enter("terminated")
        try:
            loop.call_soon_threadsafe(self._stop_within, limit_s)
        except RuntimeError:  # the loop closed in between
            return
        thread.join(limit_s + 3.0)

    @property
    def has_stopped(self) -> bool:
        """Whether the agent was started and its thread has ended."""
        return self._thread is not None and not self._thread.is_alive()

    def snapshot(self) -> AgentSnapshot:
        """Return the agent's current counters; any thread may call this."""
        senders = self._sending.senders
        return AgentSnapshot(
            boot_id=self.boot_id,
            state=self._state,
            totals=self._totals,
            active=self._batcher.active,
            flushes=self._flushes,
            sent={suffix: sender.sent for suffix, sender in senders.items()},
            waiting={suffix: sender.waiting for suffix, sender in senders.items()},
            dropped={suffix: dict(sender.dropped) for suffix, sender in senders.items()},
            spool=self._sending.spool,
            scrape=None if self._scraper is None else self._scraper.figures,
        )

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            with quiet_client():
                loop.run_until_complete(self._main(loop))
        except Exception:
            # A bug in the agent: the application continues, and the recorder counts what it no longer records.
            self.recorder.limit = 0
            logger.exception("the agent has stopped: requests are no longer recorded")
        finally:
            loop.close()

    async def _main(self, loop: asyncio.AbstractEventLoop) -> None:
        hardware, engine = self._start_hardware(loop), self._start_scraping(loop)
        self._sending.start()
        try:
            # Spread the flushes of many replicas over the interval.
            interval_s = self.config.flush_interval_s
            due_s = loop.time() + interval_s * (zlib.crc32(self.boot_id.encode()) / 2**32)
            keep_at_s = loop.time() + KEEP_FILES_EVERY_S
            while not await _is_set_within(self._stopping, due_s - loop.time()):
                self._flush()
                if loop.time() >= keep_at_s:
                    if self._process_group.keep_files() and self._state is not None:
                        self._report(self._state, time.time_ns() // 1_000, "")
                    keep_at_s = loop.time() + KEEP_FILES_EVERY_S
                due_s = max(due_s + interval_s, loop.time())
            for sampling in (hardware, engine):
                if sampling is not None:
                    sampling.stop()
            self._flush()
            self._report_all()
            await self._sending.drain(self._stop_timeout_s)
        finally:
            self._process_group.leave()
            await self._sending.stop()

    def _start_hardware(self, loop: asyncio.AbstractEventLoop) -> SamplingThread[HardwareReading] | None:
        if not self.config.hardware:
            return None
        sampler = Sampler(default_collectors() if self._collectors is None else self._collectors)

        def post(interval: Interval, reading: HardwareReading) -> None:
            batch = make_batch(self.config, self.boot_id, interval, reading)
            loop.call_soon_threadsafe(self._put, HARDWARE, encode(batch))

        return _start_sampling(
            SamplingThread(
                "endpoint-analytics-hardware",
                sampler.sample,
                post,
                SAMPLE_EVERY_S,
                self._process_group.may_sample,
            )
        )

    def _start_scraping(self, loop: asyncio.AbstractEventLoop) -> SamplingThread[EngineReading] | None:
        if self._scraper is None:
            return None

        def post(interval: Interval, reading: EngineReading) -> None:
            batch = make_engine_batch(self.config, self.boot_id, interval, reading)
            loop.call_soon_threadsafe(self._put, ENGINE, encode(batch))

        every_s, may_scrape = self.config.scrape_interval_s, self._process_group.may_scrape
        return _start_sampling(
            SamplingThread("endpoint-analytics-scrape", self._scraper.take, post, every_s, may_scrape)
        )

    def _report(self, state: State, at_us: int, reason: str) -> None:
        if self.config.states:
            self._unreported.append((state, at_us, reason))
            if len(self._unreported) == 1:
                self._report_all()

    def _report_all(self) -> None:
        """Report the states that this process has entered, in order; later, if another process holds the lock."""
        while self._unreported:
            try:
                is_last_try = self._stopping.is_set()
                change = self._process_group.enter(*self._unreported[0], is_last_try=is_last_try)
            except LockHeldError:
                if self._loop is not None:
                    self._loop.call_later(REPORT_AGAIN_S, self._report_all)
                return
            self._unreported.popleft()
            if change is not None:
                self._put_state(*change)

    def _put_state(self, state: State, at_us: int, reason: str) -> None:
        event = ReplicaState(
            namespace=self.config.namespace,
            endpoint=self.config.endpoint,
            replica_id=self.config.replica_id,
            at_us=time_in_range(at_us),
            state=state,
            reason=text_in_range(reason, MAX_REASON_LENGTH),
        )
        self._put(REPLICAS, encode(event))

    def _flush(self) -> None:
        if not self._requests:
            return
        sender = self._sending.senders[REQUESTS.suffix]
        snapshot = self.recorder.snapshot()
        self._offset_us = steady_offset_us(self._offset_us, read_offset_us())
        dropped = self.recorder.read_dropped()
        for batch in self._batcher.batches(snapshot, self._offset_us, dropped, sender.dropped):
            self._totals = batch.totals
            sender.put(encode_requests(batch, self.config.request_encoding))
        if self._outcomes is not None:
            self._flush_outcomes(self._outcomes, snapshot, dropped)
        self._flushes += 1

    def _flush_outcomes(
        self, batcher: OutcomeBatcher, snapshot: Snapshot, dropped: Mapping[str, int]
    ) -> None:
        """Send how requests ended; a bug there ends only that."""
        sender = self._sending.senders[OUTCOMES.suffix]
        try:
            for batch in batcher.batches(
                snapshot, self._offset_us, dropped, sender.dropped, is_last=self._stopping.is_set()
            ):
                sender.put(encode(batch))
        except Exception:
            self._outcomes = None
            logger.exception(
                "outcomes are no longer sent: a bug in the agent; requests are recorded as before"
            )

    def _put(self, topic: Topic, message: bytes) -> None:
        self._sending.senders[topic.suffix].put(message)

    def _stop_within(self, timeout_s: float) -> None:
        self._stop_timeout_s = timeout_s
        self._stopping.set()


def _start_sampling(thread: SamplingThread[Sample]) -> SamplingThread[Sample]:
    thread.start()
    return thread


async def _is_set_within(event: asyncio.Event, timeout_s: float) -> bool:
    if event.is_set():
        return True
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return False
    return True
