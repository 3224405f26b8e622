"""From an engine's samples to our metrics: which sample counts, added up, averaged or as a rate. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from endpoint_analytics.agents.scrape.engines import ENGINES, Engine, Source
from endpoint_analytics.agents.scrape.exposition import Exposition, Sample
from endpoint_analytics.agents.scrape.growth import Growth

LARGEST = 1e15
"""What a batch's reading may be; a larger number is none that an engine means."""

# Workers of one model that is spread over devices say the same: all but one would count it again.
_COPIES = frozenset({"tp_rank", "pp_rank", "moe_ep_rank"})


@dataclass(frozen=True, slots=True)
class EngineReading:
    """What one answer says: the engine's name (empty: none that is known), and readings by metric.

    `known` counts the metrics that the answer has; rates have no reading at the first answer.
    """

    engine: str = ""
    readings: Mapping[str, float] = field(default_factory=dict)
    known: int = 0


class EngineReader:
    """Reads one engine's answers, in order. `own` are sources that go before those of the engines."""

    def __init__(self, own: Sequence[Source] = (), engines: Sequence[Engine] = ENGINES) -> None:
        sources = [("", source) for source in own]
        sources += [(engine.name, source) for engine in engines for source in engine.sources]
        self._sources = [(engine, source, Growth()) for engine, source in sources]
        own_names = {name: name for source in own for name in source.names}
        self.spelled: Mapping[str, str] = _spellings(engines) | own_names
        """How each wanted name may be written in an answer -> how it is documented."""

    def read(self, exposition: Exposition, at_ns: int) -> EngineReading:
        """Return what the answer of `at_ns` (monotonic) says."""
        samples: dict[str, list[Sample]] = {}
        for name, found in exposition.samples.items():
            samples.setdefault(self.spelled[name], found)
        engine, readings, told = "", dict[str, float](), set[str]()
        for of_engine, source, growth in self._sources:
            name, chosen = _choose(source, samples)
            value = _value(source, name, chosen, growth, at_ns)
            if not chosen or source.metric in told:
                continue
            told.add(source.metric)
            engine = engine or of_engine
            if value is not None and abs(value * source.factor) <= LARGEST:
                readings[source.metric] = value * source.factor
        return EngineReading(engine, readings, len(told))


def _value(source: Source, name: str, chosen: Sequence[Sample], growth: Growth, at_ns: int) -> float | None:
    if source.how == "rate":
        counters = {(name, tuple(sorted(sample.labels.items()))): sample.value for sample in chosen}
        return growth.per_second(counters, at_ns)
    if not chosen:
        return None
    total = sum(sample.value for sample in chosen)
    return total if source.how == "sum" else total / len(chosen)


def _choose(source: Source, samples: Mapping[str, list[Sample]]) -> tuple[str, list[Sample]]:
    """Return the first name of the source that has samples, and these."""
    for name in source.names:
        labels = source.labels
        found = [
            sample
            for sample in samples.get(name, ())
            if all(sample.labels.get(label, "") == value for label, value in labels)
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
    names = {name for engine in engines for source in engine.sources for name in source.names}
    return {
        prefix + spelled: name
        for name in names
        for spelled in (name, name.replace(":", "_"))
        for prefix in ("", "ray_")
    }
