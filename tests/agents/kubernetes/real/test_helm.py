"""The Helm chart with Helm itself, version 3 and 4, and a real kube-apiserver with its controllers.

There are no nodes: the tests write what a kubelet would (a pod is ready, a job is complete).
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.agents.kubernetes.real.cluster import CONTROLLERS, Cluster, Json
from tests.agents.kubernetes.real.kube_apiserver import UnavailableError, module_directory
from tests.infra.deploy.helm.chart import (
    CASES,
    CHART,
    RENDERED,
    TEMPLATE,
    WITHOUT_COPIES,
    helm,
    objects,
    rendered,
    run,
    values_of,
)
from tests.support.parts import ROOT
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
OPERATOR = ("github.com/prometheus-operator/prometheus-operator", "v0.94.1")
KINDS = ("podmonitors", "prometheusrules", "scrapeconfigs")
NAMESPACES = ("analytics", "models", "a-namespace-with-quite-a-long-name-of-over-forty-characters")
PODS = "/api/v1/namespaces/analytics/pods"
JOBS = "/apis/batch/v1/namespaces/analytics/jobs"
WITHIN_S = 60.0


@pytest.fixture(scope="module", params=["v3", "v4"])
def each_helm(request: pytest.FixtureRequest) -> Path:
    return helm(request.param)


@pytest.fixture(scope="module")
def helm_4() -> Path:
    return helm("v4")


@pytest.fixture(scope="module")
def workloads(commands: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster whose controllers look after StatefulSets too, and that knows the Prometheus operator's objects."""
    try:
        definitions = module_directory(*OPERATOR) / "example" / "prometheus-operator-crd"
    except UnavailableError as error:
        pytest.skip(str(error))
    controllers = (*CONTROLLERS, "statefulset-controller")
    with Cluster(commands, tmp_path_factory.mktemp("helm"), controllers) as cluster:
        for name in NAMESPACES:
            cluster.namespace(name)
        flags = [
            word for kind in KINDS for word in ("-f", f"{definitions}/monitoring.coreos.com_{kind}.yaml")
        ]
        cluster.kubectl("apply", "--server-side", *flags)
        for kind in KINDS:
            version = "v1alpha1" if kind == "scrapeconfigs" else "v1"
            path = f"/apis/monitoring.coreos.com/{version}/namespaces/analytics/{kind}"
            eventually(lambda path=path: cluster.ask("GET", path)[0], lambda status: status == 200, 60, kind)
        yield cluster


# Without a cluster


@pytest.mark.parametrize("case", CASES)
def test_lint_finds_nothing(each_helm: Path, case: str):
    linted = run(each_helm, "lint", "--strict", CHART, "--values", values_of(case))
    assert linted.returncode == 0, linted.stdout
    assert "[WARNING]" not in linted.stdout
    assert "[ERROR]" not in linted.stdout


