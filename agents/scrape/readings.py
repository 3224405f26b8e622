"""From an engine's samples to our metrics: which sample counts, added up, averaged or as a rate. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from endpoint_analytics.agents.scrape.engines import ENGINES, Engine, Source
from endpoint_analytics.agents.scrape.exposition import Exposition, Sample
from endpoint_analytics.agents.scrape.growth import Growth
from endpoint_analytics.agents.scrape.selector import EVERYTHING, Selector, fits, fits_where_it_can
from endpoint_analytics.schemas.limits import MAX_READING

# Workers of one model that is spread over devices say the same: all but one would count it again.
_COPIES = frozenset({"tp_rank", "pp_rank", "moe_ep_rank"})


@dataclass(frozen=True, slots=True)
class EngineReading:
    """What one answer says: the engine's name (empty: none that is known), and readings by metric.

    `known` counts the metrics that the answer has; rates have no reading at the first answer. `hint` is what a user
    should know of how they were read.
    """

    engine: str = ""
    readings: Mapping[str, float] = field(default_factory=dict)
    known: int = 0
    hint: str = ""


class EngineReader:
    """Reads one engine's answers, in order.

    `own` are sources that go before those of the engines; of the engines' samples that have the labels of `select`,
    only those count that it means.
    """

    def __init__(
        self,
        own: Sequence[Source] = (),
        engines: Sequence[Engine] = ENGINES,
        select: Selector = EVERYTHING,
    ) -> None:
        self._select = select
        self._parts = {engine.name: engine.part for engine in engines}
        sources = [("", source) for source in own]
        sources += [(engine.name, source) for engine in engines for source in engine.sources]
        self._sources = [(engine, source, Growth()) for engine, source in sources]
        self.spelled: Mapping[str, str] = _spellings(engines) | _own_spellings(own)
        """How each wanted name may be written in an answer -> how it is documented."""

    def read(self, exposition: Exposition, at_ns: int) -> EngineReading:
        """Return what the answer of `at_ns` (monotonic) says."""
        samples: dict[str, list[Sample]] = {}
        for name, found in exposition.samples.items():
            samples.setdefault(self.spelled[name], found)
        engine, hint, readings, told = "", "", dict[str, float](), set[str]()
        for of_engine, source, growth in self._sources:
            name, chosen = _choose(source, samples, self._select if of_engine else EVERYTHING)
            value = _value(source, name, chosen, growth, at_ns)
            if not chosen or source.metric in told:
                continue
            told.add(source.metric)
            engine = engine or of_engine
            hint = hint or self._hint(of_engine, source, chosen)
            if value is not None and abs(value * source.factor) <= MAX_READING:
                readings[source.metric] = value * source.factor
        return EngineReading(engine, readings, len(told), hint)

    def _hint(self, engine: str, source: Source, chosen: Sequence[Sample]) -> str:
        """Return what to do where a request may count several times."""
        part = self._parts.get(engine)
        values = (
            {sample.labels.get(part, "") for sample in chosen} if part and source.how == "rate" else set()
        )
        if len(values) < 2 or part is None:
            return ""
        shown = ", ".join(sorted(values)[:5])
        return (
            f"the requests of {len(values)} {part}s are added up ({shown}); where one calls the others, so that a "
            f"request counts several times, --select '{part}=\"NAME\"' reads that one alone"
        )


def _value(source: Source, name: str, chosen: Sequence[Sample], growth: Growth, at_ns: int) -> float | None:
    if source.how == "rate":
        counters = {(name, tuple(sorted(sample.labels.items()))): sample.value for sample in chosen}
        return growth.per_second(counters, at_ns)
    if not chosen:
        return None
    total = sum(sample.value for sample in chosen)
    return total if source.how == "sum" else total / len(chosen)


def _choose(
    source: Source, samples: Mapping[str, list[Sample]], select: Selector
) -> tuple[str, list[Sample]]:
    """Return the first name of the source that has samples, and these."""
    for name in source.names:
        found = [
            sample
            for sample in samples.get(name, ())
            if fits(source.where, sample.labels) and fits_where_it_can(select, sample.labels)
        ]
        if found:
            return name, _without_copies(found)
    return "", []


def _without_copies(samples: Iterable[Sample]) -> list[Sample]:
    """Return the samples, of those that differ by a rank alone the first."""
    seen: dict[tuple[tuple[str, str], ...], Sample] = {}
    for sample in samples:
        key = tuple(sorted(item for item in sample.labels.items() if item[0] not in _COPIES))
        seen.setdefault(key, sample)
    return list(seen.values())


def _spellings(engines: Iterable[Engine]) -> dict[str, str]:
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
    """Return how a counter may be spelled; OpenMetrics has `_total`, older libraries and Ray leave it out."""
    if source.how != "rate":
        return (name,)
    base = name.removesuffix("_total")
    return base, f"{base}_total"
