"""`endpoint-analytics agent otlp`: the OTLP receiver until a signal. Only arguments and signals belong here."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import ssl
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from endpoint_analytics.agents.command.agent_options import (
    add_exclude_option,
    add_timeout_option,
    log_to_stderr,
)
from endpoint_analytics.agents.core.config import ConfigurationError, read_request_encoding
from endpoint_analytics.agents.delivery.client_log_filter import quiet_client
from endpoint_analytics.agents.delivery.outage import Outage
from endpoint_analytics.agents.delivery.producer import Producer
from endpoint_analytics.agents.delivery.topic_sender import cancel_all
from endpoint_analytics.agents.otlp.admission import Admission
from endpoint_analytics.agents.otlp.delivery import Delivery
from endpoint_analytics.agents.otlp.identity import Fixed
from endpoint_analytics.agents.otlp.intake import Intake
from endpoint_analytics.agents.otlp.listening import listening
from endpoint_analytics.agents.otlp.memory import Memory
from endpoint_analytics.agents.otlp.receiver import Receiver
from endpoint_analytics.agents.otlp.replicas import Replicas
from endpoint_analytics.agents.otlp.roster import Roster
from endpoint_analytics.agents.otlp.settings import (
    IDLE_S,
    IDLE_WITHOUT_STATES_S,
    MAX_REPLICAS,
    NAMESPACE_SHARE,
    Limits,
    OtlpSettings,
    make_tls,
    read_token,
)
from endpoint_analytics.agents.otlp.state_sender import StateSender
from endpoint_analytics.agents.otlp.tally import Tally
from endpoint_analytics.agents.otlp.topic_reader import TopicReader
from endpoint_analytics.agents.proxy.settings import cannot_listen, parse_listen
from endpoint_analytics.schemas.configuration.config_file import our_environment
from endpoint_analytics.schemas.configuration.kafka_client import make_ssl_context
from endpoint_analytics.schemas.configuration.kafka_options import add_kafka_options, kafka_of
from endpoint_analytics.schemas.configuration.settings import (
    check_environment,
    number_option,
    parse_list,
    parse_switch,
    read_text,
    variable_of,
)
from endpoint_analytics.schemas.topics import REPLICAS, REQUESTS

logger = logging.getLogger("endpoint_analytics")

SIGNALS = (signal.SIGTERM, signal.SIGINT)

LISTEN = "127.0.0.1:4318"

_NAMES = {
    "namespace": "namespace of all spans (default: each resource's service.namespace)",
    "endpoint": "endpoint of all spans (default: each resource's service.name)",
    "replica_id": "replica of resources without service.instance.id, k8s.pod.name and host.name (default: reject them)",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the receiver's options."""
    parser.add_argument(
        "--listen",
        metavar="HOST:PORT",
        help=f"address to listen on; port 0 picks a free one (default: {LISTEN}, or none with --topic)",
    )
    parser.add_argument(
        "--token-file",
        metavar="FILE",
        help="file whose first line is the bearer token that senders must present; also "
        f"{variable_of('otlp_token_file')}. Required unless only this machine can connect",
    )
    parser.add_argument(
        "--tls-certificate", type=Path, metavar="FILE", help="serve https with this PEM certificate chain"
    )
    parser.add_argument(
        "--tls-key",
        type=Path,
        metavar="FILE",
        help="its private key, PEM (default: in the certificate's file)",
    )
    parser.add_argument(
        "--unconfirmed",
        choices=["keep", "return"],
        help="what to do with requests that Kafka has not stored after 8 s: keep them, which suits a single receiver, "
        "or leave them to their exporters, which may send them to another receiver (default: keep when listening on "
        "loopback, else return)",
    )
    topics = parser.add_argument_group("Kafka topic")
    topics.add_argument(
        "--topic",
        default="",
        metavar="NAME",
        help="read the spans that a Collector's kafka exporter writes to this topic, as otlp_proto: otlp_spans",
    )
    topics.add_argument(
        "--group", metavar="NAME", help="consumer group for it (default: the topic prefix plus .otlp)"
    )
    topics.add_argument(
        "--from",
        choices=["start", "end"],
        default="end",
        dest="begin",
        help="where to start in it without committed offsets (default: %(default)s)",
    )
    names = parser.add_argument_group("identity")
    for name, text in _NAMES.items():
        names.add_argument(
            f"--{name.replace('_', '-')}", metavar="NAME", help=f"{text}; also {variable_of(name)}"
        )
    parser.add_argument(
        "--idle",
        type=number_option(60, 7 * 86_400),
        metavar="SECONDS",
        help=f"report a replica without spans for this long as terminated (default: {IDLE_S:g})",
    )
    limits = parser.add_argument_group("limits")
    limits.add_argument(
        "--remember",
        type=number_option(1_000, 100_000_000, int),
        default=400_000,
        metavar="N",
        help="spans that Kafka has, and are recognized when they are sent again, about 150 bytes each (default: "
        "%(default)s); at most half as many may wait for Kafka",
    )
    limits.add_argument(
        "--max-replicas",
        type=number_option(1, 1_000_000, int),
        default=MAX_REPLICAS,
        metavar="N",
        help="replicas known at once; spans of further ones are rejected (default: %(default)s)",
    )
    limits.add_argument(
        "--max-namespace-replicas",
        type=number_option(1, 1_000_000, int),
        metavar="N",
        help=f"the same for each namespace (default: --max-replicas with --namespace, else 1/{NAMESPACE_SHARE} of it)",
    )
    limits.add_argument(
        "--max-body-bytes",
        type=number_option(1_024, 512 * 1024 * 1024, int),
        default=Limits().body_bytes,
        metavar="BYTES",
        help="largest body, also when decompressed (default: %(default)s)",
    )
    add_exclude_option(parser)
    add_kafka_options(parser)
    add_timeout_option(parser)