@pytest.mark.parametrize("case", CASES)
def test_it_renders_what_the_fast_tests_read(each_helm: Path, case: str):
    """If this fails after a change of the chart: python -m tests.infra.deploy.helm.chart."""
    expected = objects((RENDERED / f"{case}.yaml").read_text())
    key = lambda found: (found["kind"], found["metadata"]["name"])  # noqa: E731
    assert sorted(objects(rendered(each_helm, case, *WITHOUT_COPIES)), key=key) == sorted(expected, key=key)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["kafka.brokers=null"], "kafka.brokers is not set: list the bootstrap servers"),
        (["clickhouse.url="], "clickhouse.url is not set: the HTTP interface"),
        (["kafka.securityProtocol=SASL_SSL"], "set kafka.sasl.username, and kafka.sasl.passwordSecret.name"),
        (["kafka.sasl.username=a"], "kafka.sasl would have no effect: kafka.securityProtocol is PLAINTEXT"),
        (
            ["kafka.tls.caSecret.name=ca"],
            "kafka.tls would have no effect: kafka.securityProtocol is PLAINTEXT",
        ),
        (
            ["clickhouse.caSecret.name=ca"],
            "clickhouse.caSecret would have no effect: clickhouse.url does not begin",
        ),
        (["retention.tenSecondsDays=31"], "tenSecondsDays may not be longer than oneMinuteDays"),
        (["worker.replicas=9"], "worker.replicas is 9, but there are only 8 partitions"),
        (["ingress.enabled=true"], "ingress.hosts is empty"),
        (["queryService.drainSeconds=30"], "queryService.drainSeconds must be shorter"),
        (["prometheus.endpoints.enabled=true"], "prometheus.tokenSecret.name is not set"),
        (
            ["queryService.autoscaling.enabled=true", "queryService.autoscaling.minReplicas=7"],
            "minReplicas is larger",
        ),
        (["fullnameOverride=1st"], '"1st" cannot begin the name of a service'),
        (["agent.image.tag=v1"], "agent.image.tag and .digest would have no effect"),
        (
            ["kafka.tls.certificateSecret.passwordKey=password"],
            "kafka.tls.certificateSecret.passwordKey would have no effect",
        ),
        (["prometheus.caSecret.name=ca"], "prometheus.caSecret would have no effect"),
        (["worker.replica=3"], "additional properties 'replica' not allowed"),
        (["worker.replicas=-1"], "minimum: got -1, want 0"),
        (
            ["kafka.securityProtocol=TLS"],
            "value must be one of 'PLAINTEXT', 'SSL', 'SASL_PLAINTEXT', 'SASL_SSL'",
        ),
    ],
)
def test_what_cannot_work_is_refused_with_what_to_set(each_helm: Path, words: list[str], says: str):
    flags = [word for each in words for word in ("--set", each)]
    made = run(each_helm, *TEMPLATE, "--values", values_of("small"), *flags)
    assert made.returncode != 0
    assert says in made.stderr


def test_releases_whose_long_names_begin_alike_share_no_object(each_helm: Path):
    """Hooks of the one would delete those of the other, and a GitOps controller would let them overwrite each other."""
    words = [
        "--namespace",
        "analytics",
        "--kube-version",
        "1.34",
        "--values",
        values_of("secure"),
        *WITHOUT_COPIES,
    ]

    def names(release: str) -> set[tuple[str, str]]:
        made = run(each_helm, "template", release, CHART, *words)
        assert made.returncode == 0, made.stderr
        return {(found["kind"], found["metadata"]["name"]) for found in objects(made.stdout)}

    one, two = (
        names("inference-platform.production-europe-west-1"),
        names("inference-platform.production-europe-west-2"),
    )
    assert one & two == set()
    assert max(len(name) for kind, name in one if kind != "Role" and kind != "RoleBinding") <= 63
    assert not [name for kind, name in one if kind == "Service" and "." in name]


def test_releases_of_one_name_may_watch_the_same_namespace(each_helm: Path):
    def roles(namespace: str) -> set[str]:
        made = run(each_helm, "template", "one", CHART, "--namespace", namespace, "--kube-version", "1.34",
                   "--values", values_of("awkward"), *WITHOUT_COPIES)  # fmt: skip
        assert made.returncode == 0, made.stderr
        return {found["metadata"]["name"] for found in objects(made.stdout) if found["kind"] == "Role"}

    assert roles("staging") & roles("production") == set()


@pytest.mark.parametrize("page", ["docs/kubernetes.md", "infra/deploy/helm/endpoint-analytics/README.md"])
def test_the_documented_installation_renders(each_helm: Path, page: str):
    text = (ROOT / page).read_text().replace("\\\n", " ")
    (command,) = re.findall(r"^ +helm install (.*)$", text, re.MULTILINE)
    name, chart, *flags = shlex.split(command)
    made = run(each_helm, "template", name, ROOT / chart, *flags, "--kube-version", "1.34")
    assert made.returncode == 0, made.stderr
    kinds = [found["kind"] for found in objects(made.stdout)]
    assert kinds.count("Job") == 2
    assert {"StatefulSet", "Deployment"} <= set(kinds)


