"""The chart's values, and what Helm rendered from them: `rendered`, which the slow tests compare with Helm itself."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from tests.infra.deploy.command_lines import connections, parsed, with_secrets
from tests.infra.deploy.helm.chart import CASES, CHART, RENDERED, objects, values_of
from tests.support.parts import ROOT

from endpoint_analytics.infra.deploy.topics_command import topic_specs
from endpoint_analytics.pipeline.store.rollup_levels import environment_retention
from endpoint_analytics.pipeline.stream.command import STOP_WITHIN_S
from endpoint_analytics.pipeline.stream.config import worker_config

Json = dict[str, Any]
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
OBJECTS = {case: objects((RENDERED / f"{case}.yaml").read_text()) for case in CASES}
OPERATOR = "monitoring.coreos.com"
"""Its objects are held by its own definitions: tests/agents/kubernetes/real/test_helm.py."""


def pods(case: str) -> list[tuple[str, Json, Json]]:
    """Return (part, object, pod template) of each workload."""
    found = [each for each in OBJECTS[case] if "template" in each.get("spec", {})]
    return [
        (each["metadata"]["labels"]["app.kubernetes.io/component"], each, each["spec"]["template"])
        for each in found
    ]


PODS = [
    pytest.param(case, found, template, id=f"{case}-{found['metadata']['name']}")
    for case in CASES
    for _, found, template in pods(case)
]


def variables(template: Json) -> dict[str, str]:
    (container,) = template["spec"]["containers"]
    return {each["name"]: each.get("value", "a-pod") for each in container["env"]}


def wrong(change: Json) -> str:
    """Return what the schema says of the default values with a change."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    for key, value in change.items():
        *parents, name = key.split(".")
        at = values
        for each in parents:
            at = at[each]
        at[name] = value
    errors = list(jsonschema.Draft7Validator(SCHEMA).iter_errors(values))
    return "; ".join(f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in errors)


# The values


def test_the_schema_is_one_and_takes_the_defaults():
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    assert wrong({}) == ""


@pytest.mark.parametrize("case", CASES)
def test_the_schema_takes_each_case(case):
    jsonschema.validate(yaml.safe_load(values_of(case).read_text()), SCHEMA)


def test_the_schema_knows_each_value_and_no_other():
    """So that a value without a description, or a description without a value, is seen."""

    def unknown(values: Any, schema: Json, at: str) -> list[str]:
        while "$ref" in schema:
            schema = SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]]
        if not isinstance(values, dict) or "properties" not in schema:
            return []
        names = set(schema["properties"]) - {"global"}
        optional = {"nodeSelector", "tolerations", "affinity", "priorityClassName", "claims",
                    "topologySpreadConstraints"}  # fmt: skip
        found = [f"{at}.{name}" for name in (names ^ set(values)) - optional if at != ".podSecurityContext"]
        return found + [
            each
            for name in names & set(values)
            for each in unknown(values[name], schema["properties"][name], f"{at}.{name}")
        ]

    assert unknown(yaml.safe_load((CHART / "values.yaml").read_text()), SCHEMA, "") == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"kafka.brokers": "kafka:9092"}, "kafka.brokers: 'kafka:9092' is not of type 'array'"),
        ({"kafka.brokers": ["kafka"]}, "kafka.brokers.0: 'kafka' does not match"),
        (
            {"kafka.securityProtocol": "sasl"},
            "'sasl' is not one of ['PLAINTEXT', 'SSL', 'SASL_PLAINTEXT', 'SASL_SSL']",
        ),
        ({"kafka.broker": []}, "kafka: Additional properties are not allowed ('broker' was unexpected)"),
        ({"clickhouse.url": "http://user:secret@clickhouse:8123"}, "clickhouse.url: "),
        ({"clickhouse.password": "x"}, "clickhouse: Additional properties are not allowed"),
        ({"retention.tenSecondsDays": 3}, "retention.tenSecondsDays: 3 is less than the minimum of 4"),
        ({"signals.replicas": "two"}, "signals.replicas: 'two' is not of type 'integer'"),
        ({"worker.terminationGracePeriodSeconds": 3}, "3 is less than the minimum of 10"),
        (
            {"worker.disruptionBudget": {"enabled": True, "maxUnavailable": 0}},
            "worker.disruptionBudget.maxUnavailable",
        ),
        ({"image.digest": "sha256:short"}, "image.digest: "),
        ({"image.repository": "a/b@sha256:1"}, "image.repository: "),
        ({"extraEnv": [{"name": "A", "value": 1}]}, "extraEnv.0.value: 1 is not of type 'string'"),
        (
            {"podSecurityContext": {"runAsNonRoot": False}},
            "podSecurityContext.runAsNonRoot: True was expected",
        ),
        ({"signals.everySeconds": 0}, "signals.everySeconds: 0 is less than the minimum of 1"),
    ],
)
def test_a_wrong_value_is_refused_by_name(change, says):
    assert says in wrong(change)