def settings_of(arguments: argparse.Namespace) -> OtlpSettings:
    """Return the settings from the options and the environment; raises ConfigurationError."""
    check_environment(os.environ)
    listen = arguments.listen or ("" if arguments.topic else LISTEN)
    kafka = kafka_of(arguments)
    names = {name: getattr(arguments, name) or read_text(os.environ, name) for name in _NAMES}
    paths = arguments.exclude_paths
    if paths is None:
        paths = parse_list(read_text(os.environ, "exclude_paths"))
    states = parse_switch("states", read_text(os.environ, "states") or "on")
    return OtlpSettings(
        kafka=kafka,
        listen=parse_listen(listen) if listen else None,
        topic=arguments.topic,
        group=arguments.group or f"{kafka.topic_prefix}.otlp",
        begin="earliest" if arguments.begin == "start" else "latest",
        fixed=Fixed(**names),
        token=read_token(our_environment(), arguments.token_file),
        tls=make_tls(arguments.tls_certificate, arguments.tls_key),
        exclude_paths=tuple(paths),
        states=states,
        request_encoding=read_request_encoding(our_environment()),
        idle_s=arguments.idle or (IDLE_S if states else IDLE_WITHOUT_STATES_S),
        remember=arguments.remember,
        max_replicas=arguments.max_replicas,
        max_namespace_replicas=arguments.max_namespace_replicas,
        unconfirmed=arguments.unconfirmed,
        limits=Limits(body_bytes=arguments.max_body_bytes),
        stop_within_s=arguments.timeout,
    )


def run(arguments: argparse.Namespace) -> int:
    """Receive; prints `otlp receiver ready http://HOST:PORT` once it listens. Returns the exit status."""
    try:
        settings = settings_of(arguments)
        kafka_ssl = make_ssl_context(settings.kafka)
    except ConfigurationError as error:
        print(f"endpoint-analytics agent otlp: {error}", file=sys.stderr)
        return 2
    log_to_stderr()
    with quiet_client():
        return asyncio.run(_receive(settings, kafka_ssl))


async def _receive(settings: OtlpSettings, kafka_ssl: ssl.SSLContext | None) -> int:
    kafka, tally = settings.kafka, Tally()
    producer = partial(Producer, kafka, kafka_ssl, Outage(kafka.bootstrap_servers))
    states = StateSender(REPLICAS.name(kafka.topic_prefix), producer, tally.lost_states)
    memory = Memory(settings.remember)
    roster = Roster(settings.max_replicas, settings.namespace_replicas)
    delivery = Delivery(
        producer,
        REQUESTS.name(kafka.topic_prefix),
        states,
        partial(
            Replicas,
            round(settings.idle_s * 1e6),
            states=settings.states,
            encoding=settings.request_encoding,
        ),
        memory,
        roster,
        _now_us,
    )
    excluded = frozenset(settings.exclude_paths)
    admission = Admission(Intake(memory, roster), delivery, tally, settings.fixed, excluded)
    sending, reporting = asyncio.create_task(delivery.run()), asyncio.create_task(states.run())
    tasks = [sending, reporting]
    sources: list[str] = []
    async with AsyncExitStack() as stack:
        if settings.listen is not None:
            receiver = Receiver(
                admission, delivery, tally, settings.token, settings.limits, settings.unconfirmed_become
            )
            try:
                port = await stack.enter_async_context(listening(receiver, *settings.listen, settings.tls))
            except OSError as error:
                reason = cannot_listen(*settings.listen, error)
                print(f"endpoint-analytics agent otlp: {reason}", file=sys.stderr)
                await cancel_all(tasks)
                return 1
            sources.append(f"http{'' if settings.tls is None else 's'}://{settings.listen[0]}:{port}")
        if settings.topic:
            reader = TopicReader(
                kafka, kafka_ssl, settings.topic, settings.group, settings.begin, admission, tally
            )
            tasks.append(asyncio.create_task(reader.run()))
            sources.append(settings.topic)
        print(f"otlp receiver ready {' '.join(sources)}", flush=True)
        await _until_signal(tasks)
        if tasks[2:]:
            await cancel_all(tasks[2:])
        delivery.stop()
        try:
            async with asyncio.timeout(settings.stop_within_s):
                await sending
                await states.drained()
        except TimeoutError:
            logger.warning(
                "Kafka did not accept everything in time: %d requests are lost unless their exporters send them again",
                delivery.waiting,
            )
        await cancel_all(tasks[:2])
        tally.log_rest()
    return 0


async def _until_signal(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Return at a signal; a failing task is a bug, and its exception ends the process visibly."""
    loop, stopping = asyncio.get_running_loop(), asyncio.Event()
    for number in SIGNALS:
        loop.add_signal_handler(number, stopping.set)
    signalled = asyncio.ensure_future(stopping.wait())
    done, _ = await asyncio.wait({*tasks, signalled}, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()
    signalled.cancel()


def _now_us() -> int:
    return time.time_ns() // 1_000
