"""Kafka's settings: all parts read them the same way, none is silently ignored, and no secret is shown."""

from __future__ import annotations

import argparse

import pytest

from endpoint_analytics.schemas.configuration.kafka_client import client_settings
from endpoint_analytics.schemas.configuration.kafka_config import KafkaConfig, read_kafka_config
from endpoint_analytics.schemas.configuration.kafka_options import add_kafka_options, kafka_of
from endpoint_analytics.schemas.configuration.settings import ConfigurationError

PREFIX = "ENDPOINT_ANALYTICS_KAFKA_"
LOGIN = {"security_protocol": "SASL_SSL", "username": "u", "password": "secret"}


def read(**variables: str) -> KafkaConfig:
    return read_kafka_config(environment={f"{PREFIX}{name}": value for name, value in variables.items()})


def test_protocol_and_mechanism_in_any_case():
    config = read(
        SECURITY_PROTOCOL=" sasl_ssl", SASL_MECHANISM="scram-sha-256", USERNAME="u", PASSWORD="secret"
    )
    assert (config.security_protocol, config.sasl_mechanism) == ("SASL_SSL", "SCRAM-SHA-256")
    assert config == KafkaConfig(**{**LOGIN, "security_protocol": "Sasl_Ssl"}, sasl_mechanism="Scram-Sha-256")
    assert client_settings(config, None)["security_protocol"] == "SASL_SSL"


def test_the_mechanism_is_plain_only_where_one_is_used():
    assert KafkaConfig(**LOGIN).sasl_mechanism == "PLAIN"
    assert "sasl_mechanism" not in client_settings(KafkaConfig(), None)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"username": "u"}, "kafka_username would have no effect: kafka_security_protocol is PLAINTEXT"),
        ({"username": "u", "password": "p"}, "kafka_username and kafka_password would have no effect"),
        ({"sasl_mechanism": "PLAIN"}, "kafka_sasl_mechanism would have no effect"),
        (
            {"security_protocol": "SSL", "password": "p"},
            "kafka_password would have no effect: kafka_security_protocol is SSL",
        ),
        ({"ca_file": "ca.pem"}, "kafka_ca_file would have no effect"),
        ({"certificate_file": "c.pem", "key_file": "k.pem"}, "kafka_certificate_file and kafka_key_file would"),
        (
            {**LOGIN, "security_protocol": "SASL_PLAINTEXT", "ca_file": "ca.pem"},
            "Set ENDPOINT_ANALYTICS_KAFKA_SECURITY_PROTOCOL to SASL_SSL or SSL for an encrypted connection",
        ),
        ({"check_hostname": False}, "kafka_check_hostname would have no effect"),
        ({"security_protocol": "SSL", "key_file": "k.pem"}, "kafka_key_file is set but kafka_certificate_file is"),
        ({"security_protocol": "SSL", "key_password": "x"}, "kafka_key_password is set but kafka_certificate_file"),
        ({"security_protocol": "TLS"}, "kafka_security_protocol is 'TLS': expected PLAINTEXT, SSL"),
        ({**LOGIN, "sasl_mechanism": "gssapi"}, "'GSSAPI' (it is not supported; use SSL with a client certificate"),
        ({**LOGIN, "sasl_mechanism": "OAUTHBEARER"}, "'OAUTHBEARER' (it is not supported"),
        ({**LOGIN, "sasl_mechanism": "MD5"}, "kafka_sasl_mechanism is 'MD5': expected PLAIN, SCRAM"),
        ({**LOGIN, "password": ""}, "needs kafka_username and kafka_password"),
    ],
)  # fmt: skip
def test_what_cannot_work_or_would_be_dropped_is_refused(settings, expected):
    with pytest.raises(ConfigurationError) as error:
        KafkaConfig(**settings)
    assert expected in str(error.value)


def test_a_password_from_a_file(tmp_path):
    file = tmp_path / "password"
    file.write_text("from the file\n")
    config = read(SECURITY_PROTOCOL="SASL_SSL", USERNAME="u", PASSWORD_FILE=str(file))
    assert config.password == "from the file"
    assert "from the file" not in repr(config)
    with pytest.raises(ConfigurationError, match=r"KAFKA_PASSWORD and .*KAFKA_PASSWORD_FILE are both set"):
        read(SECURITY_PROTOCOL="SASL_SSL", USERNAME="u", PASSWORD="x", PASSWORD_FILE=str(file))
    with pytest.raises(ConfigurationError, match=r"kafka_password_file is .*nowhere.*No such file"):
        read(SECURITY_PROTOCOL="SASL_SSL", USERNAME="u", PASSWORD_FILE=str(tmp_path / "nowhere"))
    file.write_text("\n")
    with pytest.raises(ConfigurationError, match="its first line is empty"):
        read(SECURITY_PROTOCOL="SASL_SSL", USERNAME="u", PASSWORD_FILE=str(file))


def test_options_go_before_variables_and_take_no_password(tmp_path, capsys):
    file = tmp_path / "password"
    file.write_text("from the option")
    parser = argparse.ArgumentParser()
    add_kafka_options(parser)
    arguments = parser.parse_args(
        ["--kafka-security-protocol", "sasl_ssl", "--kafka-username", "u", "--kafka-password-file", str(file),
         "--kafka-check-hostname", "off"]
    )  # fmt: skip
    config = kafka_of(arguments, {f"{PREFIX}PASSWORD": "from the variable", f"{PREFIX}USERNAME": "v"})
    assert (config.username, config.password, config.check_hostname) == ("u", "from the option", False)
    with pytest.raises(SystemExit):
        parser.parse_args(["--kafka-password", "hunter2"])
    said = capsys.readouterr().err
    assert "use --kafka-password-file or ENDPOINT_ANALYTICS_KAFKA_PASSWORD" in said
    assert "hunter2" not in said


def test_a_switch_is_on_or_off():
    with pytest.raises(ConfigurationError, match="kafka_check_hostname is 'maybe': expected on or off"):
        read(SECURITY_PROTOCOL="SSL", CHECK_HOSTNAME="maybe")
