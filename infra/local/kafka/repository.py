"""Downloads one jar from a Maven repository and checks it against its pin. Where jars are cached is defined elsewhere.

The repository is Maven Central, or the mirror in `ENDPOINT_ANALYTICS_MAVEN_URL`. The proxy comes from the usual
variables (HTTPS_PROXY, NO_PROXY). Certificates come from REQUESTS_CA_BUNDLE, else from the sources that
Python trusts (SSL_CERT_FILE, SSL_CERT_DIR, the machine's store).
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
        """The jar's file name in a Maven repository."""
        return f"{self.artifact}-{self.version}.jar"


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download(jar: Jar, staging: Path, given_up: threading.Event) -> Path:
    """Download a jar below `staging`, check it, and return its path.

    Retries after a network error or a damaged copy. Raises JarError if that does not help, or if `given_up`
    is set meanwhile.
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
        failure = f"its SHA-256 is {found}, expected {jar.sha256}"
    raise JarError(
        f"cannot fetch {jar.group}:{jar.artifact}:{jar.version} from {mirror or 'Maven Central'}: {failure}. "
        f"Check the network and the proxy, or set {MIRROR_VARIABLE} to a mirror"
    )


def _until(given_up: threading.Event) -> Callable[[str, int], AbstractContextManager[Callable[[int], None]]]:
    """Return a progress callback for jgo, called every few kilobytes, which cancels the download."""

    @contextmanager
    def progress(file_name: str, _size: int) -> Iterator[Callable[[int], None]]:
        def update(_count: int) -> None:
            if given_up.is_set():
                raise JarError(f"the download of {file_name} was cancelled")

        yield update

    return progress


def trust_what_python_trusts() -> None:
    """Make requests, which jgo uses, trust the machine's certificates, as Python's ssl module does.

    Requests has its own list, which lacks the certificates that a company adds to its machines.
    """
    paths = ssl.get_default_verify_paths()  # from SSL_CERT_FILE and SSL_CERT_DIR, or the machine's
    # OpenSSL finds a directory's certificates by hashed names: without such names nothing in it is trusted.
    is_filled = paths.capath is not None and any(Path(paths.capath).glob("*.0"))
    trusted = paths.cafile or (paths.capath if is_filled else None)
    if trusted and "CURL_CA_BUNDLE" not in os.environ:
        os.environ.setdefault("REQUESTS_CA_BUNDLE", trusted)
