"""The jars that Kafka runs from: fetched once, verified at every start. Only the jars in `jars.json` are trusted.

`jars.json` pins each jar by its SHA-256 (written by `pin.py`), so the jars that run are the jars that were tested.
A jar is downloaded into a staging directory, verified, and only then moved into the cache, so an interrupted
download leaves nothing that is trusted later. A lock lets one process download while others wait.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

from endpoint_analytics.infra.local.kafka.errors import JarError
from endpoint_analytics.infra.local.kafka.repository import Jar, download, sha256_of

KAFKA_VERSION = "4.3.1"
PINS = Path(__file__).with_name("jars.json")
DOWNLOADS_AT_ONCE = 4


def read_pins(path: Path = PINS) -> list[Jar]:
    """Return the jars that Kafka runs from."""
    return [Jar(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))]


def cache_directory(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the jars' directory: below XDG_CACHE_HOME if that is an absolute path, else below ~/.cache."""
    base = Path(environ.get("XDG_CACHE_HOME", ""))
    if not base.is_absolute():
        base = Path.home() / ".cache"
    return base / "endpoint-analytics" / f"kafka-{KAFKA_VERSION}"


def fetch(progress: Callable[[str], None]) -> list[Path]:
    """Return the paths of all jars, downloading missing ones; `progress` gets one line per step.

    Raises JarError if a jar cannot be fetched or differs from its pin.
    """
    directory, pins = cache_directory(), read_pins()
    if _missing(directory, pins):
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise JarError(
                f"cannot create the cache directory {directory}: {error}; set XDG_CACHE_HOME"
            ) from error
        with _one_at_a_time(directory, progress):
            _download_all(directory, _missing(directory, pins), progress)
    return [directory / jar.file_name for jar in pins]


def _missing(directory: Path, pins: Sequence[Jar]) -> list[Jar]:
    """Return the jars missing from the directory; raises JarError if an existing one differs from its pin."""
    missing = []
    for jar in pins:
        path = directory / jar.file_name
        try:
            found = sha256_of(path)
        except FileNotFoundError:
            missing.append(jar)
            continue
        if found != jar.sha256:
            raise JarError(
                f"{path} is not the jar that was tested: its SHA-256 is {found}, expected {jar.sha256}. "
                "Remove the file and start again to download it"
            )
    return missing


@contextmanager
def _one_at_a_time(directory: Path, progress: Callable[[str], None]) -> Iterator[None]:
    """Hold the directory's download lock, waiting if another process has it. The kernel frees it on a crash."""
    with (directory / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("Kafka: waiting for another process to finish fetching the jars")
            fcntl.flock(lock, fcntl.LOCK_EX)
        for abandoned in directory.glob("fetching-*"):
            shutil.rmtree(abandoned, ignore_errors=True)
        yield


def _download_all(directory: Path, jars: Sequence[Jar], progress: Callable[[str], None]) -> None:
    if not jars:
        return
    progress(f"Kafka {KAFKA_VERSION}: fetching {len(jars)} jars (once, about 45 MB) into {directory}")
    staging = Path(tempfile.mkdtemp(prefix="fetching-", dir=directory))
    given_up = threading.Event()
    pool = ThreadPoolExecutor(DOWNLOADS_AT_ONCE, thread_name_prefix="jars")
    try:
        done = {pool.submit(download, jar, staging, given_up): jar for jar in jars}
        for count, future in enumerate(as_completed(done), start=1):
            jar = done[future]
            future.result().replace(directory / jar.file_name)
            progress(f"Kafka {KAFKA_VERSION}: {count} of {len(jars)} jars ({jar.file_name})")
    finally:
        given_up.set()
        pool.shutdown(cancel_futures=True)
        shutil.rmtree(staging, ignore_errors=True)


def main() -> int:
    """Fetch the jars in advance: `python -m endpoint_analytics.infra.local.kafka.jars`."""
    try:
        paths = fetch(lambda line: print(line, file=sys.stderr, flush=True))
    except JarError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"Kafka {KAFKA_VERSION}: {len(paths)} jars in {paths[0].parent}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
