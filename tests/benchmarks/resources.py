"""The memory and CPU time of each kind of agent: at rest, and at 200 requests per second.

Each agent is a process with default settings (hardware sampled) and a real Kafka. The middleware is reported as the
difference from the same server without it; the others as the whole process. Memory is the unique set size and the
resident set size; CPU time is user plus system time, in percent of one core.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
from tests.agents.log.lines import nginx_line
from tests.agents.scrape.engine_server import EngineServer
from tests.agents.scrape.expositions import VLLM
from tests.benchmarks.served import load, server

from endpoint_analytics.infra.deploy.topics import TopicSpec, ensure_topics
from endpoint_analytics.infra.local.kafka.process import KafkaProcess
from endpoint_analytics.schemas.topics import DEFAULT_PREFIX, TOPIC_CONFIG, TOPICS

RATE = 200
WINDOW_S = 12.0
WARM_S = 10.0  # five agents start at once
COMMAND = [sys.executable, "-m", "endpoint_analytics.infra.command", "agent"]
NAMES = ["--namespace", "bench", "--endpoint", "resources"]


@contextmanager
def agent(words: list[str], environment: dict[str, str], said: str = "") -> Iterator[tuple[int, str]]:
    """Run an agent; yield its process id and its ready line."""
    child = subprocess.Popen(
        [*COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, text=True
    )
    assert child.stdout is not None
    try:
        line = child.stdout.readline() if said else ""
        assert said in line, line
        yield child.pid, line
    finally:
        child.terminate()
        child.wait(30)
        child.stdout.close()


class Writer(threading.Thread):
    """Writes log lines at the rate, until `ending` is set."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self.ending = threading.Event()

    def run(self) -> None:
        with self._path.open("a", buffering=1) as file:
            while not self.ending.wait(0.05):
                file.writelines(nginx_line(time.time()) + "\n" for _ in range(RATE // 20))


def cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def measured(processes: dict[str, psutil.Process], seconds: float, ports: dict[str, int]) -> dict[str, float]:
    """Return the percentage of a core used over a time in which each port gets the rate of requests."""
    before, begun = {name: cpu_s(process) for name, process in processes.items()}, time.monotonic()
    if ports:
        asyncio.run(load(ports, RATE, seconds))
    else:
        time.sleep(seconds)
    took_s = time.monotonic() - begun
    return {name: (cpu_s(process) - before[name]) / took_s * 100 for name, process in processes.items()}


def main() -> None:
    """Print the table."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        kafka = stack.enter_context(KafkaProcess(directory / "kafka"))
        specs = [TopicSpec(topic.name(DEFAULT_PREFIX), 1, 3_600_000, config=TOPIC_CONFIG) for topic in TOPICS]
        asyncio.run(ensure_topics(kafka.bootstrap_servers, specs))

        def settings(replica: str) -> dict[str, str]:
            return {
                "ENDPOINT_ANALYTICS_KAFKA": kafka.bootstrap_servers,
                "ENDPOINT_ANALYTICS_REPLICA_ID": replica,
                "ENDPOINT_ANALYTICS_RUNTIME_DIRECTORY": str(directory / "runtime"),
            }

        def start(replica: str, words: list[str], said: str = "") -> tuple[int, str]:
            return stack.enter_context(
                agent([*words[:1], *NAMES, *words[1:]], os.environ | settings(replica), said)
            )

        log = directory / "access.log"
        log.touch()
        without, with_it = server("without"), server("with", **settings("middleware"))
        ports = {"without": stack.enter_context(without), "middleware": stack.enter_context(with_it)}
        upstream = stack.enter_context(server("without"))
        proxy, line = start(
            "proxy",
            ["proxy", "--to", f"http://127.0.0.1:{upstream}", "--listen", "127.0.0.1:0"],
            "proxy ready",
        )
        ports["proxy"] = int(line.split()[2].rpartition(":")[2])
        reader, _ = start("log", ["log", str(log), "--format", "nginx"], "log reader ready")
        engine = stack.enter_context(EngineServer(VLLM))
        scraper, _ = start("scrape", ["scrape", engine.url], "scraping")
        launcher, _ = start("run", ["run", "--", "sleep", "600"])
        listening = {
            connection.laddr.port: connection.pid
            for connection in psutil.net_connections("tcp")
            if connection.pid and connection.laddr
        }
        processes = {
            "without": psutil.Process(listening[ports["without"]]),
            "middleware": psutil.Process(listening[ports["middleware"]]),
            "proxy": psutil.Process(proxy),
            "log": psutil.Process(reader),
            "scrape": psutil.Process(scraper),
            "run": psutil.Process(launcher),
        }
        time.sleep(WARM_S)
        rest = measured(processes, WINDOW_S, {})
        writer = Writer(log)
        writer.start()
        busy = measured(processes, WINDOW_S, ports)
        writer.ending.set()
        writer.join()
        memory = {name: process.memory_full_info() for name, process in processes.items()}

    mib = 1024 * 1024
    base = memory["without"]
    print(f"agents, {WINDOW_S:g} s each, real Kafka, defaults; per cent of one core")
    print(f"  {'':<40}{'own MiB':>9}{'RSS MiB':>9}{'CPU at rest':>13}{f'CPU at {RATE}/s':>14}")
    for name, title in {
        "middleware": "middleware, above its server without",
        "proxy": "agent proxy",
        "log": "agent log",
        "scrape": "agent scrape (vLLM's metrics)",
        "run": "agent run (its server apart)",
    }.items():
        own, resident, less_rest, less_busy = memory[name].uss, memory[name].rss, 0.0, 0.0
        if name == "middleware":
            own, resident = own - base.uss, resident - base.rss
            less_rest, less_busy = rest["without"], busy["without"]
        at_load = "-" if name in {"scrape", "run"} else f"{busy[name] - less_busy:.2f} %"
        at_rest = f"{rest[name] - less_rest:.2f} %"
        print(f"  {title:<40}{own / mib:>9.1f}{resident / mib:>9.1f}{at_rest:>13}{at_load:>14}")


if __name__ == "__main__":
    main()
