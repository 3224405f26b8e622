"""Every way to connect to a real broker, and the explanation and fix for everything that can prevent it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.secure_kafka import SecureKafka

from endpoint_analytics.infra.local.kafka.process import KafkaProcess
from endpoint_analytics.infra.local.system.port import free_port
from endpoint_analytics.schemas.configuration.kafka_client import make_ssl_context
from endpoint_analytics.schemas.configuration.kafka_config import KafkaConfig
from endpoint_analytics.schemas.configuration.kafka_failure import find_failure
from endpoint_analytics.schemas.configuration.settings import ConfigurationError

Make = Callable[[SecureKafka], KafkaConfig]


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    with SecureKafka(tmp_path_factory.mktemp("secure")) as running:
        yield running


def look(config: KafkaConfig) -> str | None:
    return asyncio.run(find_failure(config, make_ssl_context(config)))


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda kafka: kafka.config("PLAINTEXT"), id="plain"),
        pytest.param(lambda kafka: kafka.config("LOGIN", sasl_mechanism="PLAIN"), id="login"),
        pytest.param(
            lambda kafka: kafka.config(
                "SECURE", security_protocol="sasl_ssl", sasl_mechanism="scram-sha-256"
            ),
            id="scram over TLS, in lower case",
        ),
        pytest.param(lambda kafka: kafka.config("SECURE", sasl_mechanism="SCRAM-SHA-512"), id="scram 512"),
        pytest.param(lambda kafka: kafka.config("ENCRYPTED"), id="TLS"),
        pytest.param(lambda kafka: kafka.config("CERTIFIED"), id="client certificate, its key in one file"),
        pytest.param(
            lambda kafka: kafka.config(
                "CERTIFIED",
                certificate_file=str(kafka.certificates.client_certificate),
                key_file=str(kafka.certificates.client_key),
                key_password="opens it",
            ),
            id="client certificate, encrypted key",
        ),
        pytest.param(lambda kafka: kafka.config("MISNAMED", check_hostname=False), id="any name of the CA"),
    ],
)
def test_every_way_in_is_honoured(kafka: SecureKafka, make: Make) -> None:
    assert look(make(kafka)) is None


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda kafka: kafka.config("SECURE", password="wrong"),
         "refuses the user 'app' or its password (SCRAM-SHA-512): check ENDPOINT_ANALYTICS_KAFKA_USERNAME"),
        (lambda kafka: kafka.config("LOGIN", password="wrong", sasl_mechanism="PLAIN"),
         "refuses the user 'app' or its password (PLAIN)"),
        (lambda kafka: kafka.config("SECURE", username="who"), "refuses the user 'who' or its password"),
        (lambda kafka: kafka.config("SECURE", ca_file=str(kafka.certificates.other_ca)),
         "other-ca.pem' (unable to get local issuer certificate): set ENDPOINT_ANALYTICS_KAFKA_CA_FILE to"),
        (lambda kafka: kafka.config("SECURE", ca_file=""), "is not trusted by the system's CAs"),
        (lambda kafka: kafka.config("MISNAMED"), "is for another name (IP address mismatch"),
        (lambda kafka: kafka.config("CERTIFIED", certificate_file=""),
         "requires a client certificate (SSLV3_ALERT_BAD_CERTIFICATE): set ENDPOINT_ANALYTICS_KAFKA_CERTIFICATE_FILE"),
        (lambda kafka: kafka.config("CERTIFIED", certificate_file=str(kafka.certificates.stranger)),
         "refuses the client certificate"),
        (lambda kafka: kafka.config("PLAINTEXT", security_protocol="SSL"), "does not speak TLS"),
        (lambda kafka: kafka.config("LOGIN", security_protocol="SASL_SSL"),
         "is SASL_SSL: set ENDPOINT_ANALYTICS_KAFKA_SECURITY_PROTOCOL to SASL_PLAINTEXT"),
        (lambda kafka: kafka.config("ENCRYPTED", security_protocol="PLAINTEXT"),
         "speaks TLS, but kafka_security_protocol is PLAINTEXT"),
        (lambda kafka: kafka.config("SECURE", security_protocol="SASL_PLAINTEXT"),
         "KAFKA_SECURITY_PROTOCOL to SASL_SSL"),
        (lambda kafka: kafka.config("LOGIN", security_protocol="PLAINTEXT"),
         "requires a login, but kafka_security_protocol is PLAINTEXT"),
        (lambda kafka: kafka.config("SECURE", security_protocol="SSL"),
         "requires a login, but kafka_security_protocol is SSL"),
        (lambda kafka: kafka.config("ENCRYPTED", security_protocol="SASL_SSL"), "requires no login"),
        (lambda kafka: kafka.config("PLAINTEXT", bootstrap_servers=f"127.0.0.1:{free_port('127.0.0.1')}"),
         "nothing listens at 127.0.0.1:"),
        (lambda kafka: kafka.config("PLAINTEXT", bootstrap_servers="no-such-host.invalid:9092"),
         "the name of no-such-host.invalid:9092 cannot be resolved"),
    ],
)  # fmt: skip
def test_what_keeps_a_client_out_is_named_with_its_fix(kafka: SecureKafka, make: Make, expected: str) -> None:
    said = look(make(kafka))
    assert said is not None
    assert expected in said
    assert "wrong" not in said.replace("is wrong", "")  # no password


def test_a_broker_that_hangs_is_not_one_that_is_absent(kafka: SecureKafka) -> None:
    os.kill(kafka.process.pid, signal.SIGSTOP)
    try:
        said = look(kafka.config("SECURE"))
    finally:
        os.kill(kafka.process.pid, signal.SIGCONT)
    assert said is not None
    assert "does not answer within" in said


def test_brokers_that_advertise_what_cannot_be_reached(tmp_path: Path) -> None:
    with KafkaProcess(tmp_path / "kafka", advertised_host="no-such-host.invalid") as process:
        port = process.bootstrap_servers.rsplit(":", 1)[1]
        said = look(KafkaConfig(bootstrap_servers=f"127.0.0.1:{port}"))
    assert said is not None
    assert (
        f"Kafka answers at 127.0.0.1:{port}, but reports its brokers at no-such-host.invalid:{port}" in said
    )
    assert "advertised.listeners" in said


def test_one_server_that_lets_us_in_is_enough(kafka: SecureKafka) -> None:
    nobody = f"127.0.0.1:{free_port('127.0.0.1')}"
    servers = f"{nobody},127.0.0.1:{kafka.ports['SECURE']}"
    assert look(kafka.config("SECURE", bootstrap_servers=servers)) is None


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (lambda pems: {"ca_file": "/nowhere.pem"}, "kafka_ca_file is '/nowhere.pem' (No such file"),
        (lambda pems: {"ca_file": __file__}, "expected the path of a readable PEM file"),
        (lambda pems: {"certificate_file": "/no.pem"}, "kafka_certificate_file is '/no.pem' (No such"),
        (lambda pems: {"certificate_file": str(pems.client), "key_file": "/no.pem"}, "kafka_key_file is '/no.pem'"),
        (lambda pems: {"certificate_file": str(pems.client), "key_file": str(pems.stranger)},
         "does not match the certificate"),
        (lambda pems: {"certificate_file": str(pems.client_certificate), "key_file": str(pems.client_key)},
         "it is encrypted: set ENDPOINT_ANALYTICS_KAFKA_KEY_PASSWORD"),
        (lambda pems: {"certificate_file": str(pems.client_certificate), "key_file": str(pems.client_key),
                       "key_password": "wrong"}, "ENDPOINT_ANALYTICS_KAFKA_KEY_PASSWORD does not open it"),
        (lambda pems: {"certificate_file": str(pems.client_certificate)}, "need a PEM certificate and its PEM key"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_used_are_named(kafka: SecureKafka, settings, expected: str) -> None:
    config = KafkaConfig(security_protocol="SSL", **settings(kafka.certificates))
    with pytest.raises(ConfigurationError) as error:
        make_ssl_context(config)
    assert expected in str(error.value)
