"""The manifests: valid for Kubernetes, with valid arguments for our commands and matching names."""

from __future__ import annotations

import argparse
import importlib
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from endpoint_analytics.agents.command.agent_command import SUBCOMMANDS
from endpoint_analytics.agents.core.config import read_config
from endpoint_analytics.agents.kubernetes.agent import resources_of
from endpoint_analytics.infra.command import COMMANDS
from endpoint_analytics.schemas.configuration.clickhouse_config import read_clickhouse_config
from endpoint_analytics.schemas.configuration.kafka_config import read_kafka_config
from endpoint_analytics.schemas.configuration.settings import variable_of

ROOT = Path(__file__).parents[3]
DIRECTORY = ROOT / "infra" / "deploy" / "kubernetes"
PARTS = ("agent", "model-server", "pipeline")
FILES = sorted(path for path in DIRECTORY.rglob("*.yaml") if path.name != "kustomization.yaml")
VERSIONS = ("1.30", "1.34")
OURS = re.compile(r"endpoint-analytics(?:-agent)?")
"""Our images, before kustomize adds their registry and tag."""

Json = dict[str, Any]


def read(path: Path) -> list[Json]:
    return list(yaml.safe_load_all(path.read_text()))


def kustomization(part: str) -> Json:
    return read(DIRECTORY / part / "kustomization.yaml")[0]


def files_of(part: str) -> Iterator[Path]:
    """Yield the objects of a kustomization, including those of the kustomizations it refers to."""
    for name in kustomization(part)["resources"]:
        path = (DIRECTORY / part / name).resolve()
        if path.is_dir():
            yield from files_of(str(path.relative_to(DIRECTORY)))
        else:
            yield path


def objects(part: str) -> list[Json]:
    return [found for path in files_of(part) for found in read(path)]


def pod_specs(found: Json) -> list[Json]:
    return [found["spec"]["template"]["spec"]] if "template" in found.get("spec", {}) else []


def containers(part: str) -> list[tuple[str, Json]]:
    return [
        (found["metadata"]["name"], container)
        for found in objects(part)
        for spec in pod_specs(found)
        for container in [*spec.get("initContainers", ()), *spec["containers"]]
    ]


OUR_CONTAINERS = [
    pytest.param(part, container, id=f"{part}-{container['name']}")
    for part in PARTS
    for _, container in containers(part)
    if OURS.fullmatch(container["image"])
]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(DIRECTORY)))
def test_kubernetes_takes_every_object(path, version):
    """Validate strictly: a member that the schema does not know is an error."""
    for found in read(path):
        kubernetes_validate.validate(found, version, strict=True)


def test_a_member_that_does_not_exist_is_seen():
    found = read(DIRECTORY / "agent" / "deployment.yaml")[0]
    found["spec"]["template"]["spec"]["containers"][0]["resource"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(found, VERSIONS[0], strict=True)


def test_every_file_is_in_a_kustomization_and_every_name_is_a_file():
    named = {path for part in PARTS for path in files_of(part)}
    assert named == set(FILES)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="there is no kubectl here")
@pytest.mark.parametrize("part", PARTS)
def test_kustomize_builds_it(part):
    built = subprocess.run(
        ["kubectl", "kustomize", DIRECTORY / part], capture_output=True, text=True, check=True
    )
    found = list(yaml.safe_load_all(built.stdout))
    assert len(found) == len(objects(part))
    images = [container["image"] for each in found for spec in pod_specs(each)
              for container in [*spec.get("initContainers", ()), *spec["containers"]]]  # fmt: skip
    assert all(image.startswith("registry.example/") and ":" in image for image in images)


@pytest.mark.parametrize(("part", "container"), OUR_CONTAINERS)
def test_our_parsers_take_the_arguments(part, container):
    command, *words = container["args"]
    assert command in COMMANDS
    if command == "agent":
        name, *words = words
        module = importlib.import_module(SUBCOMMANDS[name][0])
    else:
        module = importlib.import_module(COMMANDS[command][0])
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    parser.parse_args(words)


class Asked(dict[str, str]):
    """An environment that records which variables are read."""

    def __init__(self, values: dict[str, str]) -> None:
        super().__init__(values)
        self.names: set[str] = {variable_of("runtime_directory")}

    def get(self, name: str, default: Any = None) -> Any:
        self.names.add(name)
        return super().get(name, default)


def variables(part: str, container: Json) -> dict[str, str]:
    known = {(each["kind"], each["metadata"]["name"]): each for each in objects(part)}
    found = {}
    for source in container["envFrom"]:
        ((kind, reference),) = source.items()
        named = known[{"configMapRef": "ConfigMap", "secretRef": "Secret"}[kind], reference["name"]]
        found |= named.get("data", {}) | named.get("stringData", {})
    return found | {each["name"]: each.get("value", "name") for each in container.get("env", ())}


