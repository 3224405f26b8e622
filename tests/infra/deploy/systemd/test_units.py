"""The systemd units: our parsers take their commands and variables, systemd takes them, and they may do little."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.infra.deploy.command_lines import connections, parsed
from tests.infra.deploy.systemd.units import (
    DIRECTORY,
    PROGRAM,
    UNITS,
    Unit,
    command_of,
    environment_files,
    instance_of,
    read_environment,
    read_unit,
)
from tests.support.parts import ROOT

from endpoint_analytics.agents.core.config import read_config
from endpoint_analytics.pipeline.serve.command import STOP_WITHIN_S as SERVE_STOPS_WITHIN_S
from endpoint_analytics.pipeline.store.rollup_levels import Retention
from endpoint_analytics.pipeline.stream.command import STOP_WITHIN_S as WORKER_STOPS_WITHIN_S

ANALYZE = shutil.which("systemd-analyze")
SYSTEM_UNITS = Path("/usr/lib/systemd/system")
LEAST_VERSION = 250
"""The first with credentials as %d in Environment, and `security --offline`."""
MOST_EXPOSED = 2.0
"""Of 10, as `systemd-analyze security` counts: "OK" ends at 5. Most of what remains is the network."""


def unit_of(name: str) -> Unit:
    return read_unit(
        name, {"i": instance_of(name), "H": "host", "d": "/run/credentials", "S": "/var/lib", "t": "/run"}
    )


def variables_of(name: str, *, commented: bool = False) -> dict[str, str]:
    return unit_of(name).environment(environment_files(commented=commented))


def rights(name: str) -> str:
    """Return the lines about rights, the last of [Service]."""
    return re.search(
        r"^# Rights: .*?^UMask=\d+$", (DIRECTORY / f"{name}.service").read_text(), re.DOTALL | re.MULTILINE
    )[0]


@pytest.mark.parametrize("name", UNITS)
def test_our_parsers_take_the_command(name):
    program, *words = command_of(unit_of(name), variables_of(name))
    assert program == PROGRAM
    assert all(words)
    parsed(words)


def test_the_query_service_takes_the_options_of_the_drop_in():
    name = "endpoint-analytics-query-service"
    unit = read_unit(name, {"d": "/run/credentials"})
    more = read_unit(name, {"d": "/run/credentials"}, DIRECTORY / "query-service-tls.conf")
    variables = unit.environment(environment_files()) | more.environment({})
    arguments = parsed(command_of(unit, variables)[1:])
    assert (arguments.host, arguments.port) == ("0.0.0.0", 8443)
    assert arguments.tls_certificate == Path("/run/credentials/tls.crt")
    assert arguments.tls_key == Path("/run/credentials/tls.key")
    assert [value.partition(":")[0] for value in more.all("LoadCredential")] == ["tls.crt", "tls.key"]


@pytest.mark.parametrize("name", UNITS)
def test_our_settings_take_the_variables(name, tmp_path):
    """Also those that the examples have as comments, with the drop-in for Kafka's login."""
    assert connections(variables_of(name), tmp_path)[0].security_protocol == "PLAINTEXT"
    login = dict(
        re.findall(r"^Environment=(\w+)=(.*)$", (DIRECTORY / "kafka-login.conf").read_text(), re.MULTILINE)
    )
    secure = variables_of(name, commented=True) | login
    kafka, clickhouse = connections(secure, tmp_path)
    assert (kafka.security_protocol, kafka.password) == ("SASL_SSL", "%d/kafka-password")
    if name.endswith("otlp"):
        assert unit_of(name).all("LoadCredential") == []
    elif "agent" in name:
        config = read_config(environment=variables_of(name))
        assert (config.namespace, config.endpoint) == ("acme", "llm")
        assert config.spool == f"/var/lib/{unit_of(name).one('StateDirectory')}/spool"
    else:
        assert clickhouse.password == "/run/credentials/clickhouse-password"
        assert unit_of(name).all("LoadCredential") == [
            "clickhouse-password:/etc/endpoint-analytics/clickhouse-password"
        ]


@pytest.mark.parametrize(
    ("drop_in", "variable", "file"),
    [
        ("kafka-ca", "ENDPOINT_ANALYTICS_KAFKA_CA_FILE", "kafka-ca.pem"),
        ("clickhouse-ca", "SSL_CERT_FILE", "clickhouse-ca.pem"),
    ],
)
def test_a_ca_is_handed_to_users_that_cannot_read_its_directory(drop_in, variable, file, tmp_path):
    unit = read_unit(drop_in, {"d": "/run/credentials"}, DIRECTORY / f"{drop_in}.conf")
    assert unit.all("LoadCredential") == [f"{file}:/etc/endpoint-analytics/{file}"]
    given = unit.environment({})
    assert given == {variable: f"/run/credentials/{file}"}
    secure = variables_of("endpoint-analytics-worker@", commented=True)
    kafka, _ = connections(secure | {"ENDPOINT_ANALYTICS_KAFKA_PASSWORD": "x"} | given, tmp_path)
    assert kafka.ca_file == given.get("ENDPOINT_ANALYTICS_KAFKA_CA_FILE", "")


def test_the_retention_is_the_default():
    days = [
        int(value)
        for key, value in read_environment(DIRECTORY / "pipeline.env").items()
        if "RETENTION" in key
    ]
    assert Retention(*days) == Retention()


def test_no_example_has_a_password():
    for path in DIRECTORY.iterdir():
        for line in path.read_text().splitlines():
            assert not re.search(r"PASSWORD=", line), (path.name, line)


