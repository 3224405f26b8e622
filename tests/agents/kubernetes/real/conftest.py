"""One cluster for all tests of this directory; they are slow, since it is built first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.agents.kubernetes.real.cluster import Cluster
from tests.agents.kubernetes.real.kube_apiserver import UnavailableError, built


@pytest.fixture(scope="package")
def commands() -> Path:
    try:
        return built()
    except UnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="package")
def cluster(commands: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(commands, tmp_path_factory.mktemp("kubernetes")) as started:
        yield started


@pytest.fixture(scope="package")
def models(cluster: Cluster) -> Cluster:
    """The cluster with the namespace of the agent's manifests."""
    cluster.namespace("models")
    return cluster
