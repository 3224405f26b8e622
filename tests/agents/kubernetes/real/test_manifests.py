"""Our manifests before a real kube-apiserver and KEDA's own definitions: each is applied as its first lines say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.agents.kubernetes.real.cluster import Cluster
from tests.agents.kubernetes.real.kube_apiserver import UnavailableError, module_directory
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
ROOT = Path(__file__).parents[4]
KEDA = ("github.com/kedacore/keda/v2", "v2.21.0")
SCALED_OBJECTS = "/apis/keda.sh/v1alpha1/namespaces/models/scaledobjects"
OURS = {
    "infra/deploy/kubernetes/pipeline": "endpoint-analytics",
    "infra/deploy/kubernetes/agent": "models",
    "infra/deploy/kubernetes/model-server": "models",
    "infra/deploy/autoscaling/external-metrics": "endpoint-analytics",
}


@pytest.fixture
def keda(models: Cluster) -> Iterator[Cluster]:
    """The cluster with the definitions of KEDA, and without them afterwards."""
    try:
        directory = module_directory(*KEDA)
    except UnavailableError as error:
        pytest.skip(str(error))
    names = [
        f"{directory}/config/crd/bases/keda.sh_{each}.yaml"
        for each in ("scaledobjects", "triggerauthentications")
    ]
    flags = [word for name in names for word in ("-f", name)]
    models.kubectl("apply", "--server-side", *flags)
    eventually(
        lambda: models.ask("GET", SCALED_OBJECTS)[0],
        lambda status: status == 200,
        60,
        "ScaledObjects are known",
    )
    yield models
    models.kubectl("delete", *flags)


@pytest.mark.parametrize(("directory", "namespace"), OURS.items())
def test_a_kustomization_is_applied(models: Cluster, directory: str, namespace: str):
    """With warnings as errors: there are no unknown or deprecated fields."""
    models.namespace(namespace)
    try:
        models.kubectl(
            "apply", "--server-side", "--validate=strict", "--warnings-as-errors", "-k", ROOT / directory
        )
    finally:
        models.kubectl("delete", "--ignore-not-found", "--wait=false", "-k", ROOT / directory)


def test_the_autoscaler_is_applied(models: Cluster):
    models.kubectl("apply", "--dry-run=server", "--validate=strict", "--warnings-as-errors",
                   "-f", ROOT / "infra/deploy/autoscaling/hpa.yaml")  # fmt: skip


@pytest.mark.parametrize("name", ["scaledobject.yaml", "prometheus.yaml"])
def test_kedas_objects_are_applied(keda: Cluster, name: str):
    keda.kubectl("apply", "--dry-run=server", "--validate=strict", "--warnings-as-errors",
                 "-f", ROOT / "infra/deploy/autoscaling/keda" / name)  # fmt: skip
