"""The jars Kafka runs from: fetched once, checked always. Nothing is trusted that is not in `jars.json`.

`jars.json` pins each jar by its SHA-256 (written by `pin.py`), so that what runs is what was tested.
A jar is downloaded into a folder of its own, checked, and only then moved to its name in the cache, so
a download that was killed leaves nothing behind that is trusted later. A lock lets one process download
while others wait. `ENDPOINT_ANALYTICS_MAVEN_URL` names a mirror to use instead of Maven Central.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from endpoint_analytics.infra.kafka.errors import JarError

KAFKA_VERSION = "4.3.1"
MIRROR_VARIABLE = "ENDPOINT_ANALYTICS_MAVEN_URL"
PINS = Path(__file__).with_name("jars.json")
DOWNLOADS_AT_ONCE = 4
TRIES = 3
READ_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class Jar:
    """One pinned jar: its Maven coordinates and the SHA-256 of its bytes, in hexadecimal."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def file_name(self) -> str:
        """The name of the jar in the cache folder, which is its name in a Maven repository."""
        return f"{self.artifact}-{self.version}.jar"


def read_pins(path: Path = PINS) -> list[Jar]:
    """The jars that Kafka runs from."""
    return [Jar(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))]


def cache_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the jars are kept: below XDG_CACHE_HOME where it is an absolute path, else below ~/.cache."""
    base = Path(environ.get("XDG_CACHE_HOME", ""))
    if not base.is_absolute():
        base = Path.home() / ".cache"
    return base / "endpoint-analytics" / f"kafka-{KAFKA_VERSION}"


def fetch(progress: Callable[[str], None]) -> list[Path]:
    """The paths of all jars, downloading what is missing; `progress` is told each step in one line.

    Raises JarError where a jar cannot be had or differs from its pin.
    """
    folder, pins = cache_folder(), read_pins()
    if _missing(folder, pins):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise JarError(f"cannot make the cache folder {folder}: {error}; set XDG_CACHE_HOME") from error
        with _one_at_a_time(folder, progress):
            _download_all(folder, _missing(folder, pins), progress)
    return [folder / jar.file_name for jar in pins]


def _missing(folder: Path, pins: Sequence[Jar]) -> list[Jar]:
    """The jars that are not in the folder; raises JarError where one that is there is not the pinned one."""
    missing = []
    for jar in pins:
        path = folder / jar.file_name
        try:
            found = sha256_of(path)
        except FileNotFoundError:
            missing.append(jar)
            continue
        if found != jar.sha256:
            raise JarError(
                f"{path} is not the jar that was tested: its SHA-256 is {found}, it should be {jar.sha256}. "
                "Remove the file and start again to fetch it anew"
            )
    return missing


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _one_at_a_time(folder: Path, progress: Callable[[str], None]) -> Iterator[None]:
    """Hold the folder's download lock, waiting for its holder. The kernel frees it if the holder dies."""
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("Kafka: waiting for another process that is fetching the jars")
            fcntl.flock(lock, fcntl.LOCK_EX)
        for abandoned in folder.glob("fetching-*"):
            shutil.rmtree(abandoned, ignore_errors=True)
        yield


def _download_all(folder: Path, jars: Sequence[Jar], progress: Callable[[str], None]) -> None:
    if not jars:
        return
    progress(f"Kafka {KAFKA_VERSION}: fetching {len(jars)} jars (once, about 45 MB) into {folder}")
    staging = Path(tempfile.mkdtemp(prefix="fetching-", dir=folder))
    pool = ThreadPoolExecutor(DOWNLOADS_AT_ONCE, thread_name_prefix="jars")
    try:
        done = {pool.submit(_download, jar, staging): jar for jar in jars}
        for count, future in enumerate(as_completed(done), start=1):
            jar = done[future]
            future.result().replace(folder / jar.file_name)
            progress(f"Kafka {KAFKA_VERSION}: {count} of {len(jars)} jars ({jar.file_name})")
    finally:
        pool.shutdown(cancel_futures=True)
        shutil.rmtree(staging, ignore_errors=True)


def _download(jar: Jar, staging: Path) -> Path:
    """Download one jar below `staging` and check it; tries again after a network error or a damaged copy."""
    try:
        from jgo.maven import MavenContext
    except ModuleNotFoundError as error:
        raise JarError(
            "fetching Kafka needs the package jgo: pip install 'endpoint-analytics[local]'"
        ) from error
    mirror = os.environ.get(MIRROR_VARIABLE)
    remotes = {"mirror": mirror.rstrip("/")} if mirror else None
    failure = ""
    for number in range(TRIES):
        context = MavenContext(
            repo_cache=staging / str(number), local_repos=[], remote_repos=remotes, timeout=READ_TIMEOUT_S
        )
        artifact = context.project(jar.group, jar.artifact).at_version(jar.version).artifact()
        try:
            path = Path(artifact.resolve())
            found = sha256_of(path)
        except (
            OSError,
            RuntimeError,
        ) as error:  # requests' errors are OSErrors; jgo's "not found" is the other
            failure = str(error)
            continue
        if found == jar.sha256:
            return path
        failure = f"its SHA-256 is {found}, it should be {jar.sha256}"
    raise JarError(
        f"cannot fetch {jar.group}:{jar.artifact}:{jar.version} from {mirror or 'Maven Central'}: {failure}. "
        f"Check the network and its proxy, or name a mirror in {MIRROR_VARIABLE}"
    )


def main() -> int:
    """Fetch ahead of time: `python -m endpoint_analytics.infra.kafka.jars`."""
    try:
        paths = fetch(lambda line: print(line, file=sys.stderr, flush=True))
    except JarError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"Kafka {KAFKA_VERSION}: {len(paths)} jars in {paths[0].parent}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