def test_a_package_has_the_dashboards_and_rules(each_helm: Path, tmp_path: Path):
    """In the repository they are links."""
    made = run(each_helm, "package", CHART, "--destination", tmp_path)
    assert made.returncode == 0, made.stderr
    (package,) = tmp_path.glob("*.tgz")
    with tarfile.open(package) as files:
        found = files.extractfile("endpoint-analytics/files/endpoints.rules.yaml")
        assert found is not None
        assert found.read() == (ROOT / "infra/deploy/monitoring/prometheus/endpoints.rules.yaml").read_bytes()
        assert not [name for name in files.getnames() if "/ci/" in name]


# In a cluster


@pytest.mark.parametrize("case", CASES)
def test_everything_is_applied(workloads: Cluster, helm_4: Path, case: str):
    """With warnings as errors: there are no unknown or deprecated fields, in the operator's objects too."""
    text = rendered(helm_4, case)
    workloads.kubectl("apply", "--server-side", "--dry-run=server", "--validate=strict", "--warnings-as-errors",
                      "-f", "-", text=text)  # fmt: skip


class Release:
    """A release of the chart in the cluster; hooks are completed by the test."""

    def __init__(self, program: Path, cluster: Cluster, name: str) -> None:
        self.program, self.cluster, self.name = program, cluster, name

    def do(self, *words: str | Path, jobs: tuple[str, ...] = ()) -> str:
        """Run helm; complete these jobs, in this order, while it waits for them."""
        flags = ["--namespace", "analytics", "--kubeconfig", str(self.cluster.directory / "kubeconfig")]
        with subprocess.Popen([self.program, *words, *flags], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True) as running:  # fmt: skip
            try:
                for job in jobs:
                    self._complete(f"{self.name}-endpoint-analytics-{job}")
                output, errors = running.communicate(timeout=300)
            finally:
                running.kill()
        assert running.returncode == 0, errors
        return output

    def _complete(self, job: str) -> None:
        eventually(
            lambda: self.cluster.ask("GET", f"{JOBS}/{job}")[0], lambda status: status == 200, WITHIN_S, job
        )
        at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        conditions = [{"type": each, "status": "True", "lastProbeTime": at, "lastTransitionTime": at}
                      for each in ("SuccessCriteriaMet", "Complete")]  # fmt: skip
        status = {"startTime": at, "completionTime": at, "succeeded": 1, "conditions": conditions}
        self.cluster.done("PATCH", f"{JOBS}/{job}/status", {"status": status})

    def pods(self, part: str) -> dict[str, Json]:
        query = (
            f"?labelSelector=app.kubernetes.io/component%3D{part},app.kubernetes.io/instance%3D{self.name}"
        )
        return {each["metadata"]["name"]: each for each in self.cluster.done("GET", PODS + query)["items"]}

    def images(self, part: str) -> dict[str, str]:
        """Return the tag of each pod's image."""
        return {
            name: pod["spec"]["containers"][0]["image"].rpartition(":")[2]
            for name, pod in self.pods(part).items()
        }

    def serve(self, name: str) -> None:
        self.cluster.serve(name, datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), "analytics")

    def until(self, part: str, images: dict[str, str]) -> None:
        eventually(
            lambda: self.images(part), lambda found: found == images, WITHIN_S, f"the images of {part}"
        )

    def worker_set(self) -> Json:
        path = f"/apis/apps/v1/namespaces/analytics/statefulsets/{self.name}-endpoint-analytics-worker"
        return self.cluster.done("GET", path)


@pytest.fixture
def release(workloads: Cluster, helm_4: Path) -> Iterator[Release]:
    found = Release(helm_4, workloads, "one")
    yield found
    run(helm_4, "uninstall", "one", "--namespace", "analytics", "--no-hooks", "--ignore-not-found",
        "--kubeconfig", workloads.directory / "kubeconfig")  # fmt: skip


