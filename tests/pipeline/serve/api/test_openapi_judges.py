"""Tools that others made hold the service to its OpenAPI document, and make clients from it that read real figures.

schemathesis sends valid and invalid requests to the real service; every check that it has is on.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.pipeline.store.rows import boot, event, hardware, insert, setting, window
from tests.support import judges

from endpoint_analytics.pipeline.serve.api.openapi_examples import SIGN_IN
from endpoint_analytics.schemas.metrics import HARDWARE_METRICS

pytestmark = [pytest.mark.slow, pytest.mark.judge, pytest.mark.timeout(1800)]

SCHEMATHESIS = "schemathesis==4.32.5"
CLIENT_MAKER = "openapi-python-client==0.29.1"
LINTER = "@redocly/cli@2.77.0"
TYPES_MAKER = ("openapi-typescript@7.13.0", "openapi-fetch@0.17.0", "typescript@5.9.3")
HOOKS = Path(__file__).with_name("schemathesis_hooks.py")
PYTHON_CLIENT = Path(__file__).with_name("generated_client.py")
TYPESCRIPT_CLIENT = Path(__file__).with_name("generated_client.ts")
REQUESTS, WINDOWS = 9, 30
# Too large a head or body is refused as such. Whether a range is one depends on several values: the hook judges those,
# and the dictionaries make most of them ranges.
CONFIG = """
hooks = {hooks}
[auth.openapi.token]
bearer = {token}
[auth.openapi.session]
api_key = {session}
[warnings]
fail-on = true
[checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 404, 405, 413, 415, 429, 431]
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "3xx", 401, 403, 404, 429, 431]
[dictionaries.starts]
values = ["now-15m", "now-6h", "now-30d", {start}]
[dictionaries.ends]
values = ["now", "now-5m"]
[dictionaries.steps]
values = [3600, 86400]
[parameters]
from = {{ dictionary = "starts", probability = 0.8 }}
to = {{ dictionary = "ends", probability = 0.8 }}
step = {{ dictionary = "steps", probability = 0.8 }}
[[operations]]
include-operation-id = ["getSeries", "getSummary", "listReplicas", "getTimeline", "listEvents"]
[operations.checks.positive_data_acceptance]
expected-statuses = ["2xx", "3xx", 400, 404, 413, 431]
"""


@pytest.fixture(scope="module", autouse=True)
def _rows(client):
    """An endpoint with everything that an answer may have; its newest data counts as new for an hour."""
    now, alive = datetime.now(UTC), -3600
    ages = [*range(60, 60 + 10 * WINDOWS, 10), alive, alive + 10, alive + 20]
    figures = {
        "covered_to_us": 10_000_000,
        "pending_request_us": 20_000_000,
        "arrived": REQUESTS,
        "finished": REQUESTS,
        "status_codes": [200, 500],
        "status_counts": [REQUESTS - 1, 1],
        "latency_count": REQUESTS,
        "latency_sum_us": 900,
        "ttfb_count": REQUESTS,
        "ttfb_sum_us": 90,
    }
    insert(
        client,
        "request_windows",
        [window(now, age_s=age, latency={300: REQUESTS}, ttfb={200: REQUESTS}, **figures) for age in ages],
    )
    insert(
        client,
        "hardware_windows",
        [
            hardware(
                now, metric.name, 12.5, age_s=age, boot_id="h", device="gpu0" if "gpu" in metric.name else ""
            )
            for metric in HARDWARE_METRICS
            for age in ages
        ],
    )
    insert(
        client,
        "engine_windows",
        [hardware(now, "engine_waiting_requests", 2.0, age_s=age) for age in ages],
    )
    insert(
        client,
        "boot_states",
        [
            boot(now, age_s=alive, status={200: 5, 500: 1}, dropped={"spool_full": 3}),
            boot(now, boot_id="h", stream="hardware", age_s=alive),
        ],
    )
    insert(client, "replica_events", [event(now, "pending", age_s=1200), event(now, "running", age_s=1000)])
    insert(client, "endpoint_settings", [setting(now, 1, 3, age_s=1500)])


@pytest.fixture(scope="module")
def session(service, token) -> str:
    """The value of a page's cookie."""
    answer = service.post("/session", {"token": token})
    assert answer.status == 200
    return answer.headers["set-cookie"].partition("=")[2].partition(";")[0]


