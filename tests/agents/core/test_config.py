"""Settings: arguments override variables override defaults; errors say how to fix them; no secret is shown."""

from __future__ import annotations

import pytest

from endpoint_analytics.agents.core.config import (
    AgentConfig,
    ConfigurationError,
    KafkaConfig,
    default_replica_id,
    read_config,
)
from endpoint_analytics.schemas.identity import check_name

NAMES = {"ENDPOINT_ANALYTICS_NAMESPACE": "acme", "ENDPOINT_ANALYTICS_ENDPOINT": "classifier"}


def test_the_environment_alone_is_enough():
    config = read_config(environment={**NAMES, "HOSTNAME": "pod-7"})
    assert (config.namespace, config.endpoint, config.replica_id) == ("acme", "classifier", "pod-7")
    assert config.kafka == KafkaConfig(bootstrap_servers="127.0.0.1:9092", topic_prefix="endpoint-analytics")


def test_numbers_and_switches_from_the_environment():
    environment = {
        **NAMES,
        "ENDPOINT_ANALYTICS_HARDWARE": "off",
        "ENDPOINT_ANALYTICS_FLUSH_INTERVAL_S": "0.5",
        "ENDPOINT_ANALYTICS_OUTBOX_BYTES": "1000",
    }
    config = read_config(environment=environment)
    assert (config.hardware, config.flush_interval_s, config.outbox_bytes) == (False, 0.5, 1_000)
    config = read_config(environment=environment, hardware=True, flush_interval_s=0.2)
    assert (config.hardware, config.flush_interval_s) == (True, 0.2)


def test_the_spool_from_arguments_and_environment():
    assert read_config(environment=NAMES).spool == ""
    config = read_config(environment={**NAMES, "ENDPOINT_ANALYTICS_SPOOL": "/var/spool/analytics"})
    assert (config.spool, config.spool_bytes, config.spool_drop) == ("/var/spool/analytics", 2**28, "oldest")
    environment = {
        **NAMES,
        "ENDPOINT_ANALYTICS_SPOOL": "/theirs",
        "ENDPOINT_ANALYTICS_SPOOL_BYTES": "1000000",
        "ENDPOINT_ANALYTICS_SPOOL_DROP": "Newest",
    }
    config = read_config(environment=environment, spool="/mine")
    assert (config.spool, config.spool_bytes, config.spool_drop) == ("/mine", 1_000_000, "newest")
    assert read_config(environment=environment, spool="").spool == ""


def test_the_form_of_request_batches():
    assert read_config(environment=NAMES).request_encoding == "packed"
    environment = {**NAMES, "ENDPOINT_ANALYTICS_REQUEST_ENCODING": "JSON"}
    assert read_config(environment=environment).request_encoding == "json"


def test_excluded_paths_from_arguments_and_environment():
    environment = {"ENDPOINT_ANALYTICS_EXCLUDE_PATHS": "/health, /metrics,"}
    names = {"namespace": "a", "endpoint": "b", "environment": environment}
    assert read_config(**names).exclude_paths == ("/health", "/metrics")
    assert read_config(**names, exclude_paths=["/ready"]).exclude_paths == ("/ready",)


def test_arguments_go_before_the_environment():
    config = read_config(
        namespace="other",
        replica_id="mine",
        kafka="broker:9093",
        environment={**NAMES, "ENDPOINT_ANALYTICS_REPLICA_ID": "theirs", "ENDPOINT_ANALYTICS_KAFKA": "x:1"},
    )
    assert (config.namespace, config.endpoint, config.replica_id) == ("other", "classifier", "mine")
    assert config.kafka.bootstrap_servers == "broker:9093"


def test_kafka_security_from_the_environment_shows_no_secret():
    config = read_config(
        environment={
            **NAMES,
            "ENDPOINT_ANALYTICS_KAFKA": "a:1,b:2",
            "ENDPOINT_ANALYTICS_TOPIC_PREFIX": "mine",
            "ENDPOINT_ANALYTICS_KAFKA_SECURITY_PROTOCOL": "sasl_ssl",
            "ENDPOINT_ANALYTICS_KAFKA_SASL_MECHANISM": "scram-sha-512",
            "ENDPOINT_ANALYTICS_KAFKA_USERNAME": "user",
            "ENDPOINT_ANALYTICS_KAFKA_PASSWORD": "hunter2",
            "ENDPOINT_ANALYTICS_KAFKA_CA_FILE": "/etc/ca.pem",
        }
    )
    assert config.kafka == KafkaConfig(
        bootstrap_servers="a:1,b:2",
        topic_prefix="mine",
        security_protocol="SASL_SSL",
        sasl_mechanism="SCRAM-SHA-512",
        username="user",
        password="hunter2",
        ca_file="/etc/ca.pem",
    )
    assert "hunter2" not in repr(config)
    assert "hunter2" not in str(config)


