"""The compose file: our own parsers take its commands and variables, and nothing in it is open or secret."""

from __future__ import annotations

import hashlib
import re
import stat
import subprocess
import tomllib
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import yaml
from tests.infra.deploy.command_lines import connections, parsed
from tests.infra.deploy.compose.project import (
    DIRECTORY,
    FILE,
    OURS,
    PROJECT,
    SERVICES,
    VARIABLE,
    environment_of,
    secret_files,
)
from tests.support.parts import ROOT

from endpoint_analytics.infra.local.kafka.jars import KAFKA_VERSION
from endpoint_analytics.pipeline.store.rollup_levels import Retention

MONITORING = ROOT / "infra" / "deploy" / "monitoring"


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory that secrets.sh wrote."""
    directory = tmp_path_factory.mktemp("compose") / "secrets"
    subprocess.run(["sh", DIRECTORY / "secrets.sh", directory], check=True)
    return directory


# Our services


@pytest.mark.parametrize("service", [name for name in OURS if name != "token"])
def test_our_parsers_take_the_command(service):
    assert "entrypoint" not in SERVICES[service]
    parsed(SERVICES[service]["command"])


def test_our_parser_takes_the_command_that_creates_the_token():
    (script,) = SERVICES["token"]["command"]
    words = re.findall(r"^endpoint-analytics (.*) > token\.new$", script, re.MULTILINE)
    assert words == ["token create --namespace '*' --label prometheus"]
    arguments = parsed(words[0].replace("'", "").split())
    assert (arguments.namespace, arguments.label) == ("*", "prometheus")


@pytest.mark.parametrize("service", OURS)
def test_our_settings_take_the_variables(service, tmp_path):
    kafka, clickhouse = connections(environment_of(service), tmp_path)
    if service in {"topics", "worker", "signals", "otlp"}:
        inside = SERVICES["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"].split(",")[0]
        assert f"INSIDE://{kafka.bootstrap_servers}" == inside
    if service not in {"topics", "otlp"}:
        assert clickhouse.url == "http://clickhouse:8123"
        assert clickhouse.password == "/run/secrets/clickhouse-password"
        assert "clickhouse-password" in SERVICES[service]["secrets"]


def test_the_retention_is_the_default():
    """So that whoever changes it sees what to change."""
    days = [int(value) for name, value in environment_of("migrate").items() if "RETENTION" in name]
    assert Retention(*days) == Retention()


@pytest.mark.parametrize("service", OURS)
def test_our_containers_may_do_little(service):
    found = SERVICES[service]
    assert found["user"] == "65532:65532"
    assert found["read_only"] is True
    assert found["cap_drop"] == ["ALL"]
    assert found["security_opt"] == ["no-new-privileges:true"]
    assert found["tmpfs"] == ["/tmp"]


def test_workers_may_be_several():
    """A fixed name in the group or on the machine would allow only one."""
    assert parsed(SERVICES["worker"]["command"]).instance_id is None
    assert not {"container_name", "ports", "hostname"} & SERVICES["worker"].keys()


@pytest.mark.parametrize(("service", "port"), [("worker", 6066), ("query-service", 8080)])
def test_health_is_asked_where_it_is_served(service, port):
    arguments = parsed(SERVICES[service]["command"])
    assert port == (arguments.health_port if service == "worker" else arguments.port)
    test = SERVICES[service]["healthcheck"]["test"]
    assert test[:3] == ["CMD", "python", "-c"]
    compile(test[3], "healthcheck", "exec")
    assert f"http://127.0.0.1:{port}/ready" in test[3]


# All services


@pytest.mark.parametrize("service", SERVICES)
def test_no_service_runs_before_what_it_needs(service):
    needed = SERVICES[service].get("depends_on", {})
    for name, condition in needed.items():
        if condition["condition"] == "service_healthy":
            assert "healthcheck" in SERVICES[name]
        if condition["condition"] == "service_completed_successfully":
            assert "restart" not in SERVICES[name]
    if "ENDPOINT_ANALYTICS_KAFKA" in environment_of(service) and service != "topics":
        assert "topics" in needed
    if service in OURS and service not in {"topics", "migrate", "otlp"}:
        assert "migrate" in needed


def test_ports_are_open_on_this_machine_only():
    text = FILE.read_text()
    lines = [line for line in text.splitlines() if line.strip().startswith("ports:")]
    assert len(lines) == sum("ports" in found for found in SERVICES.values()) == 6
    for line in lines:
        assert re.fullmatch(r' +ports: \["\$\{BIND_ADDRESS:-127\.0\.0\.1\}:(\d+):\1"\]', line), line
    assert all("network_mode" not in found and "privileged" not in found for found in SERVICES.values())


def test_nothing_in_the_file_is_a_password():
    for service in SERVICES:
        for name, value in environment_of(service).items():
            if re.search(r"PASSWORD|SECRET|TOKEN", name):
                assert name.endswith("FILE")
                assert value.removeprefix("/run/secrets/") in SERVICES[service]["secrets"]
    assert (DIRECTORY / ".gitignore").read_text() == "/secrets/\n"
    assert {Path(each["file"]).parts[0] for each in PROJECT["secrets"].values()} == {"secrets"}


def test_what_is_mounted_exists():
    for found in SERVICES.values():
        for volume in found.get("volumes", ()):
            source = volume.partition(":")[0]
            assert (DIRECTORY / source).exists() if source.startswith(".") else source in PROJECT["volumes"]


def test_versions_are_those_that_are_tested():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    defaults = dict(VARIABLE.findall(FILE.read_text()))
    assert defaults["VERSION"] == project["version"]
    assert defaults["KAFKA_VERSION"] == KAFKA_VERSION
    assert not [found["image"] for found in SERVICES.values() if found["image"].endswith(("latest", ":"))]


# Its secrets


def test_the_secrets_are_written_once(secrets):
    files = secret_files(secrets)
    before = {name: path.read_text() for name, path in files.items()}
    subprocess.run(["sh", DIRECTORY / "secrets.sh", secrets], check=True)
    assert {name: path.read_text() for name, path in files.items()} == before
    assert sorted(path.name for path in secrets.iterdir()) == sorted(path.name for path in files.values())
    passwords = [text for name, text in before.items() if name != "clickhouse-users"]
    assert len(set(passwords)) == 4
    assert all(re.fullmatch(r"[0-9a-f]{48}", text) for text in passwords)
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in files.values()} == {0o444}


def test_clickhouse_gets_hashes_of_these_passwords_only(secrets):
    files = secret_files(secrets)
    users = ET.parse(files["clickhouse-users"]).getroot().find("users")
    assert users is not None
    hashes = {user.tag: user.findtext("password_sha256_hex") for user in users}
    expected = {
        user: hashlib.sha256(files[name].read_bytes()).hexdigest()
        for user, name in (
            ("endpoint_analytics", "clickhouse-password"),
            ("analyst", "clickhouse-analyst-password"),
        )
    }
    assert hashes == {"default": None, **expected}
    assert users.find("default").get("remove") == "remove"
    assert environment_of("worker")["ENDPOINT_ANALYTICS_CLICKHOUSE_USER"] in expected


def test_the_analyst_has_the_limits_of_the_documents(secrets):
    """docs/sql.md has them as SQL, for a server of one's own."""
    sql = re.search(
        r"CREATE SETTINGS PROFILE \w+ SETTINGS (.*?);", (ROOT / "docs/sql.md").read_text(), re.DOTALL
    )[1]
    documented = {}
    for setting in sql.split(","):
        name, _, rest = setting.strip().partition(" = ")
        documented[name] = rest.split()[::2] if "MIN" in rest else [rest]
    root = ET.parse(secret_files(secrets)["clickhouse-users"]).getroot()
    profile = root.find("profiles/analyst")
    found = {each.tag: [each.text] for each in profile if each.tag != "constraints"}
    for each in profile.find("constraints"):
        found[each.tag] += [each.findtext("min"), each.findtext("max")]
    assert found == documented
    assert root.findtext("users/analyst/grants/query") == "GRANT SELECT ON endpoint_analytics.*"


