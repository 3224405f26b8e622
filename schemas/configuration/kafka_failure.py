"""Explains why Kafka cannot be used, and how to fix it.

aiokafka reports "Unable to bootstrap" for an unreachable broker, a wrong password and an untrusted CA alike. So after
a failure a test connection is made with the same settings, and its problem is reported. Clients of all parts use this.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Iterable
from contextlib import closing, suppress
from typing import Any

from aiokafka.conn import AIOKafkaConnection, create_conn
from aiokafka.errors import (
    AuthenticationFailedError,
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    LeaderNotAvailableError,
    NotEnoughReplicasAfterAppendError,
    NotEnoughReplicasError,
    NotLeaderForPartitionError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    UnsupportedSaslMechanismError,
    for_code,
)
from aiokafka.protocol.coordination import FindCoordinatorRequest
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.group import HeartbeatRequest
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from endpoint_analytics.schemas.configuration.kafka_client import client_settings
from endpoint_analytics.schemas.configuration.kafka_config import KafkaConfig
from endpoint_analytics.schemas.configuration.settings import PREFIX

PROBE_WITHIN_S = 5.0
_PORT = 9092
_GROUP = 0  # the type of a consumer group's coordinator
_API_VERSIONS, _CORRELATION_ID = 18, 7
_NO_PARTITION, _NO_MEMBER = 2**31 - 1, "endpoint-analytics-probe"
# OpenSSL's verify_code: https://docs.openssl.org/3.0/man3/X509_STORE_CTX_get_error/
_EXPIRED, _NOT_YET_VALID, _WRONG_NAME = {10}, {9}, {62, 64}


async def explain_failure(
    error: BaseException, config: KafkaConfig, ssl_context: ssl.SSLContext | None
) -> str:
    """Return what is wrong and how to fix it, after a Kafka client raised `error`; takes at most PROBE_WITHIN_S."""
    said = explain_refusal(error, config)
    if said is None and isinstance(error, KafkaError | OSError | TimeoutError):
        said = await find_failure(config, ssl_context)
    return said or (
        "no answer in time" if isinstance(error, TimeoutError) else f"{type(error).__name__}: {error}"
    )


def explain_refusal(error: BaseException, config: KafkaConfig) -> str | None:
    """Return the explanation of a broker's refusal to a logged-in client; None for other errors."""
    about = ", ".join(sorted(_names(error)))
    match error:
        case TopicAuthorizationFailedError():
            return (
                f"{_principal(config)} may not use the topic {about or '(unnamed)'}: add ACLs with kafka-acls.sh "
                "(agents and signals: Write; the worker: Read, and Write on the rejected topic; `agent otlp --topic`: "
                "Read; to create topics: Create and DescribeConfigs; all: Describe)"
            )
        case GroupAuthorizationFailedError():
            return (
                f"{_principal(config)} may not use the consumer group {about or '(unnamed)'}: add the ACL Read on the "
                "group with kafka-acls.sh"
            )
        case ClusterAuthorizationFailedError():
            return (
                f"{_principal(config)} may not write to or create topics: add ACLs with kafka-acls.sh (to write: "
                "Write on the topics; to create topics: Create, Describe and DescribeConfigs)"
            )
        case NotEnoughReplicasError() | NotEnoughReplicasAfterAppendError():
            return (
                "fewer replicas are in sync than the topic's min.insync.replicas: bring the missing brokers back, "
                "and it will continue by itself"
            )
        case UnknownTopicOrPartitionError():
            return (
                f"there is no topic {about or '(unnamed)'}, or {_principal(config)} may not see it: create it with "
                "`endpoint-analytics topics` (one that a Collector writes: with kafka-topics.sh), or add the ACL "
                "Describe"
            )
        case LeaderNotAvailableError() | NotLeaderForPartitionError():
            return (
                "a partition has no leader: bring its broker back, and it will continue by itself; other partitions "
                "are not affected"
            )
    return None