@pytest.mark.parametrize(
    ("environment", "reported"),
    [
        ({}, "namespace is not set: pass namespace=..., or set --namespace or ENDPOINT_ANALYTICS_NAMESPACE"),
        ({"ENDPOINT_ANALYTICS_NAMESPACE": "acme"}, "set --endpoint or ENDPOINT_ANALYTICS_ENDPOINT"),
        ({**NAMES, "ENDPOINT_ANALYTICS_NAMESPACE": "a/b"}, "namespace is 'a/b'"),
        (
            {**NAMES, "ENDPOINT_ANALYTICS_KAFKA": "http://x:1"},
            "expected HOST:PORT[,HOST:PORT...], for example kafka-1:9092,kafka-2:9092",
        ),
        ({**NAMES, "ENDPOINT_ANALYTICS_KAFKA": "kafka"}, "kafka is 'kafka' (it has no port)"),
        ({**NAMES, "ENDPOINT_ANALYTICS_KAFKA": "a:1,b:70000"}, "70000 is not a port"),
        ({**NAMES, "ENDPOINT_ANALYTICS_KAFKA_SECURITY_PROTOCOL": "TLS"}, "kafka_security_protocol is 'TLS'"),
        ({**NAMES, "ENDPOINT_ANALYTICS_KAFKA_SASL_MECHANISM": "MD5"}, "kafka_sasl_mechanism is 'MD5'"),
        ({**NAMES, "ENDPOINT_ANALYTICS_KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}, "needs kafka_username"),
        ({**NAMES, "ENDPOINT_ANALYTICS_KAFKA_USERNAME": "u"}, "kafka_username would have no effect"),
        (
            {**NAMES, "ENDPOINT_ANALYTICS_HARDWARE": "maybe"},
            "hardware is 'maybe': expected on or off, for example off; set ENDPOINT_ANALYTICS_HARDWARE",
        ),
        (
            {**NAMES, "ENDPOINT_ANALYTICS_RECORDER_LIMIT": "1.5"},
            "recorder_limit is '1.5': expected a whole number",
        ),
        ({**NAMES, "ENDPOINT_ANALYTICS_FLUSH_INTERVAL_S": "nan"}, "flush_interval_s is 'nan'"),
        ({**NAMES, "ENDPOINT_ANALYTICS_SPOOL_DROP": "all"}, "spool_drop is 'all': expected oldest or newest"),
        (
            {**NAMES, "ENDPOINT_ANALYTICS_REQUEST_ENCODING": "xml"},
            "request_encoding is 'xml': expected packed or json",
        ),
        ({**NAMES, "ENDPOINT_ANALYTICS_TOPIC_PREFIX": "a b"}, "topic_prefix is 'a b'"),
    ],
)
def test_what_is_wrong_is_reported(environment, reported):
    with pytest.raises(ConfigurationError) as error:
        read_config(environment=environment)
    assert reported in str(error.value)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("flush_interval_s", 1.5),
        ("flush_interval_s", 0),
        ("stop_timeout_s", -1),
        ("recorder_limit", 0),
        ("outbox_batches", 0),
        ("outbox_bytes", 0),
        ("spool_bytes", 65_535),
        ("spool_drop", ""),
        ("request_encoding", "JSON"),
        ("exclude_paths", ("health",)),
        ("exclude_paths", "/health"),
    ],
)
def test_bounds(setting, value):
    with pytest.raises(ConfigurationError, match=setting):
        AgentConfig(namespace="a", endpoint="b", replica_id="c", **{setting: value})


@pytest.mark.parametrize("host", ["pod-7", "my_host-", "-x-", "höst", "a" * 300, "---", "worker 1.local"])
def test_any_host_makes_a_valid_name(host):
    assert check_name("replica_id", default_replica_id({"HOSTNAME": host}))
