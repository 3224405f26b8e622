"""The worker as it is, but for chunks that a test can wait for: their length comes from the environment."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import os
import sys

from endpoint_analytics.pipeline.core.chunks import ChunkRule
from endpoint_analytics.pipeline.stream.command import add_arguments, run_worker
from endpoint_analytics.pipeline.stream.config import worker_config


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    arguments = parser.parse_args(words)
    logging.basicConfig(level=arguments.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    rule = ChunkRule(int(os.environ["CHUNK_MS"]), int(os.environ["CHUNK_OFFSETS"]))
    return run_worker(dataclasses.replace(worker_config(arguments), rule=rule))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