# Prometheus and Grafana


def test_prometheus_scrapes_what_the_example_does():
    """With the addresses and the token of the compose file, all namespaces, and every worker that there is."""
    example = yaml.safe_load((MONITORING / "prometheus" / "prometheus.yaml").read_text())
    found = yaml.safe_load((DIRECTORY / "prometheus.yaml").read_text())
    assert found.keys() == example.keys()
    assert found["global"] == example["global"]
    assert found["rule_files"] == example["rule_files"]
    jobs = {job["job_name"]: job for job in found["scrape_configs"]}
    assert jobs.keys() == {job["job_name"] for job in example["scrape_configs"]}
    token = SERVICES["prometheus"]["volumes"][3].split(":")[1] + "/token"
    for job in jobs.values():
        for each in [job, *job.get("http_sd_configs", ())]:
            assert each.get("authorization", {}).get("credentials_file", token) == token
    assert jobs["endpoints"]["scrape_native_histograms"] is True
    assert jobs["endpoints"]["http_sd_configs"][0]["url"] == "http://query-service:8080/v2/http-sd"
    assert jobs["endpoint-analytics-query-service"]["static_configs"] == [{"targets": ["query-service:8080"]}]
    (workers,) = jobs["endpoint-analytics-worker"]["dns_sd_configs"]
    assert (workers["names"], workers["port"]) == (["worker"], 6066)
    mounted = {volume.split(":")[1] for volume in SERVICES["prometheus"]["volumes"]}
    assert {f"/etc/prometheus/{name}" for name in [*found["rule_files"], "prometheus.yaml"]} <= mounted


def test_grafanas_data_sources_are_those_of_the_example():
    provisioning = MONITORING / "grafana" / "provisioning"
    example = yaml.safe_load((provisioning / "datasources" / "endpoint-analytics.yaml").read_text())[
        "datasources"
    ]
    found = yaml.safe_load((DIRECTORY / "grafana-datasources.yaml").read_text())["datasources"]
    elsewhere = {"url", "isDefault", "secureJsonData", "host"}

    def same(source: dict) -> dict:
        return {name: same(value) if isinstance(value, dict) else value
                for name, value in source.items() if name not in elsewhere}  # fmt: skip

    assert [same(source) for source in found] == [same(source) for source in example]
    assert found[0]["url"] == "http://prometheus:9090"
    assert found[1]["jsonData"]["host"] == "clickhouse"
    password = found[1]["secureJsonData"]["password"].removeprefix("$__file{/run/secrets/").removesuffix("}")
    assert password in SERVICES["grafana"]["secrets"]
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "endpoint-analytics.yaml").read_text())[
        "providers"
    ]
    assert (
        f"../monitoring/grafana/dashboards:{provider['options']['path']}:ro" in SERVICES["grafana"]["volumes"]
    )
    assert environment_of("grafana")["GF_PLUGINS_PREINSTALL_SYNC"] == found[1]["type"]
