"""The layout of the sources: who imports whom, what is installed, what a module is called and says."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from tests.support.rooms import DIRECTORIES, PACKAGE, PAGE, ROOT, imports_of, read_rooms, with_map

MODULES = sorted(
    path.relative_to(ROOT) for directory in DIRECTORIES for path in (ROOT / directory).rglob("*.py")
)


def ours(path: Path) -> set[str]:
    """Return the directories of ours (`schemas`, `pipeline.core` ...) that a source imports from."""
    return {name.removeprefix(f"{PACKAGE}.") for name in imports_of(path) if name.startswith(f"{PACKAGE}.")}


def others(path: Path) -> set[str]:
    """Return the top-level names that a source imports and that are neither ours nor the stdlib's."""
    return {name.split(".")[0] for name in imports_of(path)} - {PACKAGE} - sys.stdlib_module_names


def inside(name: str, *directories: str) -> bool:
    return any(name == directory or name.startswith(f"{directory}.") for directory in directories)


def modules(*directories: str) -> list[Path]:
    found = [path for path in MODULES if any(path.is_relative_to(directory) for directory in directories)]
    assert found
    return found


def violations(directories: Sequence[str], forbidden: Callable[[Path], object]) -> dict[str, object]:
    """Return what is forbidden in each source under the directories, where there is any."""
    return {str(path): found for path in modules(*directories) if (found := forbidden(path))}


# Who imports whom


def test_the_map_is_up_to_date():
    """`make map` draws it."""
    assert with_map(PAGE.read_text(), read_rooms()) == PAGE.read_text()


def test_no_import_climbs():
    """Each room stands above those that it imports: none import each other in a circle."""
    assert read_rooms().climbing == []


@pytest.mark.parametrize(
    ("directory", "allowed"),
    [
        ("schemas", ("schemas",)),
        ("agents", ("agents", "schemas")),
        ("agents/core", ("agents.core", "schemas")),
        ("agents/spool", ("agents.core", "agents.spool", "schemas")),
        ("agents/hardware", ("agents.core", "agents.hardware", "schemas")),
        ("agents/scrape", ("agents.core", "agents.scrape", "schemas")),
        ("agents/delivery", ("agents.core", "agents.delivery", "agents.spool", "schemas")),
        ("pipeline", ("pipeline", "schemas")),
        ("pipeline/core", ("pipeline.core", "schemas")),
        ("pipeline/exposition", ("pipeline.exposition", "schemas")),
        ("pipeline/store", ("pipeline.core", "pipeline.store", "schemas")),
        (
            "pipeline/stream",
            ("pipeline.core", "pipeline.exposition", "pipeline.store", "pipeline.stream", "schemas"),
        ),
        (
            "pipeline/signals",
            (
                "pipeline.core",
                "pipeline.signals",
                "pipeline.exposition",
                "pipeline.store",
                "pipeline.stream",
                "schemas",
            ),
        ),
        (
            "pipeline/serve",
            ("pipeline.core", "pipeline.exposition", "pipeline.serve", "pipeline.store", "schemas"),
        ),
        (
            "pipeline/push",
            (
                "pipeline.core",
                "pipeline.exposition",
                "pipeline.push",
                "pipeline.serve.http",
                "pipeline.serve.scrape",
                "pipeline.store",
                "schemas",
            ),
        ),
        ("infra/fleet", ("infra.fleet", "schemas")),
    ],
)
def test_the_floors(directory, allowed):
    """Which room may import which; the map shows all that do."""
    assert (
        violations([directory], lambda path: {name for name in ours(path) if not inside(name, *allowed)})
        == {}
    )


def test_only_the_embedded_clickhouse_knows_its_inside():
    """Others start it, and lock its directory."""
    entrances = {"process", "errors", "lock", "passwords", "start", "command"}
    inner = {f"infra.local.clickhouse.{path.stem}" for path in modules("infra/local/clickhouse")} - {
        f"infra.local.clickhouse.{name}" for name in (*entrances, "__init__")
    }
    directories = ["agents", "pipeline", "schemas", "infra"]
    assert (
        violations(
            directories,
            lambda path: ours(path) & inner if not path.is_relative_to("infra/local/clickhouse") else set(),
        )
        == {}
    )


