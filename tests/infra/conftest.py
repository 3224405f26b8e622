"""One real broker, shared by the tests of this directory that leave it running."""

from collections.abc import Iterator

import pytest

from endpoint_analytics.infra.local.kafka.process import KafkaProcess


@pytest.fixture(scope="package")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaProcess]:
    with KafkaProcess(tmp_path_factory.mktemp("kafka")) as process:
        yield process