def test_no_password_is_a_value():
    """They are read from secrets that exist: a value would be kept in each release's history."""

    def names(values: Any) -> list[str]:
        return [] if not isinstance(values, dict) else [
            each for name, value in values.items() for each in [name, *names(value)]
        ]  # fmt: skip

    found = names(yaml.safe_load((CHART / "values.yaml").read_text()))
    assert [name for name in found if "password" in name.lower()] == [
        "passwordSecret",
        "passwordKey",
        "passwordSecret",
    ]


# The versions and files


def test_the_chart_has_the_products_version():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert (chart["version"], chart["appVersion"]) == (version, version)


def test_its_files_are_those_of_monitoring():
    monitoring = ROOT / "infra" / "deploy" / "monitoring"
    found = {path.name: path.resolve().relative_to(monitoring) for path in (CHART / "files").iterdir()}
    assert found == {
        "endpoints.rules.yaml": Path("prometheus/endpoints.rules.yaml"),
        "pipeline.rules.yaml": Path("prometheus/pipeline.rules.yaml"),
        "endpoints-prometheus.json": Path("grafana/dashboards/endpoints-prometheus.json"),
        "endpoint-clickhouse.json": Path("grafana/dashboards/endpoint-clickhouse.json"),
    }


# What is rendered


@pytest.mark.parametrize("version", ["1.30", "1.34"])
@pytest.mark.parametrize("case", CASES)
def test_kubernetes_takes_every_object(case, version):
    for found in OBJECTS[case]:
        if OPERATOR not in found["apiVersion"]:
            kubernetes_validate.validate(found, version, strict=True)


@pytest.mark.parametrize(("case", "found", "template"), PODS)
def test_our_parsers_take_the_arguments(case, found, template):
    (container,) = template["spec"]["containers"]
    parsed(container["args"])


@pytest.mark.parametrize(("case", "found", "template"), PODS)
def test_our_settings_take_the_variables(case, found, template, tmp_path):
    given = variables(template)
    assert ("POD_NAME" in given) == (found["kind"] == "StatefulSet")
    kafka, clickhouse = connections(given, tmp_path)
    part = found["metadata"]["labels"]["app.kubernetes.io/component"]
    if case == "secure" and part not in {"topics", "agent", "otlp"}:
        assert clickhouse.cluster == "main"
        assert clickhouse.password == "/etc/endpoint-analytics/clickhouse/password"
    if case == "secure" and part in {"worker", "signals", "topics", "agent", "otlp"}:
        assert (kafka.security_protocol, kafka.sasl_mechanism, kafka.username) == (
            "SASL_SSL", "SCRAM-SHA-512", "analytics",
        )  # fmt: skip
        assert len(kafka.servers) == 3
        assert not kafka.check_hostname
    if case == "certificates" and part == "worker":
        assert kafka.key_password == "/etc/endpoint-analytics/kafka/key-password"
        assert kafka.certificate_file == "/etc/endpoint-analytics/kafka/certificate.pem"


@pytest.mark.parametrize(("case", "found", "template"), PODS)
def test_each_file_that_is_named_is_mounted(case, found, template):
    (container,) = template["spec"]["containers"]
    paths = {path for path in variables(template).values() if path.startswith("/etc/endpoint-analytics/")}
    paths |= {word.partition("=")[2] for word in container["args"] if "=/etc/" in word}
    volumes = {each["name"]: each for each in template["spec"]["volumes"]}
    mounted = set()
    for mount in container["volumeMounts"]:
        volume = volumes[mount["name"]]
        if mount["name"] == "tls":  # a whole secret, of the type kubernetes.io/tls
            mounted |= {f"{mount['mountPath']}/{key}" for key in ("tls.crt", "tls.key")}
            continue
        for source in volume.get("projected", {}).get("sources", [{"secret": volume.get("secret", {})}]):
            mounted |= {f"{mount['mountPath']}/{item['path']}" for item in source["secret"].get("items", ())}
    assert paths == mounted


