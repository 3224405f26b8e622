"""The live shape, beside what others would build: what each costs, and what one kill -9 loses or counts twice.

Replicas and requests are those of live.py. Ours reads its own batches; peers read a JSON message for each request, as
their users send them. All use the same Kafka and the same ClickHouse, and store requests, statuses, and sketches of
latency and time to first byte, for each replica and 10 s. Ours also stores pending requests, aborts and losses.

The kill is one `kill -9` at a bad moment, the same one for all: while the process waits for ClickHouse, which is paused
for PAUSE_S and then goes on with what it was sent. It is started again at once; what is stored in the end is compared
with what was sent, replica by replica. At any other moment a kill costs a peer less, most often nothing.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from tests.benchmarks import peer_faust, peer_polars, peer_streams, peer_view
from tests.benchmarks.live import MEASURE_S, REQUESTS_A_MESSAGE, SETTLE_S, requests_a_second
from tests.benchmarks.live_run import LiveRun, PipelineError, Spent
from tests.benchmarks.pipelines import JSON, OUR_PIPELINE, Pipeline
from tests.benchmarks.results import CPU, LIVE_1K, OURS, Figure

from endpoint_analytics.infra.local.kafka.errors import KafkaError

Measured = TypeVar("Measured")

REPLICAS = 1_000
KILL_REPLICAS, KILL_S, KILL_AFTER_S, PAUSE_S = 100, 30, 12, 3.0
QUIET_S, PATIENCE_S = 20.0, 240.0


def _python(module: str) -> Callable[[str, str, Path], tuple[str, ...]]:
    return lambda brokers, topic, _: (sys.executable, "-m", f"tests.benchmarks.{module}", brokers, topic)


def _faust(brokers: str, topic: str, directory: Path) -> tuple[str, ...]:
    return (*_python("peer_faust")(brokers, topic, directory), str(directory / "faust"))


def _streams(guarantee: str) -> Callable[[str, str, Path], tuple[str, ...]]:
    def words(brokers: str, topic: str, directory: Path) -> tuple[str, ...]:
        command = peer_streams.command(directory / "classes")
        return (*command, brokers, topic, str(directory / "streams"), guarantee)

    return words


PIPELINES: Mapping[str, Pipeline] = {
    "ours": OUR_PIPELINE,
    "polars": Pipeline("Polars", JSON, _python("peer_polars"), peer_polars.STORED, (peer_polars.TABLE,)),
    "view": Pipeline("ClickHouse view", JSON, _python("peer_view"), peer_view.STORED, peer_view.TABLES),
    "streams": Pipeline(
        "Kafka Streams", JSON, _streams("at_least_once"), peer_streams.STORED, (peer_streams.TABLE,)
    ),
    "streams-eos": Pipeline(
        "Kafka Streams, exactly_once_v2",
        JSON,
        _streams("exactly_once_v2"),
        peer_streams.STORED,
        (peer_streams.TABLE,),
    ),
    "faust": Pipeline("Faust table", JSON, _faust, peer_faust.STORED, (peer_faust.TABLE,)),
}


def main(names: Sequence[str] = ()) -> list[Figure]:
    """Print a table of costs and one of kills, of these pipelines or of all."""
    pipelines = [PIPELINES[name] for name in names or PIPELINES]
    return [*_compare_costs(pipelines), *_compare_kills(pipelines)]


def _each(
    pipelines: Sequence[Pipeline], measure: Callable[[Pipeline], Measured]
) -> Iterator[tuple[Pipeline, Measured]]:
    """Yield each pipeline with what was measured; says of a peer that cannot run here why."""
    for pipeline in pipelines:
        try:
            measured = measure(pipeline)
        except (PipelineError, KafkaError) as error:
            print(f"{pipeline.name:<32}not measured: {error}", flush=True)
        else:
            yield pipeline, measured


def _spent(pipeline: Pipeline) -> Spent:
    with tempfile.TemporaryDirectory() as directory, LiveRun(pipeline, Path(directory)) as run:
        run.send(REPLICAS, REQUESTS_A_MESSAGE)
        run.start()
        time.sleep(SETTLE_S)
        return run.measure(MEASURE_S)


def _compare_costs(pipelines: Sequence[Pipeline]) -> list[Figure]:
    sent_a_second = sum(map(requests_a_second, range(REPLICAS)))
    print(
        f"{REPLICAS:,} replicas, {sent_a_second:,} requests/s; CPU in s for a million requests\n"
        f"{'':<32}pipeline  ClickHouse   both  Kafka  replicas a core  MB  % of the requests  % of the machine: others"
    )
    figures = []
    a_core_name = f"live, {REPLICAS:,} replicas: replicas a core at 1 s, both"
    for pipeline, spent in _each(pipelines, _spent):
        millions = max(spent.requests, 1) / 1e6
        followed = spent.requests / (sent_a_second * spent.took_s) * 100
        # Of those that it would take at 1 s if it could follow.
        a_core = 1e6 / spent.cpu_s_a_million / (sent_a_second / REPLICAS)
        print(
            f"{pipeline.name:<32}{spent.pipeline_s / millions:>8.1f}  {spent.clickhouse_s / millions:>10.1f}"
            f"  {spent.cpu_s_a_million:>5.1f}  {spent.kafka_s / millions:>5.1f}  {a_core:>15,.0f}"
            f"  {spent.memory_mb:.0f}  {followed:.0f}  {spent.others_percent:.0f}",
            flush=True,
        )
        shape = f"{REPLICAS:,} replicas, a message a second each, {REQUESTS_A_MESSAGE} requests a message, one worker"
        if pipeline.name != OURS:
            shape = (
                "JSON a request" if followed > 90 else f"JSON a request; it follows {followed:.0f} % of them"
            )
        figures += [
            Figure(LIVE_1K, spent.cpu_s_a_million, CPU, shape, pipeline.name),
            Figure(a_core_name, a_core, "replicas", shape, pipeline.name),
        ]
    return figures


def _compare_kills(pipelines: Sequence[Pipeline]) -> list[Figure]:
    sent = {f"replica-{number}": requests_a_second(number) * KILL_S for number in range(KILL_REPLICAS)}
    total = sum(sent.values())
    print(
        f"{KILL_REPLICAS} replicas send {total:,} requests in {KILL_S} s, one kill -9\n"
        f"{'':<32}stored    lost  doubled  lost, %  doubled, %"
    )
    figures = []
    for pipeline, stored in _each(pipelines, partial(_stored_after_kill, total)):
        lost = sum(max(0, count - stored.get(name, 0)) for name, count in sent.items())
        doubled = sum(max(0, count - sent.get(name, 0)) for name, count in stored.items())
        lost_percent, doubled_percent = (count / total * 100 for count in (lost, doubled))
        print(
            f"{pipeline.name:<32}{sum(stored.values()):>6}  {lost:>6}  {doubled:>7}  {lost_percent:>7.2f}"
            f"  {doubled_percent:>10.2f}",
            flush=True,
        )
        shape = f"{KILL_REPLICAS} replicas for {KILL_S} s, killed while it waits for ClickHouse"
        unit = f"% of {KILL_S} s"
        figures += [
            Figure("one kill -9: requests lost", lost_percent, unit, shape, pipeline.name),
            Figure("one kill -9: requests doubled", doubled_percent, unit, shape, pipeline.name),
        ]
    return figures


def _stored_after_kill(sent: int, pipeline: Pipeline) -> dict[str, int]:
    with tempfile.TemporaryDirectory() as directory, LiveRun(pipeline, Path(directory)) as run:
        run.start()
        run.send(KILL_REPLICAS, REQUESTS_A_MESSAGE, KILL_S)
        time.sleep(KILL_AFTER_S)
        with run.clickhouse_paused():
            time.sleep(PAUSE_S)
            run.kill()
        run.start()
        run.wait_sent()
        begun = changed = time.monotonic()
        stored = run.stored()
        # A crash is over when nothing more comes; until all has come, a peer may wait for its group.
        while time.monotonic() < begun + PATIENCE_S:
            time.sleep(1.0)
            now = run.stored()
            if now != stored:
                stored, changed = now, time.monotonic()
            wanted_s = QUIET_S if sum(stored.values()) >= sent else QUIET_S * 4
            if time.monotonic() > changed + wanted_s:
                break
        return stored


if __name__ == "__main__":
    main(sys.argv[1:])
