"""`endpoint-analytics agent kubernetes`: watches pods until a signal. Only arguments and signals belong here."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from endpoint_analytics.agents.command.agent_options import add_timeout_option, log_to_stderr
from endpoint_analytics.agents.core.config import ENVIRONMENT_PREFIX, ConfigurationError
from endpoint_analytics.agents.delivery.client_log_filter import quiet_client
from endpoint_analytics.agents.kubernetes.access import ClusterAccess, access_of_pod
from endpoint_analytics.agents.kubernetes.agent import KubernetesSettings, watch_until
from endpoint_analytics.agents.kubernetes.containers import Rules
from endpoint_analytics.agents.kubernetes.kubeconfig import access_of_kubeconfig
from endpoint_analytics.agents.kubernetes.naming import REPLICA_FROM, Naming
from endpoint_analytics.agents.kubernetes.origin_header import Origin
from endpoint_analytics.agents.kubernetes.selector import parse_selector
from endpoint_analytics.schemas.configuration.kafka_client import make_ssl_context
from endpoint_analytics.schemas.configuration.kafka_options import add_kafka_options, kafka_of
from endpoint_analytics.schemas.configuration.settings import number_option, read_text
from endpoint_analytics.schemas.errors import InvalidMessageError
from endpoint_analytics.schemas.identity import check_name

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
SIGNALS = (signal.SIGTERM, signal.SIGINT)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options for what to watch, the names to report it under, and Kafka."""
    downloads = ", ".join(Rules().downloads)
    watched = parser.add_argument_group("what to watch")
    watched.add_argument(
        "--kubernetes-namespace",
        metavar="NAME",
        help="namespace to watch (default: the pod's own, or the context's)",
    )
    watched.add_argument(
        "--selector",
        default="",
        metavar="SELECTOR",
        help="label selector of the pods, e.g. app=llm (default: pods with the endpoint label)",
    )
    watched.add_argument(
        "--container",
        action="append",
        default=[],
        metavar="NAME",
        help="container that serves; repeatable (default: all)",
    )
    watched.add_argument(
        "--download-container",
        action="append",
        metavar="PATTERN",
        help=f"init container that downloads the model; repeatable (default: {downloads})",
    )
    watched.add_argument(
        "--kubeconfig",
        metavar="FILE",
        help="kubeconfig file (default: the pod's service account; else KUBECONFIG, ~/.kube/config)",
    )
    watched.add_argument(
        "--context", metavar="NAME", help="context of the kubeconfig (default: its current context)"
    )
    watched.add_argument(
        "--watch-seconds",
        type=number_option(1, 3600),
        default=120.0,
        metavar="SECONDS",
        help="length of one watch, 1 to 3600 (default: %(default)g)",
    )
    reported = parser.add_argument_group(
        "how to report it",
        f"each can also be set by an environment variable: --endpoint is {ENVIRONMENT_PREFIX}ENDPOINT",
    )
    reported.add_argument(
        "--namespace", metavar="NAME", help="owner of the endpoints (default: the Kubernetes namespace)"
    )
    reported.add_argument("--endpoint", metavar="NAME", help="name of the endpoint that all the pods serve")
    reported.add_argument(
        "--endpoint-label",
        metavar="KEY",
        help="pod label that holds the endpoint's name, instead of --endpoint",
    )
    reported.add_argument(
        "--replica-from", metavar="SOURCE", help=f"what names a replica: {REPLICA_FROM} (default: name)"
    )
    reported.add_argument(
        "--cluster", metavar="NAME", help="distinguishes clusters that share a Kafka (default: none)"
    )
    add_kafka_options(parser)
    add_timeout_option(parser)


def settings_of(arguments: argparse.Namespace) -> KubernetesSettings:
    """Return the settings from the options and the environment; raises ConfigurationError."""

    def value_of(option: str) -> str:
        given: str | None = getattr(arguments, option)
        return given if given is not None else read_text(os.environ, option)

    endpoint_label = value_of("endpoint_label")
    endpoint = arguments.endpoint or ("" if arguments.endpoint_label else value_of("endpoint"))
    naming = Naming(endpoint, endpoint_label, value_of("replica_from") or "name")
    if naming.endpoint and not arguments.selector:
        raise ConfigurationError(
            "--endpoint requires --selector: otherwise every pod in the namespace would be a replica"
        )
    selector = parse_selector(arguments.selector or endpoint_label)
    kafka = kafka_of(arguments)
    make_ssl_context(kafka)
    access = find_access(arguments.kubeconfig, arguments.context, os.environ)
    kubernetes_namespace = arguments.kubernetes_namespace or access.namespace
    namespace = value_of("namespace") or kubernetes_namespace
    try:
        check_name("namespace", namespace)
        check_name("Kubernetes namespace", kubernetes_namespace)
    except InvalidMessageError as error:
        raise ConfigurationError(error.detail) from error
    return KubernetesSettings(
        namespace=namespace,
        naming=naming,
        selector=selector,
        rules=Rules(frozenset(arguments.container), tuple(arguments.download_container or Rules().downloads)),
        origin=Origin(value_of("cluster"), kubernetes_namespace),
        access=access,
        kafka=kafka,
        timeout_s=arguments.timeout,
        watch_s=arguments.watch_seconds,
    )


def find_access(kubeconfig: str | None, context: str | None, environment: Mapping[str, str]) -> ClusterAccess:
    """Return the access that the options name, else the pod's own, else the user's kubeconfig's.

    Raises ConfigurationError.
    """
    if kubeconfig is None and context is None and (SERVICE_ACCOUNT / "token").exists():
        return access_of_pod(SERVICE_ACCOUNT, environment)
    named = kubeconfig or environment.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")
    return access_of_kubeconfig(named, context)


def run(arguments: argparse.Namespace) -> int:
    """Watch; prints `kubernetes agent ready` once the pods are listed. Returns the exit status."""
    try:
        settings = settings_of(arguments)
    except ConfigurationError as error:
        print(f"endpoint-analytics agent kubernetes: {error}", file=sys.stderr)
        return 2
    log_to_stderr()
    with quiet_client():
        asyncio.run(_watch(settings))
    return 0


async def _watch(settings: KubernetesSettings) -> None:
    stopping = asyncio.Event()
    for number in SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)

    def ready(pods: int) -> None:
        print(f"kubernetes agent ready: {pods} pods of {settings.origin.namespace}", flush=True)

    await watch_until(stopping, settings, ready)