def test_workers_are_several_and_have_names_and_ports_of_their_own():
    name = "endpoint-analytics-worker@"
    ids, ports = set(), set()
    for instance in "123":
        unit = read_unit(name, {"i": instance, "H": "host", "d": "/d"})
        arguments = parsed(command_of(unit, {})[1:])
        ids.add(arguments.instance_id)
        ports.add(arguments.health_port)
    assert ids == {"host-1", "host-2", "host-3"}
    assert ports == {6061, 6062, 6063}


@pytest.mark.parametrize("name", UNITS)
def test_they_have_time_to_stop_and_start_again_by_themselves(name):
    unit = unit_of(name)
    assert unit.one("Restart") == "on-failure"
    if unit.one("Type") == "oneshot":
        return
    assert unit.one("Type") == "exec"
    assert unit.one("StartLimitIntervalSec") == "0"
    arguments = parsed(command_of(unit, variables_of(name))[1:])
    least_s = max(WORKER_STOPS_WITHIN_S, SERVE_STOPS_WITHIN_S, getattr(arguments, "drain", 0))
    assert int(unit.one("TimeoutStopSec")) > least_s
    assert ("Install", "WantedBy", "multi-user.target") in unit.settings


def test_all_have_the_same_rights():
    """But for the log reader, whose group must count outside of a namespace of users."""
    expected = rights("endpoint-analytics-worker@")
    for name in UNITS:
        found = expected.replace("PrivateUsers=yes\n", "") if name.endswith("agent-log@") else expected
        assert rights(name) == found


def systemd_version() -> int:
    if ANALYZE is None:
        return 0
    printed = subprocess.run([ANALYZE, "--version"], capture_output=True, text=True, check=True).stdout
    return int(printed.split()[1])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file system with our units, systemd's own, and our program."""
    if systemd_version() < LEAST_VERSION or not SYSTEM_UNITS.exists():
        pytest.skip("systemd is not installed")
    directory = tmp_path_factory.mktemp("root")
    shutil.copytree(SYSTEM_UNITS, directory / "usr/lib/systemd/system", symlinks=True)
    (directory / "etc/systemd/system").mkdir(parents=True)
    for name in UNITS:
        shutil.copy(DIRECTORY / f"{name}.service", directory / "etc/systemd/system")
    program = directory / PROGRAM.removeprefix("/")
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return directory


def analyzed(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([ANALYZE, *words, f"--root={root}"], capture_output=True, text=True)


@pytest.mark.outside
@pytest.mark.parametrize("name", UNITS)
def test_systemd_takes_the_unit(root, name):
    made = analyzed(root, "verify", f"{name}{instance_of(name)}.service")
    assert (made.returncode, made.stderr) == (0, "")


@pytest.mark.outside
def test_systemd_takes_the_drop_ins(root):
    """In the directory of all units, and in those of the parts that use Kafka, instances and agents included."""
    units = root / "etc/systemd/system"
    (commands,) = re.findall(
        r"^ +(for unit in .+?done)$", (ROOT / "docs/deploy.md").read_text(), re.DOTALL | re.MULTILINE
    )
    subprocess.run(["sh", "-euc", commands.replace("/etc/", f"{root}/etc/")], cwd=ROOT, check=True)
    chosen = sorted(units.glob("*.service.d"))
    assert [directory.name.removeprefix("endpoint-analytics-") for directory in chosen] == [
        "agent-.service.d",
        "signals.service.d",
        "worker@.service.d",
    ]
    directories = [units / "endpoint-analytics-.service.d", *chosen]
    directories[0].mkdir()
    for name in ("kafka-ca", "clickhouse-ca"):
        shutil.copy(DIRECTORY / f"{name}.conf", directories[0])
    made = [
        analyzed(root, "verify", f"endpoint-analytics-{name}.service")
        for name in ("worker@1", "signals", "agent-otlp", "agent-log@x", "query-service")
    ]
    # Each is read by those that it is for: systemd says so of a setting that it does not know.
    for directory in directories[1:]:
        (directory / "kafka-login.conf").write_text("[Service]\nNoSuchSetting=1\n")
    complaints = {
        name: "NoSuchSetting" in analyzed(root, "verify", f"endpoint-analytics-{name}.service").stderr
        for name in ("worker@1", "signals", "agent-otlp", "agent-log@x", "query-service", "migrate")
    }
    for directory in directories:
        shutil.rmtree(directory)
    assert [(each.returncode, each.stderr) for each in made] == [(0, "")] * len(made)
    assert [name for name, has in complaints.items() if not has] == ["query-service", "migrate"]


@pytest.mark.outside
def test_systemd_would_see_a_wrong_setting(root):
    wrong = root / "etc/systemd/system/wrong.service"
    wrong.write_text((DIRECTORY / "endpoint-analytics-signals.service").read_text().replace("UMask", "Umask"))
    made = analyzed(root, "verify", "wrong.service")
    wrong.unlink()
    assert "wrong.service" in made.stderr
    assert "'Umask'" in made.stderr


@pytest.mark.outside
@pytest.mark.parametrize("name", UNITS)
def test_little_is_exposed(root, name):
    made = analyzed(root, "security", "--offline=yes", f"{name}{instance_of(name)}.service")
    assert made.returncode == 0, made.stderr
    level = float(re.search(r"Overall exposure level for \S+: ([0-9.]+)", made.stdout)[1])
    assert level < MOST_EXPOSED