async def find_unreadable(
    config: KafkaConfig, ssl_context: ssl.SSLContext | None, topics: Iterable[str], group: str
) -> list[str] | None:
    """Return a line for each topic or group that does not exist or that our user may not read.

    None if no broker answers. A consumer continues without such topics, so nothing else reports them. Nothing is read:
    what is asked for is in a partition that no topic has, and of a member that no group has, and Kafka looks at the
    rights first.
    """
    names = list(topics)
    answers = await _ask(
        config,
        ssl_context,
        MetadataRequest(names, allow_auto_topic_creation=False),
        FetchRequest(0, 0, 1, 0, [(topic, [(_NO_PARTITION, 0, 1)]) for topic in names]),
        FindCoordinatorRequest(group, _GROUP),
        HeartbeatRequest(group, 0, _NO_MEMBER),
    )
    if answers is None:
        return None
    metadata, fetched, coordinator, heartbeat = answers
    errors = [for_code(topic[0])(topic[1]) for topic in metadata.topics if topic[0]]
    errors += _refused_topics(fetched)
    errors.append(for_code(coordinator.error_code)(group))
    if for_code(heartbeat.error_code) is GroupAuthorizationFailedError:
        errors.append(GroupAuthorizationFailedError(group))
    # One line for who may neither see nor read.
    return list(dict.fromkeys(said for error in errors if (said := explain_refusal(error, config))))


async def find_unwritable(
    config: KafkaConfig, ssl_context: ssl.SSLContext | None, topics: Iterable[str]
) -> list[str] | None:
    """Return a line for each topic that our user may not write to, or None if no broker answers.

    Topics that do not exist have none. Nothing is written: the message is for a partition that no topic has, and Kafka
    looks at the rights first.
    """
    builder = DefaultRecordBatchBuilder(2, 0, False, -1, -1, -1, 4096)
    builder.append(0, 0, None, b"", [])
    sent = [(_NO_PARTITION, bytes(builder.build()))]
    request = ProduceRequest(None, 1, int(PROBE_WITHIN_S * 1000), [(topic, sent) for topic in topics])
    answers = await _ask(config, ssl_context, request)
    if answers is None:
        return None
    errors = [error for answer in answers for error in _refused_topics(answer)]
    return sorted(said for error in errors if (said := explain_refusal(error, config)))


def _refused_topics(answer: Any) -> list[KafkaError]:
    """Return the topics that the answer to a fetch or produce request says our user has no right for."""
    return [
        TopicAuthorizationFailedError(topic)
        for topic, partitions in answer.topics
        for partition in partitions
        if for_code(partition[1]) is TopicAuthorizationFailedError
    ]


async def _ask(config: KafkaConfig, ssl_context: ssl.SSLContext | None, *requests: Any) -> list[Any] | None:
    """Return the answers of the first broker that gives them all; None if no broker does."""
    for server in config.servers:
        with suppress(KafkaError, OSError, TimeoutError):
            connection = await _connect(server, config, ssl_context, PROBE_WITHIN_S)
            try:
                return [await connection.send(request) for request in requests]
            finally:
                connection.close()
    return None


async def find_failure(
    config: KafkaConfig, ssl_context: ssl.SSLContext | None, within_s: float = PROBE_WITHIN_S
) -> str | None:
    """Connect and log in with the settings; return what prevents it, or None if nothing does."""
    answers = await asyncio.gather(
        *(_try(server, config, ssl_context, within_s / 2) for server in config.servers)
    )
    brokers = next((answer for answer in answers if isinstance(answer, list)), None)
    if brokers is None:
        failures = [answer for answer in answers if isinstance(answer, str)]
        return "; ".join(dict.fromkeys(failures))
    advertised = await asyncio.gather(
        *(
            _try(server, config, ssl_context, within_s / 2)
            for server in brokers
            if server not in config.servers
        )
    )
    unreachable = [answer for answer in advertised if isinstance(answer, str)]
    if not unreachable:
        return None
    return (
        f"Kafka answers at {config.bootstrap_servers}, but reports its brokers at {', '.join(brokers)}: "
        f"{'; '.join(unreachable)}. Set the brokers' advertised.listeners to addresses that are reachable from here"
    )


