"""`make bench`: all benchmarks, one after another, and one table of what they reported. Names choose some of them."""

from __future__ import annotations

import importlib
import sys

from tests.benchmarks.results import Figure, render_table

BENCHMARKS = (
    "fold",
    "worker",
    "live",
    "peers",
    "backlog",
    "wire",
    "workers",
    "sizing",
    "middleware",
    "outcome",
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
    """Run the named benchmarks, or all, and print the table of their figures."""
    figures: list[Figure] = []
    try:
        for name in names or BENCHMARKS:
            print(f"\n== {name}", flush=True)
            figures += importlib.import_module(f"tests.benchmarks.{name}").main() or ()
    finally:  # also of those before one that failed
        if figures:
            print(f"\n== results\n{render_table(figures)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