def test_the_core_imports_numpy_and_the_stdlib():
    assert violations(["pipeline/core"], lambda path: others(path) - {"numpy"}) == {}


def test_the_core_knows_no_clock_no_chance_and_no_io():
    impure = {
        "time",
        "datetime",
        "random",
        "secrets",
        "os",
        "io",
        "socket",
        "asyncio",
        "threading",
        "pathlib",
    }
    assert (
        violations(["pipeline/core"], lambda path: {name.split(".")[0] for name in imports_of(path)} & impure)
        == {}
    )


def test_agents_are_light():
    """They import only what is always installed, and what a subcommand's extra or a driver brings."""

    def forbidden(path: Path) -> set[str]:
        allowed = {"aiokafka", "msgspec", "orjson", "psutil", "pynvml"}
        if path.is_relative_to("agents/kubernetes"):  # its extra; `agent_command` names it when it is missing
            allowed |= {"aiohttp", "yaml"}
        if path.is_relative_to("agents/otlp"):  # its extra
            allowed |= {"aiohttp", "cramjam", "google", "opentelemetry"}
        if path.name.startswith("gpu_amd"):  # comes with ROCm, and is looked for only where AMD's driver is
            allowed |= {"amdsmi"}
        return others(path) - allowed

    assert violations(["agents"], forbidden) == {}


def test_no_except_star_which_wraps_what_it_raises_before_3_11_4():
    def forbidden(path: Path) -> list[int]:
        tree = ast.parse((ROOT / path).read_text())
        return [node.lineno for node in ast.walk(tree) if isinstance(node, ast.TryStar)]

    assert violations(["agents", "infra", "pipeline", "schemas"], forbidden) == {}


# What is installed


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_directory_with_sources_is_a_package():
    assert {path.parent for path in MODULES} == {
        path.parent for path in MODULES if path.name == "__init__.py"
    }


def test_the_directories_at_the_top_are_mapped():
    assert project()["tool"]["setuptools"]["package-dir"] == {
        f"{PACKAGE}.{directory}": directory for directory in DIRECTORIES
    }


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


# What a module is called and says


def test_a_module_opens_with_its_rule():
    directories = ["agents", "infra", "pipeline", "schemas"]
    assert (
        violations(directories, lambda path: not ast.get_docstring(ast.parse((ROOT / path).read_text())))
        == {}
    )


def test_no_module_is_a_drawer():
    drawers = {"utils", "util", "helpers", "helper", "common", "manager", "misc", "base"}
    python = [path for path in tracked() if path.suffix == ".py"]
    assert [path for path in python if drawers & {path.stem, path.parent.name}] == []


# What must not be in a repository


def text_of(path: Path) -> str:
    try:
        return path.read_text()
    except UnicodeDecodeError:
        return ""


MACHINE_PATH = re.compile(r"(?<![\w.~$}/])/(?:home|root|Users|work|workspace|mnt)/(?!me\b)[A-Za-z0-9_.-]+")
REGISTRY = re.compile(
    r"https?://[^\s\"'`)]*(?:/simple\b|/artifactory\b|/nexus\b|pypi\.org/simple|registry\.npmjs)"
    r"|--(?:extra-)?index-url[= ]\s*\S|\bindex-url\s*=|//[\w.-]+/:_authToken|\"resolved\":\s*\"http"
)


@pytest.mark.parametrize(("pattern", "text", "found"), [
    (MACHINE_PATH, "see /home/ann/thing", True),
        (MACHINE_PATH, "for instance /home/me/thing", False),
    (MACHINE_PATH, "GET /v2/endpoint/home/x", False),
    (REGISTRY, "--index-url https://x", True),
    (REGISTRY, "--no-emit-index-url --no-emit", False),
])  # fmt: skip
def test_the_patterns_find_what_they_are_for(pattern, text, found):
    assert bool(pattern.search(text)) is found


@pytest.mark.parametrize("pattern", [MACHINE_PATH, REGISTRY], ids=["machine path", "registry address"])
def test_tracked_files_name_no(pattern):
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in tracked()
        if path != Path(__file__)
        for match in pattern.finditer(text_of(path))
    ]
    assert found == []