def test_schemathesis_finds_nothing(service, operator_token, session, tmp_path):
    home = judges.virtual_environment("schemathesis-4.32.5", SCHEMATHESIS)
    config = tmp_path / "schemathesis.toml"
    config.write_text(
        CONFIG.format(
            start=json.dumps((datetime.now(UTC) - timedelta(hours=2)).isoformat(timespec="seconds")),
            hooks=json.dumps(str(HOOKS)),
            token=json.dumps(operator_token),
            session=json.dumps(session),
        )
    )
    words = [
        str(home / "bin" / "python"),
        "-m",
        "schemathesis.cli",
        f"--config-file={config}",
        "run",
        f"http://127.0.0.1:{service.port}/openapi.json",
        "--checks=all",
        "--max-examples=60",
        "--seed=1",
        "--continue-on-failure",
        "--workers=2",
        "--no-color",
    ]
    report = tmp_path / "report.txt"
    with report.open("wb") as output:
        environment = os.environ | {"TOKEN": operator_token, "EXAMPLE": SIGN_IN.token}
        done = subprocess.run(words, cwd=tmp_path, check=False, stdout=output, stderr=output, env=environment)
    found = report.read_text()
    assert done.returncode == 0, found[-20_000:]
    assert "No issues found" in found, found[-2000:]
    assert "ERROR" not in service.log.read_text()


@pytest.fixture
def document(service, tmp_path) -> Path:
    path = tmp_path / "openapi.json"
    path.write_bytes(service.get("/openapi.json").body)
    return path


def _run(*words: str | Path, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env=os.environ | environment,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _check_figures(said: str) -> None:
    """Compare what a client printed with what the endpoint had: the range, the totals of the scrape, and the 404."""
    read = json.loads(said)
    assert read["statuses"] == {"200": (REQUESTS - 1) * WINDOWS, "500": WINDOWS}
    assert re.search(r'^http_requests_total\{.*"200".*\} 5$', read["text"], re.MULTILINE)
    assert re.search(r"^replica_state\{", read["text"], re.MULTILINE)
    assert "latency" not in read["text"]
    assert read["status"] == 404


def test_a_linter_has_no_remark(document, tmp_path):
    home = judges.node_packages("redocly-2.77.0", LINTER)
    program = home / "node_modules/@redocly/cli/bin/cli.js"
    said = _run(
        judges.node(),
        program,
        "lint",
        "--extends=recommended-strict",
        "--format=json",
        document,
        cwd=tmp_path,
        REDOCLY_TELEMETRY="off",
        REDOCLY_SUPPRESS_UPDATE_NOTICE="true",
    )
    assert json.loads(said)["totals"] == {"errors": 0, "warnings": 0, "ignored": 0}


def test_a_python_client_reads_the_figures(service, token, document, tmp_path):
    python = judges.virtual_environment("openapi-python-client-0.29.1", CLIENT_MAKER) / "bin" / "python"
    words = ("generate", "--path", document, "--output-path", tmp_path / "endpoint_figures", "--meta=none")
    said = _run(python, "-c", "from openapi_python_client.cli import app; app()", *words, cwd=tmp_path)
    assert "unsupported" not in said.lower()
    operations = json.loads(document.read_text())["paths"].values()
    made = {path.stem for path in (tmp_path / "endpoint_figures/api").rglob("*.py")} - {"__init__"}
    assert len(made) == sum(len(methods) for methods in operations)
    url = f"http://127.0.0.1:{service.port}"
    _check_figures(_run(python, PYTHON_CLIENT, cwd=tmp_path, URL=url, TOKEN=token, PYTHONPATH=str(tmp_path)))


def test_a_typescript_client_compiles_and_reads_the_figures(service, token, document, tmp_path):
    home = judges.node_packages("openapi-typescript-7.13.0", *TYPES_MAKER)
    modules = home / "node_modules"
    (tmp_path / "node_modules").symlink_to(modules)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    _run(judges.node(), modules / "openapi-typescript/bin/cli.js", document, "-o", "api.d.ts", cwd=tmp_path)
    source = tmp_path / "client.ts"
    source.write_text(TYPESCRIPT_CLIENT.read_text())
    options = ("--strict", "--module", "nodenext", "--target", "es2022", "--lib", "es2022,dom")
    _run(judges.node(), modules / "typescript/bin/tsc", *options, source.name, cwd=tmp_path)
    url = f"http://127.0.0.1:{service.port}"
    _check_figures(_run(judges.node(), "client.js", cwd=tmp_path, URL=url, TOKEN=token))