async def _try(
    server: str, config: KafkaConfig, ssl_context: ssl.SSLContext | None, within_s: float
) -> str | list[str]:
    """Return the addresses that the cluster's brokers advertise, or what prevents connecting to this one."""
    host, port = _split(server)
    connection: AIOKafkaConnection | None = None
    logged_in = False
    try:
        connection = await _connect(server, config, ssl_context, within_s)
        logged_in = True
        metadata = await connection.send(MetadataRequest([]))
        return [_join(broker[1], broker[2]) for broker in metadata.brokers]
    except (KafkaError, OSError, TimeoutError) as error:
        cause = error.__cause__ if isinstance(error, KafkaConnectionError) and error.__cause__ else error
        said = _explain_connection(cause, server, config, within_s)
        return said or await _explain_closed(cause, host, port, config, logged_in, within_s)
    finally:
        if connection is not None:
            connection.close()


async def _connect(
    server: str, config: KafkaConfig, ssl_context: ssl.SSLContext | None, within_s: float
) -> AIOKafkaConnection:
    host, port = _split(server)
    settings = client_settings(config, ssl_context) | {"request_timeout_ms": int(within_s * 1000)}
    del settings["bootstrap_servers"]
    return await create_conn(host, port, client_id="endpoint-analytics-probe", **settings)


def _explain_connection(
    error: BaseException, server: str, config: KafkaConfig, within_s: float
) -> str | None:
    """Return the explanation of a self-explanatory error; None if the broker just closed the connection."""
    match error:
        case socket.gaierror():
            return (
                f"the name of {server} cannot be resolved ({error.strerror}): check the address "
                f"(--kafka or {PREFIX}KAFKA) and DNS"
            )
        case ConnectionRefusedError():
            return (
                f"nothing listens at {server}: check the address (--kafka or {PREFIX}KAFKA) and that Kafka is "
                "running there"
            )
        case TimeoutError():
            return (
                f"{server} does not answer within {within_s:g} s: check the address (--kafka or {PREFIX}KAFKA), "
                "firewalls, and that the broker is not hung"
            )
        case ssl.SSLCertVerificationError():
            return _explain_certificate(error, server, config)
        case UnsupportedSaslMechanismError() | IllegalSaslStateError():
            return _explain_mechanism(error, server, config)
        case AuthenticationFailedError() | SaslAuthenticationFailed():
            return (
                f"{server} refuses the user {config.username!r} or its password ({config.sasl_mechanism}): check "
                f"{PREFIX}KAFKA_USERNAME and {PREFIX}KAFKA_PASSWORD, and that the broker knows "
                f"the user for {config.sasl_mechanism} (kafka-configs.sh --entity-type users --describe)"
            )
        case ssl.SSLError():
            return _explain_tls(error, server, config)
        case OSError() if error.errno is not None and not isinstance(error, ConnectionError):
            return f"{server} cannot be reached ({error.strerror}): check the address and the network"
    return None


def _explain_certificate(error: ssl.SSLCertVerificationError, server: str, config: KafkaConfig) -> str:
    if error.verify_code in _WRONG_NAME:
        return (
            f"the certificate of {server} is for another name ({error.verify_message}): connect by a name in it, "
            f"give the broker a certificate with this name, or set {PREFIX}KAFKA_CHECK_HOSTNAME=off if the CA "
            "signs certificates for your brokers only"
        )
    if error.verify_code in _EXPIRED | _NOT_YET_VALID:
        return (
            f"the certificate of {server} is not valid now ({error.verify_message}): renew it, or correct this "
            "machine's clock"
        )
    ca = f"kafka_ca_file {config.ca_file!r}" if config.ca_file else "the system's CAs"
    return (
        f"the certificate of {server} is not trusted by {ca} ({error.verify_message}): set "
        f"{PREFIX}KAFKA_CA_FILE to the certificate of the CA that signed the broker's"
    )


def _explain_mechanism(error: BaseException, server: str, config: KafkaConfig) -> str:
    if isinstance(error, IllegalSaslStateError):
        return (
            f"{server} requires no login, but kafka_security_protocol is {config.security_protocol}: set "
            f"{PREFIX}KAFKA_SECURITY_PROTOCOL to {config.security_protocol.removeprefix('SASL_')}, or "
            "connect to the port of a listener with SASL"
        )
    return (
        f"{server} does not offer {config.sasl_mechanism}: set {PREFIX}KAFKA_SASL_MECHANISM to one of its "
        "sasl.enabled.mechanisms"
    )


