"""Jars are fetched once from a repository (here a real HTTP server with the real jars), and always verified."""

import http.server
import os
import re
import shutil
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from endpoint_analytics.infra.local.kafka import jars
from endpoint_analytics.infra.local.kafka.errors import JarError
from endpoint_analytics.infra.local.kafka.repository import (
    MIRROR_VARIABLE,
    TRIES,
    download,
    sha256_of,
    trust_what_python_trusts,
)

FETCH = [sys.executable, "-m", "endpoint_analytics.infra.local.kafka.jars"]


class Repository(http.server.ThreadingHTTPServer):
    """A Maven repository of this machine's jars, which can damage one of them, or hang at one."""

    damaged = ""
    hangs_at = ""

    def __init__(self, paths: list[Path]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.paths = {path.name: path for path in paths}
        self.asked: list[str] = []
        self.hanging = threading.Event()
        self.go_on = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/maven2/"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Repository

    def do_GET(self) -> None:
        name = self.path.rsplit("/", 1)[-1]
        if name not in self.server.paths:
            self.send_error(404)
            return
        self.server.asked.append(name)
        body = self.server.paths[name].read_bytes()
        if name == self.server.damaged:
            body = body[:-1] + bytes([body[-1] ^ 1])
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:1000])
        if name == self.server.hangs_at:
            self.server.hanging.set()
            self.server.go_on.wait(30)
        self.wfile.write(body[1000:])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def real_jars() -> list[Path]:
    return jars.fetch(lambda _: None)