@pytest.mark.parametrize(("part", "container"), OUR_CONTAINERS)
def test_our_variables_are_ones_that_our_settings_ask_for(part, container):
    found = variables(part, container)
    if found.pop("POD_NAME", None):
        assert any("$(POD_NAME)" in word for word in container["args"])
    environment = Asked(found)
    if part == "pipeline":
        clickhouse = read_clickhouse_config(environment)
        assert clickhouse.password == "change-me"
    if "ENDPOINT_ANALYTICS_KAFKA" in found:
        kafka = read_kafka_config(environment=environment)
        assert (kafka.security_protocol, kafka.password) == ("SASL_PLAINTEXT", "change-me")
    if part == "model-server":
        config = read_config(environment=environment)
        assert (config.namespace, config.endpoint, config.replica_id, config.states) == (
            "name",
            "name",
            "name",
            False,
        )
    assert found.keys() <= environment.names


@pytest.mark.parametrize(("part", "container"), OUR_CONTAINERS)
def test_our_containers_may_do_little(part, container):
    may = container["securityContext"]
    assert may["readOnlyRootFilesystem"] is True
    assert may["allowPrivilegeEscalation"] is False
    assert may["capabilities"] == {"drop": ["ALL"]}
    users = [spec["securityContext"] for found in objects(part) for spec in pod_specs(found)
             if container in [*spec.get("initContainers", ()), *spec["containers"]]]  # fmt: skip
    assert (may | users[0])["runAsNonRoot"] is True
    assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
    assert "memory" in container["resources"]["limits"]


def test_only_the_agent_has_an_account():
    mounts = {found["metadata"]["name"]: spec["automountServiceAccountToken"]
              for part in PARTS for found in objects(part) for spec in pod_specs(found)}  # fmt: skip
    assert {name for name, mounted in mounts.items() if mounted} == {"endpoint-analytics-agent"}


def test_the_role_allows_what_the_agent_asks_for_and_nothing_else():
    rules = next(found for found in objects("agent") if found["kind"] == "Role")["rules"]
    allowed = {
        (rule["apiGroups"][0], name): set(rule["verbs"]) for rule in rules for name in rule["resources"]
    }
    asked = {}
    for resource in resources_of("models", "app=llm"):
        group = re.fullmatch(r"/(?:api|apis/([^/]+))/[^/]+/namespaces/models/([a-z]+)", resource.path)
        assert group[2] == resource.name
        asked[group[1] or "", resource.name] = {"list", "watch"}
    asked["", "pods"].add("get")  # whether one is gone
    assert allowed == asked


def test_the_sidecar_and_the_agent_tell_of_one_endpoint():
    agent = dict(
        word.split("=", 1) for _, each in containers("agent") for word in each["args"] if "=" in word
    )
    label = agent["--endpoint-label"]
    deployment = next(found for found in objects("model-server") if found["kind"] == "Deployment")
    assert label in deployment["spec"]["template"]["metadata"]["labels"]
    spec = deployment["spec"]["template"]["spec"]
    sidecar = next(each for each in spec["initContainers"] if each["image"] == "endpoint-analytics-agent")
    assert sidecar["restartPolicy"] == "Always"
    variables = {each["name"]: each for each in sidecar["env"]}
    sources = {name: each["valueFrom"] for name, each in variables.items() if "valueFrom" in each}
    fields = {name: source["fieldRef"]["fieldPath"] for name, source in sources.items()}
    assert fields == {
        "ENDPOINT_ANALYTICS_NAMESPACE": "metadata.namespace",
        "ENDPOINT_ANALYTICS_ENDPOINT": f"metadata.labels['{label}']",
        "ENDPOINT_ANALYTICS_REPLICA_ID": "metadata.name",
    }
    assert variables["ENDPOINT_ANALYTICS_STATES"]["value"] == "off"


@pytest.mark.parametrize("part", PARTS)
def test_selectors_ports_and_names_fit_together(part):
    found = objects(part)
    templates = {each["metadata"]["name"]: each["spec"]["template"] for each in found if pod_specs(each)}
    for each in found:
        if each["kind"] in {"Deployment", "StatefulSet"}:
            labels = each["spec"]["template"]["metadata"]["labels"]
            assert each["spec"]["selector"]["matchLabels"].items() <= labels.items()
        if each["kind"] == "Service":
            served = [template for template in templates.values()
                      if each["spec"]["selector"].items() <= template["metadata"]["labels"].items()]  # fmt: skip
            assert len(served) == 1
            spec = served[0]["spec"]
            ports = {port["name"] for container in [*spec.get("initContainers", ()), *spec["containers"]]
                     for port in container.get("ports", ())}  # fmt: skip
            assert {port["targetPort"] for port in each["spec"]["ports"]} <= ports
        if each["kind"] in {"Deployment", "StatefulSet", "Service", "Job", "Role", "RoleBinding"}:
            assert each["metadata"]["namespace"] == kustomization(part)["namespace"]


def test_images_have_this_version():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    used = {(part, container["image"]) for part in PARTS for _, container in containers(part)}
    for part in PARTS:
        images = kustomization(part)["images"]
        assert [each["newTag"] for each in images] == [version] * len(images)
        ours = {image for where, image in used if where == part and OURS.fullmatch(image)}
        assert {each["name"] for each in images} == ours
        assert all(each["newName"].endswith(f"/{each['name']}") for each in images)