def _explain_tls(error: ssl.SSLError, server: str, config: KafkaConfig) -> str | None:
    reason = error.reason or ""
    if reason in {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"}:
        return _no_tls(server, config)
    if "ALERT" not in reason:
        return None
    if not config.certificate_file and reason != "TLSV1_ALERT_PROTOCOL_VERSION":
        return (
            f"{server} requires a client certificate ({reason}): set {PREFIX}KAFKA_CERTIFICATE_FILE and "
            f"{PREFIX}KAFKA_KEY_FILE"
        )
    return (
        f"{server} refuses the client certificate {config.certificate_file!r} ({reason}): it must be signed by a CA in "
        "the broker's truststore, be valid now, and be meant for clients"
    )


async def _explain_closed(
    error: BaseException, host: str, port: int, config: KafkaConfig, logged_in: bool, within_s: float
) -> str:
    """Return why a broker may have silently closed the connection, after testing which protocol it speaks."""
    server = _join(host, port)
    spoken = await _spoken(host, port, within_s)
    if spoken == "TLS" and not config.uses_tls:
        wanted = "SASL_SSL" if config.uses_sasl else "SSL"
        return (
            f"{server} speaks TLS, but kafka_security_protocol is {config.security_protocol}: set "
            f"{PREFIX}KAFKA_SECURITY_PROTOCOL to {wanted}, or connect to the port of a listener "
            "without TLS"
        )
    if spoken == "plain" and config.uses_tls:
        return _no_tls(server, config)
    if logged_in and not config.uses_sasl:
        wanted = "SASL_SSL" if config.uses_tls else "SASL_PLAINTEXT"
        return (
            f"{server} requires a login, but kafka_security_protocol is {config.security_protocol}: set "
            f"{PREFIX}KAFKA_SECURITY_PROTOCOL to {wanted}, with {PREFIX}KAFKA_USERNAME and "
            f"{PREFIX}KAFKA_PASSWORD"
        )
    if spoken == "TLS" and not config.certificate_file:
        return (
            f"{server} closes the connection after the TLS handshake: it may require a client certificate "
            f"({PREFIX}KAFKA_CERTIFICATE_FILE)"
        )
    return (
        f"{server} closes the connection ({type(error).__name__}): check that it is Kafka's port, and check the "
        "broker's application log"
    )


def _no_tls(server: str, config: KafkaConfig) -> str:
    return (
        f"{server} does not speak TLS, but kafka_security_protocol is {config.security_protocol}: set "
        f"{PREFIX}KAFKA_SECURITY_PROTOCOL to {'SASL_PLAINTEXT' if config.uses_sasl else 'PLAINTEXT'}"
        " if the network is trusted, or connect to the port of a listener with TLS"
    )


async def _spoken(host: str, port: int, within_s: float) -> str | None:
    """Return which of "TLS" and "plain" the port answers to, or None if neither."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing is sent over it
    header = struct.pack(">hhih", _API_VERSIONS, 0, _CORRELATION_ID, -1)
    with suppress(OSError, TimeoutError, asyncio.IncompleteReadError, struct.error):
        async with asyncio.timeout(within_s / 2):
            reader, writer = await asyncio.open_connection(host, port)
            with closing(writer):
                writer.write(struct.pack(">i", len(header)) + header)
                if struct.unpack(">ii", await reader.readexactly(8))[1] == _CORRELATION_ID:
                    return "plain"
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(within_s / 2):
            _, writer = await asyncio.open_connection(host, port, ssl=context)
            with closing(writer):
                return "TLS"
    return None


def _names(error: BaseException) -> set[str]:
    """Return the topics or groups that an error names."""
    found: set[str] = set()
    for argument in error.args:
        values: Any = argument if isinstance(argument, set | frozenset | list | tuple) else [argument]
        found.update(str(value) for value in values)
    return found


def _principal(config: KafkaConfig) -> str:
    if config.uses_sasl:
        return f"the user {config.username!r}"
    if config.certificate_file:
        return f"the subject of the client certificate {config.certificate_file!r}"
    return "the user ANONYMOUS (kafka_username is not set)"


def _split(server: str) -> tuple[str, int]:
    host, colon, port = server.rpartition(":")
    if not colon or server.endswith("]"):
        host, port = server, str(_PORT)
    return host.strip("[]"), int(port)


def _join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
