"""One real broker for the tests of this folder that leave it running."""

from collections.abc import Iterator

import pytest

from endpoint_analytics.infra.kafka.process import KafkaProcess


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaProcess]:
    with KafkaProcess(tmp_path_factory.mktemp("kafka")) as process:
        yield process
