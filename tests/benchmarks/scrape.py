"""The cost of scraping a serving engine: parsing one response, compared with prometheus_client, and the whole agent.

`python -m tests.benchmarks.scrape`. The response is as long as vLLM's: a dozen histograms of two engines.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

import psutil
from prometheus_client.parser import text_string_to_metric_families
from tests.agents.scrape import expositions
from tests.agents.scrape.engine_server import EngineServer
from tests.benchmarks.results import Figure

from endpoint_analytics.agents.scrape.exposition import parse_exposition
from endpoint_analytics.agents.scrape.readings import EngineReader

HISTOGRAMS, BUCKETS, ROUNDS, SECONDS = 19, 23, 200, 20


def answer() -> str:
    """Return a response of vLLM's length."""
    labels = 'model_name="meta-llama/Llama-3.1-8B-Instruct"'
    lines = [expositions.VLLM]
    for number in range(HISTOGRAMS):
        name = f"vllm:request_phase_{number}_seconds"
        lines.append(f"# HELP {name} Histogram of a phase.\n# TYPE {name} histogram\n")
        for engine in (0, 1):
            lines += [
                f'{name}_bucket{{engine="{engine}",le="{2.0**bucket}",{labels}}} {bucket * 100}.0\n'
                for bucket in range(BUCKETS)
            ]
            lines.append(f'{name}_sum{{engine="{engine}",{labels}}} 12345.678\n')
            lines.append(f'{name}_count{{engine="{engine}",{labels}}} 2300.0\n')
    return "".join(lines)


def main() -> list[Figure]:
    """Print the costs."""
    text, reader = answer(), EngineReader()
    print(f"an answer of {text.count(chr(10)):,} lines, {len(text) / 1000:.0f} kB", flush=True)
    begun = time.process_time()
    for at in range(ROUNDS):
        reader.read(parse_exposition(text, reader.spelled), at)
    ours_ms = (time.process_time() - begun) / ROUNDS * 1000
    begun = time.process_time()
    for _ in range(ROUNDS // 10):
        list(text_string_to_metric_families(text))
    theirs_ms = (time.process_time() - begun) / (ROUNDS // 10) * 1000
    print(f"reading it: {ours_ms:.2f} ms; prometheus_client's parser {theirs_ms:.1f} ms", flush=True)
    with EngineServer(text) as engine:
        words = (
            "agent",
            "scrape",
            engine.url,
            "--namespace",
            "a",
            "--endpoint",
            "b",
            "--kafka",
            "127.0.0.1:1",
        )
        agent = subprocess.Popen(
            [sys.executable, "-m", "endpoint_analytics.infra.command", *words],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ,
        )  # fmt: skip
        try:
            time.sleep(3)
            process = psutil.Process(agent.pid)
            before = sum(process.cpu_times()[:2])
            time.sleep(SECONDS)
            used = sum(process.cpu_times()[:2]) - before
            memory = process.memory_info().rss
        finally:
            agent.kill()
            agent.wait()
    print(
        f"the whole agent, once a second, Kafka away: {used / SECONDS * 100:.2f} % of a core, {memory / 1e6:.0f} MB",
        flush=True,
    )
    name, shape = "reading a serving engine's metrics", f"{text.count(chr(10)):,} lines of vLLM's"
    return [
        Figure(name, ours_ms, "ms", shape),
        Figure(name, theirs_ms, "ms", shape, "prometheus_client"),
    ]


if __name__ == "__main__":
    main()
