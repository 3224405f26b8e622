"""Scrapes one serving engine: fetches, parses, and logs each problem once. A failure never stops anything else."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from endpoint_analytics.agents.core.clamp import readings_in_range
from endpoint_analytics.agents.core.clock import now_ns
from endpoint_analytics.agents.core.config import AgentConfig
from endpoint_analytics.agents.core.sampling import Interval
from endpoint_analytics.agents.scrape.exposition import ExpositionError, parse_exposition
from endpoint_analytics.agents.scrape.fetch import ScrapeError, fetch
from endpoint_analytics.agents.scrape.readings import EngineReader, EngineReading
from endpoint_analytics.agents.scrape.settings import ScrapeSettings, ScrapeTarget
from endpoint_analytics.schemas.engine import EngineBatch

logger = logging.getLogger("endpoint_analytics")


@dataclass(frozen=True, slots=True)
class ScrapeFigures:
    """Scraping counters since the start. `error` is the last failure's, empty if the last scrape succeeded.

    `malformed` counts malformed lines of selected metrics.
    """

    engine: str = ""
    answers: int = 0
    failures: int = 0
    malformed: int = 0
    error: str = ""


class Scraper:
    """Scrapes one engine; used by one thread. Any thread may read `figures`."""

    def __init__(self, settings: ScrapeSettings, fetch_text: Callable[[ScrapeTarget], str] = fetch) -> None:
        self.figures = ScrapeFigures()
        self.target = settings.target
        self._reader = EngineReader(settings.own, select=settings.select)
        self._fetch = fetch_text
        self._failed = 0

    def take(self, _at_ns: int) -> EngineReading | None:
        """Return the current reading; None if there is none: a gap, never a zero."""
        try:
            text = self._fetch(self.target)
            exposition = parse_exposition(text, self._reader.spelled)
            reading = self._reader.read(exposition, now_ns())
            if not reading.known:
                raise ScrapeError("the response has none of the known metrics; add others with --metric")
        except (ScrapeError, ExpositionError) as error:
            self._fail(str(error))
            return None
        self._succeed(reading, exposition.malformed)
        return reading if reading.readings else None

    def _fail(self, why: str) -> None:
        old = self.figures
        if not self._failed:
            logger.warning(
                "cannot scrape %s; retrying (engine metrics are missing until then): %s",
                self.target,
                why,
            )
        self._failed += 1
        self.figures = ScrapeFigures(old.engine, old.answers, old.failures + 1, old.malformed, why)

    def _succeed(self, reading: EngineReading, malformed: int) -> None:
        old = self.figures
        if self._failed:
            logger.info("%s can be scraped again, after %d failures", self.target, self._failed)
            self._failed = 0
        if not old.answers:
            logger.info(
                "first scrape of %s: %s, %d metrics",
                self.target,
                reading.engine or "an unknown engine",
                reading.known,
            )
            if reading.hint:
                logger.warning("%s: %s", self.target, reading.hint)
        if malformed and not old.malformed:
            logger.warning("%s: %d lines of the selected metrics are malformed", self.target, malformed)
        self.figures = ScrapeFigures(reading.engine, old.answers + 1, old.failures, old.malformed + malformed)


def make_engine_batch(
    config: AgentConfig, boot_id: str, interval: Interval, reading: EngineReading
) -> EngineBatch:
    """Return the batch of one reading, taken at the interval's end."""
    return EngineBatch(
        namespace=config.namespace,
        endpoint=config.endpoint,
        replica_id=config.replica_id,
        boot_id=boot_id,
        seq=interval.seq,
        start_us=interval.start_us,
        end_us=interval.end_us,
        at_us=[interval.length_us],
        engine=reading.engine,
        readings=readings_in_range(reading.readings),
    )