def test_a_release_is_installed_upgraded_rolled_back_and_removed(release: Release):
    """Workers are replaced one at a time, each after the one before is ready; a version that is never ready stops
    there, and a rollback puts it right.
    """
    values = ["--values", str(values_of("small")), "--set", "worker.replicas=2"]
    first, second = "one-endpoint-analytics-worker-0", "one-endpoint-analytics-worker-1"
    notes = release.do("install", "one", CHART, *values, jobs=("topics", "migrate"))
    assert (
        "kubectl -n analytics exec deploy/one-endpoint-analytics-query-service -- endpoint-analytics token"
        in notes
    )
    release.until("worker", {first: "0.1.0", second: "0.1.0"})
    jobs = release.cluster.done("GET", JOBS)["items"]
    assert jobs == []  # a hook that has succeeded is removed
    for name in (first, second):
        release.serve(name)
    eventually(
        lambda: release.worker_set()["status"].get("readyReplicas"),
        lambda found: found == 2,
        WITHIN_S,
        "ready",
    )

    release.do("upgrade", "one", CHART, *values, "--set", "image.tag=0.2.0", jobs=("topics", "migrate"))
    release.until("worker", {first: "0.1.0", second: "0.2.0"})
    release.serve(second)
    release.until("worker", {first: "0.2.0", second: "0.2.0"})
    release.serve(first)
    eventually(
        lambda: release.worker_set()["status"].get("readyReplicas"),
        lambda found: found == 2,
        WITHIN_S,
        "ready",
    )

    release.do("upgrade", "one", CHART, *values, "--set", "image.tag=broken", jobs=("topics", "migrate"))
    release.until("worker", {first: "0.2.0", second: "broken"})  # and it never is ready
    release.do("rollback", "one", "2")
    release.until("worker", {first: "0.2.0", second: "0.2.0"})
    assert release.worker_set()["spec"]["replicas"] == 2

    release.do("uninstall", "one")
    eventually(lambda: release.pods("worker"), lambda found: not found, WITHIN_S, "no pods")
    for path in (
        JOBS,
        "/apis/apps/v1/namespaces/analytics/statefulsets",
        "/apis/apps/v1/namespaces/analytics/deployments",
    ):
        eventually(
            lambda path=path: release.cluster.done("GET", path)["items"],
            lambda found: not found,
            WITHIN_S,
            path,
        )


def test_an_upgrade_that_changes_nothing_restarts_nothing(release: Release):
    values = ["--values", str(values_of("small"))]
    release.do("install", "one", CHART, *values, jobs=("topics", "migrate"))
    before = release.worker_set()["metadata"]["generation"]
    release.do("upgrade", "one", CHART, *values, jobs=("topics", "migrate"))
    assert release.worker_set()["metadata"]["generation"] == before


def test_everything_optional_is_installed(release: Release, tmp_path: Path):
    """The whole chart, through Helm's own way into the cluster."""
    chart = shutil.copytree(CHART, tmp_path / "chart")
    release.do("install", "one", chart, "--values", str(values_of("secure")), jobs=("topics", "migrate"))
    policies = release.cluster.done("GET", "/apis/networking.k8s.io/v1/namespaces/analytics/networkpolicies")[
        "items"
    ]
    parts = {found["metadata"]["labels"]["app.kubernetes.io/component"] for found in policies}
    assert parts == {
        "worker",
        "query-service",
        "signals",
        "agent",
        "otlp",
    }  # those of the jobs are gone with them
    listed = release.do("get", "manifest", "one")
    assert {found["kind"] for found in objects(listed)} >= {
        "StatefulSet", "Deployment", "Ingress", "NetworkPolicy", "PodDisruptionBudget", "HorizontalPodAutoscaler",
        "PodMonitor", "ScrapeConfig", "PrometheusRule", "Role", "RoleBinding", "ServiceAccount", "ConfigMap",
    }  # fmt: skip
