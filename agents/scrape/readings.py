"""Turns a serving engine's samples into our metrics: selects, then sums, averages or takes rates. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from endpoint_analytics.agents.scrape.counter_rates import CounterRates
from endpoint_analytics.agents.scrape.engines import ENGINES, ServingEngine, Source
from endpoint_analytics.agents.scrape.exposition import Exposition, ScrapedSample
from endpoint_analytics.agents.scrape.selector import EVERYTHING, Selector, fits, fits_where_it_can
from endpoint_analytics.schemas.limits import MAX_READING

# The workers of one model spread over devices report the same values: only one of them may count.
_COPIES = frozenset({"tp_rank", "pp_rank", "moe_ep_rank"})


@dataclass(frozen=True, slots=True)
class EngineReading:
    """The readings of one response: the engine's name (empty: unknown), and values by metric.

    `known` counts the metrics that the response has; rates have no reading in the first response. `hint` is what a user
    should know about how they were read.
    """

    engine: str = ""
    readings: Mapping[str, float] = field(default_factory=dict)
    known: int = 0
    hint: str = ""


class EngineReader:
    """Reads one engine's responses, in order.

    `own` are the user's sources, which take precedence over the engines'. Engine samples that have the labels of
    `select` count only if they match it.
    """

    def __init__(
        self,
        own: Sequence[Source] = (),
        engines: Sequence[ServingEngine] = ENGINES,
        select: Selector = EVERYTHING,
    ) -> None:
        self._select = select
        self._parts = {engine.name: engine.part for engine in engines}
        sources = [("", source) for source in own]
        sources += [(engine.name, source) for engine in engines for source in engine.sources]
        self._sources = [(engine, source, CounterRates()) for engine, source in sources]
        self.spelled: Mapping[str, str] = _spellings(engines) | _own_spellings(own)
        """Each wanted name as a response may spell it -> as it is documented."""

    def read(self, exposition: Exposition, at_ns: int) -> EngineReading:
        """Return the readings of the response received at `at_ns` (monotonic)."""
        samples: dict[str, list[ScrapedSample]] = {}
        for name, found in exposition.samples.items():
            samples.setdefault(self.spelled[name], found)
        engine, hint, readings, known = "", "", dict[str, float](), set[str]()
        for of_engine, source, growth in self._sources:
            name, chosen = _choose(source, samples, self._select if of_engine else EVERYTHING)
            value = _value(source, name, chosen, growth, at_ns)
            if not chosen or source.metric in known:
                continue
            known.add(source.metric)
            engine = engine or of_engine
            hint = hint or self._hint(of_engine, source, chosen)
            if value is not None and abs(value * source.factor) <= MAX_READING:
                readings[source.metric] = value * source.factor
        return EngineReading(engine, readings, len(known), hint)

    def _hint(self, engine: str, source: Source, chosen: Sequence[ScrapedSample]) -> str:
        """Return what to do if requests may be counted several times, else an empty text."""
        part = self._parts.get(engine)
        values = (
            {sample.labels.get(part, "") for sample in chosen} if part and source.how == "rate" else set()
        )
        if len(values) < 2 or part is None:
            return ""
        shown = ", ".join(sorted(values)[:5])
        return (
            f"the requests of {len(values)} {part}s are summed ({shown}); if one calls the others, a request is "
            f"counted several times: read only that one with --select '{part}=\"NAME\"'"
        )


def _value(
    source: Source, name: str, chosen: Sequence[ScrapedSample], growth: CounterRates, at_ns: int
) -> float | None:
    if source.how == "rate":
        counters = {(name, tuple(sorted(sample.labels.items()))): sample.value for sample in chosen}
        return growth.per_second(counters, at_ns)
    if not chosen:
        return None
    total = sum(sample.value for sample in chosen)
    return total if source.how == "sum" else total / len(chosen)


def _choose(
    source: Source, samples: Mapping[str, list[ScrapedSample]], select: Selector
) -> tuple[str, list[ScrapedSample]]:
    """Return the first name of the source that has samples, and those samples."""
    for name in source.names:
        found = [
            sample
            for sample in samples.get(name, ())
            if fits(source.where, sample.labels) and fits_where_it_can(select, sample.labels)
        ]
        if found:
            return name, _without_copies(found)
    return "", []


def _without_copies(samples: Iterable[ScrapedSample]) -> list[ScrapedSample]:
    """Return the samples; of those that differ only by rank, the first."""
    seen: dict[tuple[tuple[str, str], ...], ScrapedSample] = {}
    for sample in samples:
        key = tuple(sorted(item for item in sample.labels.items() if item[0] not in _COPIES))
        seen.setdefault(key, sample)
    return list(seen.values())


def _spellings(engines: Iterable[ServingEngine]) -> dict[str, str]:
    sources = [source for engine in engines for source in engine.sources]
    found = {
        prefix + spelled.replace(":", colon): name
        for source in sources
        for name in source.names
        for spelled in _with_and_without_total(name, source)
        for colon in (":", "_")
        for prefix in ("", "ray_")
    }
    return found | {name: name for source in sources for name in source.names}


def _own_spellings(own: Iterable[Source]) -> dict[str, str]:
    found = {
        spelled: name
        for source in own
        for name in source.names
        for spelled in _with_and_without_total(name, source)
    }
    return found | {name: name for source in own for name in source.names}


def _with_and_without_total(name: str, source: Source) -> tuple[str, ...]:
    """Return the spellings of a counter; OpenMetrics has `_total`, older libraries and Ray omit it."""
    if source.how != "rate":
        return (name,)
    base = name.removesuffix("_total")
    return base, f"{base}_total"
