"""One jar from a Maven repository, checked against its pin. Where jars are kept is not told here.

The repository is Maven Central, or the mirror that `ENDPOINT_ANALYTICS_MAVEN_URL` names. A proxy is taken
from the usual variables (HTTPS_PROXY, NO_PROXY), certificates from REQUESTS_CA_BUNDLE, else those
that Python trusts (SSL_CERT_FILE, SSL_CERT_DIR, the machine's).
"""

from __future__ import annotations

import hashlib
import os
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from endpoint_analytics.agents.command.installation import install_command
from endpoint_analytics.infra.local.kafka.errors import JarError
from endpoint_analytics.schemas.configuration.settings import parse_url, read_text, variable_of

MIRROR_VARIABLE = variable_of("maven_url")
TRIES = 3
READ_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True)
class Jar:
    """One pinned jar: its Maven coordinates and the SHA-256 of its bytes, in hexadecimal."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def file_name(self) -> str:
        """The jar's name in a Maven repository."""
        return f"{self.artifact}-{self.version}.jar"


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download(jar: Jar, staging: Path, given_up: threading.Event) -> Path:
    """Download a jar somewhere below `staging`, check it, return where it is.

    It is tried again after a network error or a damaged copy; JarError where that does not help, or where
    `given_up` was set meanwhile.
    """
    try:
        from jgo.maven import MavenContext, PythonResolver
    except ModuleNotFoundError as error:
        raise JarError(f"fetching Kafka needs the package jgo: {install_command('local')}") from error
    mirror = read_text(os.environ, "maven_url")
    if mirror:
        parse_url("maven_url", mirror)
    trust_what_python_trusts()
    failure = ""
    for number in range(TRIES):
        context = MavenContext(
            resolver=PythonResolver(progress_callback=_until(given_up)),
            repo_cache=staging / str(number),
            local_repos=[],
            remote_repos={"mirror": mirror.rstrip("/")} if mirror else None,
            timeout=READ_TIMEOUT_S,
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
            if given_up.is_set():
                break
            continue
        if found == jar.sha256:
            return path
        failure = f"its SHA-256 is {found}, it should be {jar.sha256}"
    raise JarError(
        f"cannot fetch {jar.group}:{jar.artifact}:{jar.version} from {mirror or 'Maven Central'}: {failure}. "
        f"Check the network and its proxy, or name a mirror in {MIRROR_VARIABLE}"
    )


def _until(given_up: threading.Event) -> Callable[[str, int], AbstractContextManager[Callable[[int], None]]]:
    """jgo's callback for progress, called at each few kilobytes: the place to leave a download."""

    @contextmanager
    def progress(file_name: str, _size: int) -> Iterator[Callable[[int], None]]:
        def update(_count: int) -> None:
            if given_up.is_set():
                raise JarError(f"the download of {file_name} was given up")

        yield update

    return progress


def trust_what_python_trusts() -> None:
    """Let requests, which jgo uses, trust the machine's certificates, as Python's own ssl module does.

    It brings a list of its own, which lacks what a company's network adds to the machine's.
    """
    paths = ssl.get_default_verify_paths()  # of SSL_CERT_FILE and SSL_CERT_DIR, or the machine's
    # OpenSSL finds certificates of a directory by hashed names: one that has none holds nothing that is trusted.
    is_filled = paths.capath is not None and any(Path(paths.capath).glob("*.0"))
    trusted = paths.cafile or (paths.capath if is_filled else None)
    if trusted and "CURL_CA_BUNDLE" not in os.environ:
        os.environ.setdefault("REQUESTS_CA_BUNDLE", trusted)
