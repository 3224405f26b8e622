"""Storage is formatted once; incomplete storage is never mistaken for complete."""

import base64
from pathlib import Path

import pytest

from endpoint_analytics.infra.local.kafka.errors import KafkaError
from endpoint_analytics.infra.local.kafka.storage import format_storage, is_formatted, new_cluster_id


def test_a_cluster_id_is_sixteen_random_bytes_in_base64() -> None:
    ids = {new_cluster_id() for _ in range(500)}
    assert len(ids) == 500
    assert all(len(base64.urlsafe_b64decode(text + "==")) == 16 for text in ids)
    assert not any(text.startswith("-") for text in ids)


def test_a_storage_that_lost_its_identity_is_an_error_and_left_alone(tmp_path: Path) -> None:
    log_dir = tmp_path / "log"
    (log_dir / "topic-0").mkdir(parents=True)
    assert not is_formatted(log_dir)
    with pytest.raises(KafkaError, match=r"meta\.properties is missing from it: restore that file, or move"):
        format_storage(["java"], log_dir, tmp_path / "p", "id", environ={}, timeout_s=1)
    assert (log_dir / "topic-0").exists()


def test_a_failure_includes_the_output_of_the_tool(tmp_path: Path) -> None:
    with pytest.raises(KafkaError, match=r"cannot format Kafka's storage .*log:\nkafka\.tools.StorageTool"):
        format_storage(
            ["/bin/sh", "-c", 'echo "$0"; exit 1'],
            tmp_path / "log",
            tmp_path / "format.properties",
            "id",
            environ={},
            timeout_s=10,
        )
    assert not (tmp_path / "log").exists()
