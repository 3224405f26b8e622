"""`endpoint-analytics agent kubernetes`: watches pods until told to end. Only arguments and signals belong here."""

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
from endpoint_analytics.agents.delivery.quiet import quiet_client
from endpoint_analytics.agents.kubernetes.access import Access, access_of_pod
from endpoint_analytics.agents.kubernetes.agent import Settings, watch_until
from endpoint_analytics.agents.kubernetes.containers import Rules
from endpoint_analytics.agents.kubernetes.kubeconfig import access_of_kubeconfig
from endpoint_analytics.agents.kubernetes.naming import REPLICA_FROM, Naming
from endpoint_analytics.agents.kubernetes.origin import Origin
from endpoint_analytics.agents.kubernetes.selector import parse_selector
from endpoint_analytics.schemas.configuration.kafka_client import make_ssl_context
from endpoint_analytics.schemas.configuration.kafka_options import add_kafka_options, kafka_of
from endpoint_analytics.schemas.configuration.settings import read_text
from endpoint_analytics.schemas.errors import InvalidMessageError
from endpoint_analytics.schemas.identity import check_name

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
SIGNALS = (signal.SIGTERM, signal.SIGINT)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of what is watched and under which names it is told, and Kafka's."""
    downloads = ", ".join(Rules().downloads)
    watched = parser.add_argument_group("what is watched")
    watched.add_argument("--kubernetes-namespace", metavar="...", help="(where this runs, or the context's)")
    watched.add_argument(
        "--selector", default="", metavar="...", help="of the pods: app=llm (those with the endpoint label)"
    )
    watched.add_argument(
        "--container", action="append", default=[], metavar="...", help="that serves; may be repeated (all)"
    )
    watched.add_argument(
        "--download-container",
        action="append",
        metavar="PATTERN",
        help=f"an init container that downloads the model; may be repeated ({downloads})",
    )
    watched.add_argument(
        "--kubeconfig", metavar="FILE", help="(the pod's own account; else KUBECONFIG, ~/.kube/config)"
    )
    watched.add_argument("--context", metavar="...", help="of the kubeconfig (its current one)")
    watched.add_argument(
        "--watch-seconds", type=float, default=120.0, metavar="S", help="length of one watch, 1 to 3600 (120)"
    )
    told = parser.add_argument_group(
        "how it is told", f"each also as a variable: --endpoint is {ENVIRONMENT_PREFIX}ENDPOINT"
    )
    told.add_argument("--namespace", metavar="...", help="owner of the endpoints (the Kubernetes namespace)")
    told.add_argument("--endpoint", metavar="...", help="name of the endpoint that all the pods serve")
    told.add_argument("--endpoint-label", metavar="KEY", help="label that names each pod's endpoint, instead")
    told.add_argument("--replica-from", metavar="...", help=f"{REPLICA_FROM} (name)")
    told.add_argument("--cluster", metavar="...", help="tells clusters apart that share a Kafka (none)")
    add_kafka_options(parser)
    add_timeout_option(parser)


def settings_of(arguments: argparse.Namespace) -> Settings:
    """Return what the options and the environment say; raises ConfigurationError."""

    def said(option: str) -> str:
        given: str | None = getattr(arguments, option)
        return given if given is not None else read_text(os.environ, option)

    if not 1 <= arguments.watch_seconds <= 3600:
        raise ConfigurationError(f"--watch-seconds is {arguments.watch_seconds:g}; it takes 1 to 3600")
    endpoint_label = said("endpoint_label")
    endpoint = arguments.endpoint or ("" if arguments.endpoint_label else said("endpoint"))
    naming = Naming(endpoint, endpoint_label, said("replica_from") or "name")
    if naming.endpoint and not arguments.selector:
        raise ConfigurationError(
            "--endpoint needs a --selector: else every pod of the namespace were a replica"
        )
    selector = parse_selector(arguments.selector or endpoint_label)
    kafka = kafka_of(arguments)
    make_ssl_context(kafka)
    access = find_access(arguments.kubeconfig, arguments.context, os.environ)
    there = arguments.kubernetes_namespace or access.namespace
    namespace = said("namespace") or there
    try:
        check_name("namespace", namespace)
        check_name("Kubernetes namespace", there)
    except InvalidMessageError as error:
        raise ConfigurationError(error.detail) from error
    return Settings(
        namespace=namespace,
        naming=naming,
        selector=selector,
        rules=Rules(frozenset(arguments.container), tuple(arguments.download_container or Rules().downloads)),
        origin=Origin(said("cluster"), there),
        access=access,
        kafka=kafka,
        timeout_s=arguments.timeout,
        watch_s=arguments.watch_seconds,
    )


def find_access(kubeconfig: str | None, context: str | None, environment: Mapping[str, str]) -> Access:
    """Return the access that is named; else that of the pod we are in; else that of the user's kubeconfig.

    Raises ConfigurationError.
    """
    if kubeconfig is None and context is None and (SERVICE_ACCOUNT / "token").exists():
        return access_of_pod(SERVICE_ACCOUNT, environment)
    named = kubeconfig or environment.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")
    return access_of_kubeconfig(named, context)


def run(arguments: argparse.Namespace) -> int:
    """Watch; prints `kubernetes agent ready` when the pods were listed. Returns the exit status."""
    try:
        settings = settings_of(arguments)
    except ConfigurationError as error:
        print(f"endpoint-analytics agent kubernetes: {error}", file=sys.stderr)
        return 2
    log_to_stderr()
    with quiet_client():
        asyncio.run(_watch(settings))
    return 0


async def _watch(settings: Settings) -> None:
    told = asyncio.Event()
    for number in SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, told.set)

    def ready(pods: int) -> None:
        print(f"kubernetes agent ready: {pods} pods of {settings.origin.namespace}", flush=True)

    await watch_until(told, settings, ready)
