"""The artefacts, built and installed as a user would: cloned sources, wheel, source distribution, environments."""

import os
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.parts import ROOT

CONSTRAINTS = ROOT / "constraints.txt"


@dataclass(frozen=True)
class Environment:
    """A virtual environment with only pip, until something is installed."""

    directory: Path

    @property
    def bin(self) -> Path:
        return self.directory / "bin"

    def variables(self, **more: str) -> dict[str, str]:
        """The machine's environment variables, without access to this project's sources and to other programs."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PYTHON", "VIRTUAL_ENV", "ENDPOINT_ANALYTICS_"))
        }
        return kept | {"PATH": str(self.bin)} | more

    def install(self, *words: str) -> str:
        done = subprocess.run(
            [self.bin / "python", "-m", "pip", "install", "-q", "--no-compile", "-c", CONSTRAINTS, *words],
            env=self.variables(),
            cwd=self.directory,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        return done.stdout

    def run(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment, with nothing else in PATH, outside the sources."""
        return subprocess.run(
            [self.bin / words[0], *words[1:]],
            env=self.variables(**variables),
            cwd=self.directory,
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture(scope="package")
def make_environment(tmp_path_factory):
    def make(name: str) -> Environment:
        directory = tmp_path_factory.mktemp(name)
        venv.create(directory, with_pip=True)
        return Environment(directory)

    return make


@pytest.fixture(scope="package")
def sources(tmp_path_factory) -> Path:
    """The project as in git, with nothing built."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    copy = tmp_path_factory.mktemp("cloned") / "endpoint-analytics"
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file() and not name.startswith("tests/"):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    return copy


@dataclass(frozen=True)
class Artefacts:
    wheel: Path
    sdist: Path


@pytest.fixture(scope="package")
def artefacts(sources, tmp_path_factory) -> Artefacts:
    """The output of `make dist`: both files, with the page, which the tests of the page have already built."""
    ready = tmp_path_factory.mktemp("page-built") / "endpoint-analytics"
    shutil.copytree(sources, ready)
    page = Path("pipeline", "serve", "page", "dist")
    assert (ROOT / page / "index.html").is_file(), "the page is not built: make page"
    shutil.copytree(ROOT / page, ready / page)
    out = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--outdir", str(out), str(ready)]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return Artefacts(*out.glob("*.whl"), *out.glob("*.tar.gz"))
