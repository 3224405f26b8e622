"""The Kubernetes agent: connects recalled reports, watches, the Kafka queue and a timer. Only wiring belongs here."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial

from endpoint_analytics.agents.core.config import KafkaConfig
from endpoint_analytics.agents.delivery.outage import Outage
from endpoint_analytics.agents.delivery.producer import Producer
from endpoint_analytics.agents.delivery.topic_sender import cancel_all
from endpoint_analytics.agents.kubernetes.access import ClusterAccess
from endpoint_analytics.agents.kubernetes.backoff import Backoff
from endpoint_analytics.agents.kubernetes.client import ApiError, KubernetesClient
from endpoint_analytics.agents.kubernetes.containers import Rules
from endpoint_analytics.agents.kubernetes.endpoints import KnownEndpoints
from endpoint_analytics.agents.kubernetes.limits_watcher import LimitsWatcher
from endpoint_analytics.agents.kubernetes.naming import Naming
from endpoint_analytics.agents.kubernetes.objects import AutoscalerObject, Pod, ScaledObject, WorkloadObject
from endpoint_analytics.agents.kubernetes.origin_header import Origin
from endpoint_analytics.agents.kubernetes.pod_watcher import PodWatcher
from endpoint_analytics.agents.kubernetes.read_back import read_back
from endpoint_analytics.agents.kubernetes.selector import Selector
from endpoint_analytics.agents.kubernetes.send_queue import SendQueue
from endpoint_analytics.agents.kubernetes.watching import FAILURES, Resource, Sink, Watching
from endpoint_analytics.schemas.configuration.kafka_client import make_ssl_context
from endpoint_analytics.schemas.topics import REPLICAS

logger = logging.getLogger("endpoint_analytics")

TICK_S = 15.0

_Workloads = Resource[WorkloadObject]
_Resources = tuple[Resource[Pod], _Workloads, _Workloads, Resource[AutoscalerObject], Resource[ScaledObject]]


@dataclass(frozen=True, slots=True)
class KubernetesSettings:
    """What to watch, and how to report it; `timeout_s` is how long to wait for Kafka at the end."""

    namespace: str
    naming: Naming
    selector: Selector
    rules: Rules
    origin: Origin
    access: ClusterAccess
    kafka: KafkaConfig
    timeout_s: float
    watch_s: float


async def watch_until(
    stopping: asyncio.Event, settings: KubernetesSettings, ready: Callable[[int], None]
) -> None:
    """Watch until `stopping` is set, then wait for Kafka; calls `ready` with the number of pods once listed."""
    ssl_context = make_ssl_context(settings.kafka)
    ending = asyncio.create_task(stopping.wait())
    recalling = asyncio.create_task(
        read_back(settings.kafka, ssl_context, settings.namespace, settings.origin)
    )
    await asyncio.wait({recalling, ending}, return_when=asyncio.FIRST_COMPLETED)
    if not recalling.done():
        await cancel_all([recalling])
        return
    outage = Outage(settings.kafka.bootstrap_servers)
    outgoing = SendQueue(
        REPLICAS.name(settings.kafka.topic_prefix), partial(Producer, settings.kafka, ssl_context, outage)
    )
    recalled = recalling.result()
    endpoints = KnownEndpoints(settings.namespace, settings.naming)
    origin = settings.origin
    pods = PodWatcher(
        endpoints,
        settings.rules,
        recalled,
        lambda message, pod: outgoing.put(message, origin.header_of(pod)),
        _now_us,
        settings.selector.keys,
    )
    limits = LimitsWatcher(
        endpoints,
        settings.selector,
        recalled.limits,
        lambda message: outgoing.put(message, origin.header_of("")),
        _now_us,
    )
    listed = asyncio.Event()

    def settled() -> None:
        if not listed.is_set():
            listed.set()
            ready(pods.pods)

    async with KubernetesClient(settings.access) as client:
        work = [
            *_watchings(client, settings, pods.sink(settled), limits),
            outgoing.run(),
            _find_vanished(client, settings, pods, listed),
            _tick(pods, listed),
        ]
        tasks = [asyncio.create_task(each) for each in work]
        try:
            await _first_to_fail(tasks, ending)
            await _drain(outgoing, settings.timeout_s)
        finally:
            await cancel_all(tasks)


async def _first_to_fail(tasks: list[asyncio.Task[None]], ending: asyncio.Task[bool]) -> None:
    """Return when it is time to stop; a failing task is a bug, and its exception ends the process visibly."""
    waiting: set[asyncio.Task[None] | asyncio.Task[bool]] = {*tasks, ending}
    while not ending.done():
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()


async def _drain(outgoing: SendQueue, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await outgoing.drained()
    except TimeoutError:
        logger.warning("Kafka did not accept all messages in time: the next agent will report the rest")


def resources_of(namespace: str, selector: str) -> _Resources:
    """Return the resources to watch in a Kubernetes namespace: pods that match `selector`, and what may scale them."""
    here = f"namespaces/{namespace}"
    apps, scaling, keda = (
        f"/apis/apps/v1/{here}",
        f"/apis/autoscaling/v2/{here}",
        f"/apis/keda.sh/v1alpha1/{here}",
    )
    return (
        Resource("pods", f"/api/v1/{here}/pods", Pod, needed=True, selector=selector),
        Resource("deployments", f"{apps}/deployments", WorkloadObject),
        Resource("statefulsets", f"{apps}/statefulsets", WorkloadObject),
        Resource("horizontalpodautoscalers", f"{scaling}/horizontalpodautoscalers", AutoscalerObject),
        Resource("scaledobjects", f"{keda}/scaledobjects", ScaledObject),
    )


def _watchings(
    client: KubernetesClient, settings: KubernetesSettings, pod_sink: Sink[Pod], limits: LimitsWatcher
) -> list[Coroutine[None, None, None]]:
    found = resources_of(settings.origin.namespace, settings.selector.text)
    pods, deployments, stateful_sets, autoscalers, scaled_objects = found
    watch_s = settings.watch_s
    return [
        Watching(client, pods, pod_sink, watch_s).run(),
        Watching(client, deployments, limits.workload_sink("Deployment"), watch_s).run(),
        Watching(client, stateful_sets, limits.workload_sink("StatefulSet"), watch_s).run(),
        Watching(client, autoscalers, limits.autoscaler_sink(), watch_s).run(),
        Watching(client, scaled_objects, limits.scaled_object_sink(), watch_s).run(),
    ]


async def _find_vanished(
    client: KubernetesClient, settings: KubernetesSettings, pods: PodWatcher, listed: asyncio.Event
) -> None:
    """Query each pod that was reported before and is not listed now: it is gone, or belongs to another agent."""
    await listed.wait()
    for replica, pod in pods.vanished().items():
        if pods.has(pod) or await _is_gone(client, settings.origin.namespace, pod):
            pods.confirm_gone(replica)


async def _is_gone(client: KubernetesClient, namespace: str, pod: str) -> bool:
    pace = Backoff()
    while True:
        retry_after_s = None
        try:
            await client.get(f"/api/v1/namespaces/{namespace}/pods/{pod}", {})
        except ApiError as error:
            if error.status in {403, 404}:
                return error.status == 404
            retry_after_s = error.retry_after_s
        except FAILURES:
            pass
        else:
            return False
        await asyncio.sleep(pace.wait_s(retry_after_s))


async def _tick(pods: PodWatcher, listed: asyncio.Event) -> None:
    await listed.wait()
    while True:
        await asyncio.sleep(TICK_S)
        pods.tick()


def _now_us() -> int:
    return time.time_ns() // 1_000