@pytest.fixture
def repository(
    real_jars: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Repository]:
    """The repository, used by this process and its children, with an empty cache."""
    with Repository(real_jars) as server:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        monkeypatch.setenv(MIRROR_VARIABLE, server.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.go_on.set()
        server.shutdown()
        thread.join()


def left_in_cache() -> set[str]:
    return {path.name for path in jars.cache_directory().iterdir()} - {"lock"}


def test_every_jar_is_pinned_by_its_sha256() -> None:
    pins = jars.read_pins()
    assert len({jar.file_name for jar in pins}) == len(pins)
    assert all(re.fullmatch("[0-9a-f]{64}", jar.sha256) for jar in pins)


def test_all_of_kafka_is_of_one_version() -> None:
    assert {jar.version for jar in jars.read_pins() if jar.group == "org.apache.kafka"} == {
        jars.KAFKA_VERSION
    }


def test_the_log_binding_is_that_of_slf4j_1() -> None:
    versions = {jar.artifact: jar.version for jar in jars.read_pins()}
    assert versions["slf4j-api"].startswith("1.7.")
    assert versions["log4j-slf4j-impl"] == versions["log4j-core"]


def test_the_cache_is_below_xdg_cache_home_where_it_is_absolute() -> None:
    assert jars.cache_directory({"XDG_CACHE_HOME": "/x"}) == Path("/x/endpoint-analytics/kafka-4.3.1")
    home = Path.home() / ".cache/endpoint-analytics/kafka-4.3.1"
    assert jars.cache_directory({"XDG_CACHE_HOME": "x"}) == home
    assert jars.cache_directory({}) == home


def test_fetches_all_with_a_line_for_each_and_nothing_the_second_time(repository: Repository) -> None:
    lines: list[str] = []
    paths = jars.fetch(lines.append)
    assert [sha256_of(path) for path in paths] == [jar.sha256 for jar in jars.read_pins()]
    assert left_in_cache() == set(repository.paths)
    assert len(lines) == 1 + len(paths)
    assert lines[0].startswith(f"Kafka 4.3.1: fetching {len(paths)} jars (once, about 45 MB) into ")
    assert lines[-1].startswith(f"Kafka 4.3.1: {len(paths)} of {len(paths)} jars (")
    del lines[:], repository.asked[:]
    assert jars.fetch(lines.append) == paths
    assert (lines, repository.asked) == ([], [])


def test_a_jar_in_the_cache_that_is_not_the_pinned_one_is_an_error(repository: Repository) -> None:
    directory = jars.cache_directory()
    directory.mkdir(parents=True)
    tampered = directory / "kafka-clients-4.3.1.jar"
    tampered.write_bytes(repository.paths[tampered.name].read_bytes() + b"x")
    with pytest.raises(JarError, match=r"kafka-clients-4\.3\.1\.jar is not the jar that was tested.*Remove"):
        jars.fetch(lambda _: None)
    assert repository.asked == []


def test_a_jar_damaged_on_its_way_is_tried_again_then_an_error_and_never_kept(repository: Repository) -> None:
    repository.damaged = "scala-library-2.13.18.jar"
    with pytest.raises(JarError, match=r"cannot fetch org\.scala-lang:scala-library:2\.13\.18.*SHA-256"):
        jars.fetch(lambda _: None)
    assert repository.asked.count(repository.damaged) == TRIES
    assert repository.damaged not in left_in_cache()
    repository.damaged = ""
    jars.fetch(lambda _: None)
    assert left_in_cache() == set(repository.paths)


def test_a_repository_that_does_not_answer_is_an_error_naming_it(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MIRROR_VARIABLE, "http://127.0.0.1:9/maven2")
    with pytest.raises(JarError, match=r"from http://127\.0\.0\.1:9/maven2.*ENDPOINT_ANALYTICS_MAVEN_URL"):
        jars.fetch(lambda _: None)


def test_two_processes_at_once_and_one_killed_before_leave_every_jar_whole(repository: Repository) -> None:
    repository.hangs_at = "kafka-clients-4.3.1.jar"
    with subprocess.Popen(FETCH, stderr=subprocess.DEVNULL) as killed:
        assert repository.hanging.wait(30)
        killed.kill()
    assert "kafka-clients-4.3.1.jar" not in left_in_cache()
    repository.hangs_at = ""
    repository.go_on.set()
    both = [subprocess.Popen(FETCH, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) for _ in range(2)]
    for process in both:
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        assert output.decode() == f"Kafka 4.3.1: 46 jars in {jars.cache_directory()}{os.linesep}"
    assert left_in_cache() == set(repository.paths)
    assert repository.asked.count("kafka-clients-4.3.1.jar") == 2  # the killed one's, and one of the two


def test_a_fetch_that_is_interrupted_ends_soon_and_leaves_no_staging_directory(
    repository: Repository,
) -> None:
    repository.hangs_at = "kafka-clients-4.3.1.jar"
    command = "import sys; from endpoint_analytics.infra.command import main; sys.exit(main())"
    data = str(jars.cache_directory().parent / "data")
    with subprocess.Popen(
        [sys.executable, "-c", command, "kafka", "--data", data],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert repository.hanging.wait(30)
        process.terminate()
        threading.Timer(0.2, repository.go_on.set).start()
        assert process.communicate(timeout=15)[0] == b""
        assert process.returncode == 0
    assert not [name for name in left_in_cache() if name.startswith("fetching-")]


def test_a_mirror_by_https_is_trusted_by_ssl_cert_file(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed: it makes the certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    request = (
        "req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    )
    subprocess.run(
        [openssl, *request.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    repository.socket = context.wrap_socket(repository.socket, server_side=True)
    monkeypatch.setenv(MIRROR_VARIABLE, repository.url.replace("http:", "https:"))
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    jar = next(jar for jar in jars.read_pins() if jar.artifact == "slf4j-api")
    with pytest.raises(JarError, match=r"(?i)certificate"):
        download(jar, tmp_path / "first", threading.Event())
    os.environ.pop("REQUESTS_CA_BUNDLE", None)  # the machine's, set by the download
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert sha256_of(download(jar, tmp_path / "second", threading.Event())) == jar.sha256
    os.environ.pop("REQUESTS_CA_BUNDLE")  # the fixture restores the one there was


@pytest.mark.parametrize(
    ("names", "is_trusted"),
    [([], False), (["ssl-cert-snakeoil.pem", "readme.00"], False), (["snakeoil.pem", "5ad8a5d6.0"], True)],
)
def test_a_directory_without_a_certificate_that_openssl_finds_does_not_replace_the_list_of_requests(
    names: list[str], is_trusted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in names:
        (tmp_path / name).write_text("a certificate")
    paths = ssl.get_default_verify_paths()._replace(cafile=None, capath=str(tmp_path))
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)
    monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "")
    del os.environ["REQUESTS_CA_BUNDLE"]  # set first, so that the fixture restores what there was
    trust_what_python_trusts()
    said = requests.Session().merge_environment_settings("https://repo", {}, None, None, None)
    assert said["verify"] == (str(tmp_path) if is_trusted else True)