@pytest.mark.parametrize(("case", "found", "template"), PODS)
def test_pods_may_do_little(case, found, template):
    spec = template["spec"]
    (container,) = spec["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    part = found["metadata"]["labels"]["app.kubernetes.io/component"]
    assert spec["automountServiceAccountToken"] is (part == "agent")
    assert "memory" in container["resources"]["limits"]
    assert spec["enableServiceLinks"] is False


@pytest.mark.parametrize("case", CASES)
def test_selectors_fit_and_select_one_part(case):
    for found in OBJECTS[case]:
        spec = found.get("spec", {})
        selector = spec.get("selector") or spec.get("podSelector") or {}
        selector = selector.get("matchLabels", selector)
        if not selector:
            continue
        part = found["metadata"]["labels"]["app.kubernetes.io/component"]
        selected = {name for name, _, template in pods(case)
                    if selector.items() <= template["metadata"]["labels"].items()}  # fmt: skip
        assert selected <= {part}
        assert selected == {part} or found["kind"] == "NetworkPolicy"  # of a part that is switched off


def test_an_upgrade_replaces_one_worker_at_a_time_and_leaves_it_time_to_stop():
    """What a worker has not stored is read again, so stopping needs no more than its own limit."""
    for case in CASES:
        (worker,) = (found for found in OBJECTS[case] if found["kind"] == "StatefulSet")
        assert worker["spec"]["updateStrategy"] == {"type": "RollingUpdate"}
        spec = worker["spec"]["template"]["spec"]
        assert spec["terminationGracePeriodSeconds"] > 2 * STOP_WITHIN_S
        (container,) = spec["containers"]
        assert parsed(container["args"]).instance_id == "$(POD_NAME)"
        assert container["readinessProbe"]["httpGet"]["path"] == "/ready"


def test_what_looks_like_a_number_stays_text():
    """And what has YAML's own characters, such as a consumer group `team: analytics #1`, stays one word."""
    arguments = {part: parsed(template["spec"]["containers"][0]["args"])
                 for part, _, template in pods("awkward")}  # fmt: skip
    groups = {part: variables(template).get("ENDPOINT_ANALYTICS_GROUP")
              for part, _, template in pods("awkward")}  # fmt: skip
    assert groups["worker"] == "team: analytics #1"
    assert arguments["agent"].cluster == "eu: 1 #x"
    for _, _, template in pods("awkward"):
        spec = template["spec"]
        assert spec["imagePullSecrets"] == [{"name": "123"}]
        assert spec["containers"][0]["image"] == "registry.example:5000/analytics:0123"
        for volume in spec["volumes"]:
            secrets = [source["secret"]["name"] for source in volume.get("projected", {}).get("sources", ())]
            secrets += [volume["secret"]["secretName"]] if "secret" in volume else []
            assert all(isinstance(name, str) for name in secrets)


@pytest.mark.parametrize(("case", "found", "template"), PODS)
def test_labels_of_ones_own_do_not_hide_a_pod_from_its_selector(case, found, template):
    selector = found["spec"].get("selector", {"matchLabels": {}})["matchLabels"]
    assert selector.items() <= template["metadata"]["labels"].items()
    if case == "awkward":
        assert found["metadata"]["labels"]["app.kubernetes.io/part-of"] == "platform"


@pytest.mark.parametrize("case", CASES)
def test_no_key_is_there_twice(case):
    """YAML's parsers take the last of two, or refuse both."""
    twice = []

    def mapping(node: yaml.Node) -> None:
        if isinstance(node, yaml.MappingNode):
            names = [key.value for key, _ in node.value]
            twice.extend(name for name in names if names.count(name) > 1)
            for _, value in node.value:
                mapping(value)
        elif isinstance(node, yaml.SequenceNode):
            for value in node.value:
                mapping(value)

    for document in yaml.compose_all((RENDERED / f"{case}.yaml").read_text()):
        mapping(document)
    assert twice == []


@pytest.mark.parametrize(("case", "found", "template"), PODS)
def test_each_variable_is_there_once(case, found, template):
    """A server-side apply, which is Helm 4's, refuses a list with a name twice."""
    (container,) = template["spec"]["containers"]
    names = [each["name"] for each in container["env"]]
    assert len(names) == len(set(names))
    if case == "awkward":
        part = found["metadata"]["labels"]["app.kubernetes.io/component"]
        given = variables(template)
        assert given["TZ"] == ("Asia/Tokyo" if part == "worker" else "UTC")
        assert given["ENDPOINT_ANALYTICS_CLICKHOUSE_USER"] == "no"


def test_installations_with_other_topics_are_another_group(tmp_path):
    """In one group, two workers of one name (analytics-worker-0 of two namespaces) would expel each other."""
    for case, group in {"small": "endpoint-analytics", "awkward": "team: analytics #1"}.items():
        (template,) = (template for part, _, template in pods(case) if part == "worker")
        arguments = parsed(template["spec"]["containers"][0]["args"])
        assert worker_config(arguments, with_secrets(variables(template), tmp_path)).group == group


def test_an_autoscaler_keeps_its_number_of_replicas():
    """A number here would be set again by each upgrade, and by each sync of a GitOps controller."""
    for part, found, _ in pods("awkward"):
        if part in {"worker", "query-service", "otlp"}:
            assert "replicas" not in found["spec"]


def test_agents_have_the_image_of_everything_unless_they_have_their_own():
    for part, _, template in pods("secure"):
        if part in {"agent", "otlp"}:
            assert template["spec"]["containers"][0]["image"].startswith(
                "registry.example/analytics/pipeline@sha256:"
            )


def test_each_part_with_several_pods_has_a_budget_that_lets_a_node_drain():
    budgets = {found["metadata"]["labels"]["app.kubernetes.io/component"]: found["spec"]
               for found in OBJECTS["secure"] if found["kind"] == "PodDisruptionBudget"}  # fmt: skip
    assert budgets.keys() == {"worker", "query-service", "otlp"}
    for spec in budgets.values():
        assert spec["maxUnavailable"] == 1
        assert spec["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_query_services_are_never_fewer_during_an_upgrade():
    for case in CASES:
        service = next(found for part, found, _ in pods(case) if part == "query-service")
        assert service["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
        (container,) = service["spec"]["template"]["spec"]["containers"]
        drain = container["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert 0 < drain < service["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]


def test_hooks_need_nothing_of_the_chart():
    """Before an installation, none of its other objects exist."""
    own = {
        found["metadata"]["name"] for found in OBJECTS["secure"] if found["kind"] in {"ConfigMap", "Secret"}
    }
    jobs = [found for found in OBJECTS["secure"] if found["kind"] == "Job"]
    assert {job["metadata"]["annotations"]["helm.sh/hook"] for job in jobs} == {"pre-install,pre-upgrade"}
    order = sorted(jobs, key=lambda job: int(job["metadata"]["annotations"]["helm.sh/hook-weight"]))
    assert [job["spec"]["template"]["spec"]["containers"][0]["args"][0] for job in order] == [
        "topics",
        "migrate",
    ]
    for job in jobs:
        assert "serviceAccountName" not in job["spec"]["template"]["spec"]
        assert not [name for name in own if name in json.dumps(job["spec"])]


def test_the_migration_applies_the_retention(monkeypatch):
    (job,) = (
        found
        for found in OBJECTS["secure"]
        if found["metadata"]["name"].endswith("-migrate") and found["kind"] == "Job"
    )
    for name, value in variables(job["spec"]["template"]).items():
        monkeypatch.setenv(name, value)
    kept = environment_retention()
    assert (kept.ten_seconds, kept.minute, kept.hour) == (14, 60, 800)


def test_the_topics_are_ours():
    (job,) = (found for found in OBJECTS["small"] if found["metadata"]["name"].endswith("-topics"))
    arguments = parsed(job["spec"]["template"]["spec"]["containers"][0]["args"])
    specs = topic_specs("endpoint-analytics", arguments.partitions, arguments.replication_factor)
    assert {(spec.name, spec.partitions, spec.replication_factor) for spec in specs} >= {
        ("endpoint-analytics.requests", 8, 1)
    }


def test_network_policies_open_the_ports_that_are_used():
    policies = {found["metadata"]["labels"]["app.kubernetes.io/component"]: found["spec"]
                for found in OBJECTS["secure"] if found["kind"] == "NetworkPolicy"}  # fmt: skip
    egress = {part: sorted({port["port"] for rule in spec["egress"] for port in rule["ports"]})
              for part, spec in policies.items()}  # fmt: skip
    assert egress == {
        "worker": [53, 8443, 9093, 9094],
        "query-service": [53, 8443],
        "signals": [53, 8443, 9093, 9094],
        "migrate": [53, 8443],
        "topics": [53, 9093, 9094],
        "otlp": [53, 9093, 9094],
        "agent": [53, 443, 6443, 9093, 9094],
    }
    ingress = {
        part: [port["port"] for rule in spec["ingress"] for port in rule["ports"]]
        for part, spec in policies.items()
    }
    assert ingress == {
        **{part: [] for part in policies},
        "worker": [6066],
        "query-service": [8080],
        "otlp": [4318],
    }
    default = next(
        found
        for found in OBJECTS["certificates"]
        if found["metadata"]["name"] == "analytics-query-service" and found["kind"] == "NetworkPolicy"
    )
    assert {"port": 8443, "protocol": "TCP"} in default["spec"]["egress"][1]["ports"]


def test_a_job_may_reach_kafka_and_clickhouse_where_everything_is_denied():
    """The jobs run before the rest of the release exists, so their policies are hooks that come before them."""
    policies = {found["metadata"]["labels"]["app.kubernetes.io/component"]: found["metadata"]["annotations"]
                for found in OBJECTS["secure"] if found["kind"] == "NetworkPolicy"}  # fmt: skip
    jobs = {found["metadata"]["labels"]["app.kubernetes.io/component"]: found["metadata"]["annotations"]
            for found in OBJECTS["secure"] if found["kind"] == "Job"}  # fmt: skip
    assert jobs.keys() == {"topics", "migrate"}
    for part, policy in policies.items():
        assert policy.get("helm.sh/hook") == jobs.get(part, {}).get("helm.sh/hook")
    for part, job in jobs.items():
        assert int(policies[part]["helm.sh/hook-weight"]) < int(job["helm.sh/hook-weight"])


def test_prometheus_may_scrape_a_query_service_that_is_closed_to_others():
    (spec,) = (found["spec"] for found in OBJECTS["secure"] if found["kind"] == "NetworkPolicy"
               and found["metadata"]["name"].endswith("-query-service"))  # fmt: skip
    (rule,) = spec["ingress"]
    namespaces = [peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
                  for peer in rule["from"]]  # fmt: skip
    assert namespaces == ["ingress-nginx", "monitoring"]


def test_names_may_be_asked_at_another_port():
    ports = [port["port"] for found in OBJECTS["awkward"] if found["kind"] == "NetworkPolicy"
             for port in found["spec"]["egress"][0]["ports"] if port["protocol"] == "UDP"]  # fmt: skip
    assert set(ports) == {53, 5353}


def test_prometheus_trusts_a_private_ca_of_the_query_service():
    authority = {"secret": {"name": "17", "key": "ca.crt"}}
    (scrape,) = (found["spec"] for found in OBJECTS["awkward"] if found["kind"] == "ScrapeConfig")
    assert scrape["tlsConfig"] == {"ca": authority}
    assert scrape["httpSDConfigs"][0]["tlsConfig"] == {"ca": authority}
    (monitor,) = (found["spec"] for found in OBJECTS["awkward"] if found["kind"] == "PodMonitor"
                  and found["metadata"]["name"].endswith("-query-service"))  # fmt: skip
    assert monitor["podMetricsEndpoints"][0]["tlsConfig"] == {
        "ca": authority, "serverName": "one-endpoint-analytics-query-service.analytics.svc",
    }  # fmt: skip


def test_the_token_for_prometheus_ends_without_a_line():
    """The operator puts a secret into the header as it is, and a line's end is refused there."""
    for page in (CHART / "templates" / "NOTES.txt", ROOT / "docs" / "kubernetes.md"):
        (command,) = (line for line in page.read_text().splitlines() if line.endswith("> token"))
        assert command.endswith(r" | tr -d '\n' > token")


def test_the_agent_has_the_rights_of_its_manifest():
    manifest = list(yaml.safe_load_all((ROOT / "infra/deploy/kubernetes/agent/account.yaml").read_text()))
    (rules,) = (found["rules"] for found in manifest if found["kind"] == "Role")
    roles = [found for found in OBJECTS["secure"] if found["kind"] == "Role"]
    assert [role["rules"] for role in roles] == [rules, rules]
    agents = {}
    for part, _, template in pods("secure"):
        if part == "agent":
            watched = template["metadata"]["labels"]["endpoint-analytics/watches"]
            agents[watched] = parsed(template["spec"]["containers"][0]["args"])
    assert {role["metadata"]["namespace"] for role in roles} == agents.keys()
    assert all(arguments.kubernetes_namespace == namespace for namespace, arguments in agents.items())


def test_the_jobs_of_prometheus_are_those_of_the_alerts():
    rules = (ROOT / "infra/deploy/monitoring/prometheus/pipeline.rules.yaml").read_text()
    jobs = {each["replacement"] for found in OBJECTS["secure"] if OPERATOR in found["apiVersion"]
            for endpoint in [*found["spec"].get("podMetricsEndpoints", ()), found["spec"]]
            for each in endpoint.get("relabelings", ()) if each["targetLabel"] == "job"}  # fmt: skip
    assert jobs == {"endpoints", "endpoint-analytics-worker", "endpoint-analytics-query-service"}
    assert 'up{job=~"endpoint-analytics-(worker|query-service)"}' in rules
