"""A real broker with a listener of each kind, certificates of its own CA, a SCRAM user, and ACLs.

The plaintext listener is for its operator (super.users has ANONYMOUS); the others need permissions. Users are created
with librdkafka's admin client, so that the access of our clients does not depend on our own code.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import trustme
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from cryptography.hazmat.primitives import serialization

from endpoint_analytics.infra.local.kafka.process import KafkaProcess
from endpoint_analytics.infra.local.system.port import free_port
from endpoint_analytics.schemas.configuration.kafka_config import KafkaConfig

USER, PASSWORD = "app", "correct horse"
_JAAS = "org.apache.kafka.common.security"
_BINDINGS = {
    "PLAINTEXT": "PLAINTEXT",
    "LOGIN": "SASL_PLAINTEXT",
    "SECURE": "SASL_SSL",
    "CERTIFIED": "SSL",
    "ENCRYPTED": "SSL",
    "MISNAMED": "SSL",
}


@dataclass(frozen=True)
class Certificates:
    """PEM files: the CA, another CA, broker certificates (for 127.0.0.1 and for another name), client certificates."""

    directory: Path

    def __post_init__(self) -> None:
        ca, other = trustme.CA(), trustme.CA()
        ca.cert_pem.write_to_path(self.ca)
        other.cert_pem.write_to_path(self.other_ca)
        _write(self.broker, ca.issue_cert("127.0.0.1", "localhost"))
        _write(self.misnamed, ca.issue_cert("kafka.example"))
        client = ca.issue_cert("client@example", common_name=USER)
        stranger = other.issue_cert("client@example", common_name=USER)
        _write(self.client, client)
        _write(self.stranger, stranger)
        client.cert_chain_pems[0].write_to_path(self.client_certificate)
        self.client_key.write_bytes(_key(client, b"opens it"))

    ca = property(lambda self: self.directory / "ca.pem")
    other_ca = property(lambda self: self.directory / "other-ca.pem")
    broker = property(lambda self: self.directory / "broker.pem")
    misnamed = property(lambda self: self.directory / "misnamed.pem")
    client = property(lambda self: self.directory / "client.pem")
    stranger = property(lambda self: self.directory / "stranger.pem")
    client_certificate = property(lambda self: self.directory / "client-certificate.pem")
    client_key = property(lambda self: self.directory / "client-key.pem")


def _key(issued: trustme.LeafCert, password: bytes = b"") -> bytes:
    key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def _write(path: Path, issued: trustme.LeafCert) -> None:
    path.write_bytes(_key(issued) + b"".join(pem.bytes() for pem in issued.cert_chain_pems))


class SecureKafka:
    """The broker; `config(listener, ...)` returns the settings with which a client reaches a listener."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.certificates = Certificates(directory)
        self.ports = {name: free_port("127.0.0.1") for name in _BINDINGS}
        self.process = KafkaProcess(
            directory / "kafka", port=self.ports["PLAINTEXT"], settings=self._settings(free_port("127.0.0.1"))
        )

    def _settings(self, controller: int) -> dict[str, str]:
        addresses = [f"{name}://127.0.0.1:{port}" for name, port in self.ports.items()]
        found = {
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "listeners": ",".join([*addresses, f"CONTROLLER://127.0.0.1:{controller}"]),
            "advertised.listeners": ",".join(addresses),
            "listener.security.protocol.map": ",".join(
                f"{name}:{protocol}" for name, protocol in {**_BINDINGS, "CONTROLLER": "PLAINTEXT"}.items()
            ),
            "inter.broker.listener.name": "PLAINTEXT",
            "sasl.enabled.mechanisms": "SCRAM-SHA-256,SCRAM-SHA-512",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self.certificates.broker),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.certificates.ca),
            "ssl.principal.mapping.rules": "RULE:^.*CN=([^,]+).*$/$1/,DEFAULT",
            "listener.name.certified.ssl.client.auth": "required",
            "listener.name.misnamed.ssl.keystore.location": str(self.certificates.misnamed),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
        }
        for name in ("login", "secure"):
            found[f"listener.name.{name}.sasl.enabled.mechanisms"] = "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512"
            found[f"listener.name.{name}.plain.sasl.jaas.config"] = (
                f'{_JAAS}.plain.PlainLoginModule required user_{USER}="{PASSWORD}" user_nobody="nothing";'
            )
            for mechanism in ("scram-sha-256", "scram-sha-512"):
                found[f"listener.name.{name}.{mechanism}.sasl.jaas.config"] = (
                    f"{_JAAS}.scram.ScramLoginModule required;"
                )
        return found

    @cached_property
    def admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.process.bootstrap_servers})

    def __enter__(self) -> Self:
        self.process.start()
        self.set_password(PASSWORD)
        self.set_password("nothing", "nobody")
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stop()

    def set_password(self, password: str, user: str = USER) -> None:
        for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):
            change = UserScramCredentialUpsertion(
                user, ScramCredentialInfo(mechanism, 4096), password.encode()
            )
            for done in self.admin.alter_user_scram_credentials([change]).values():
                done.result(30)

    def allow(self, kind: ResourceType, prefix: str, *operations: AclOperation, user: str = USER) -> None:
        """Grant operations on resources whose names start with the prefix."""
        allow, prefixed = AclPermissionType.ALLOW, ResourcePatternType.PREFIXED
        bindings = [
            AclBinding(kind, prefix, prefixed, f"User:{user}", "*", operation, allow)
            for operation in operations
        ]
        for done in self.admin.create_acls(bindings).values():
            done.result(30)

    def config(self, listener: str, **settings: object) -> KafkaConfig:
        """Return the settings for a listener: with its protocol and our CA, unless overridden."""
        protocol = str(settings.setdefault("security_protocol", _BINDINGS[listener]))
        if protocol.upper().endswith("SSL"):
            settings.setdefault("ca_file", str(self.certificates.ca))
        if protocol.upper().startswith("SASL"):
            settings.setdefault("username", USER)
            settings.setdefault("password", PASSWORD)
            settings.setdefault("sasl_mechanism", "SCRAM-SHA-512")
        if listener == "CERTIFIED":
            settings.setdefault("certificate_file", str(self.certificates.client))
        settings.setdefault("bootstrap_servers", f"127.0.0.1:{self.ports[listener]}")
        return KafkaConfig(**settings)  # type: ignore[arg-type]
