"""`make bench`: all benchmarks, one after another."""

from __future__ import annotations

import importlib
import sys

BENCHMARKS = (
    "fold",
    "worker",
    "live",
    "workers",
    "middleware",
    "wsgi",
    "proxy",
    "rendering",
    "namespace",
    "freshness",
    "queries",
    "signals",
    "outage",
    "resources",
    "hardware",
    "scrape",
    "otlp",
)


def main(names: list[str]) -> int:
    """Run the named benchmarks, or all."""
    for name in names or BENCHMARKS:
        print(f"\n== {name}", flush=True)
        importlib.import_module(f"tests.benchmarks.{name}").main()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
