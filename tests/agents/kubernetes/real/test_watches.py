"""Lists and watches of a real kube-apiserver, with exactly the rights in our manifest."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.agents.kubernetes.real.cluster import Cluster

from endpoint_analytics.agents.kubernetes.agent import resources_of
from endpoint_analytics.agents.kubernetes.client import ApiError, KubernetesClient
from endpoint_analytics.agents.kubernetes.kubeconfig import access_of_kubeconfig
from endpoint_analytics.agents.kubernetes.objects import Pod
from endpoint_analytics.agents.kubernetes.watching import PAGE, Resource, Sink, Watching

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
ROOT = Path(__file__).parents[4]
WITHIN_S = 60.0


class Seen:
    """What reached the sink, by name."""

    def __init__(self) -> None:
        self.there: dict[str, Any] = {}
        self.lists = 0
        self.settled = False

    def sink(self) -> Sink[Any]:
        def listed(found: list[Any]) -> None:
            self.there = {each.metadata.name: each for each in found}
            self.lists += 1

        def changed(found: Any) -> None:
            self.there[found.metadata.name] = found

        def removed(found: Any) -> None:
            self.there.pop(found.metadata.name, None)

        def settled() -> None:
            self.settled = True

        return Sink(listed, changed, removed, settled)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not holds():
            await asyncio.sleep(0.02)


def watch(
    config: Path, resource: Resource[Any], script: Callable[[Seen], Awaitable[None]], watch_s: float = 60
) -> Seen:
    """Watch while the script runs."""
    seen = Seen()

    async def run() -> None:
        async with KubernetesClient(access_of_kubeconfig(str(config), None)) as client:
            task = asyncio.create_task(Watching(client, resource, seen.sink(), watch_s).run())
            try:
                await script(seen)
            finally:
                task.cancel()
                await asyncio.wait({task})

    asyncio.run(run())
    return seen


@pytest.fixture(scope="module")
def agent(models: Cluster) -> Path:
    """A kubeconfig of the agent's service account, as its manifest makes it."""
    models.kubectl("apply", "-f", ROOT / "infra/deploy/kubernetes/agent/account.yaml")
    (models.directory / "agent-token").write_text(models.account_token("models", "endpoint-analytics-agent"))
    return models.kubeconfig({"tokenFile": "agent-token"}, "agent-kubeconfig")


def pods(selector: str) -> Resource[Pod]:
    return Resource("pods", "/api/v1/namespaces/models/pods", Pod, needed=True, selector=selector)


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_the_role_is_enough_and_not_more(models: Cluster, agent: Path):
    async def run() -> None:
        async with KubernetesClient(access_of_kubeconfig(str(agent), None)) as client:
            for resource in resources_of("models", ""):
                if resource.name == "scaledobjects":
                    with pytest.raises(ApiError, match="404"):
                        await client.get(resource.path, {})
                    continue
                await client.get(resource.path, {})
                lines = client.watch(resource.path, {"watch": "1", "timeoutSeconds": "1"}, 20)
                _ = [line async for line in lines]
            for path in (
                "/api/v1/namespaces/models/secrets",
                "/api/v1/namespaces/default/pods",
                "/api/v1/nodes",
            ):
                with pytest.raises(ApiError, match="403"):
                    await client.get(path, {})

    asyncio.run(run())


def test_pods_come_change_and_go(models: Cluster, agent: Path):
    async def script(seen: Seen) -> None:
        await until(lambda: seen.settled)
        models.pod("walk", {"set": "walk"})
        await until(lambda: seen.there["walk"].status.phase == "Pending" if "walk" in seen.there else False)
        models.bind("walk")
        models.serve("walk", now())
        await until(lambda: seen.there["walk"].status.phase == "Running")
        models.kubectl("label", "-n", "models", "pod/walk", "set=run", "--overwrite")
        await until(lambda: not seen.there)
        models.kubectl("label", "-n", "models", "pod/walk", "set=walk", "--overwrite")
        await until(lambda: "walk" in seen.there)
        models.kubectl("delete", "-n", "models", "pod/walk", "--grace-period=0", "--force", "--wait=false")
        await until(lambda: not seen.there)

    assert watch(agent, pods("set=walk"), script).lists == 1


def test_a_watch_that_ends_continues_where_bookmarks_have_brought_it(models: Cluster, agent: Path):
    """Only other pods change: without bookmarks our version would be forgotten."""

    async def script(seen: Seen) -> None:
        await until(lambda: seen.settled)
        for number in range(24):
            models.pod(f"noise-{number}", {"set": "noise"})
            await asyncio.sleep(0.5)
        models.pod("bookmarked", {"set": "bookmark"})
        await until(lambda: "bookmarked" in seen.there)

    assert watch(agent, pods("set=bookmark"), script, watch_s=5).lists == 1


def test_many_pods_come_in_pages(models: Cluster, agent: Path):
    total = 2 * PAGE + 7
    for number in range(total):
        models.pod(f"many-{number:04}", {"set": "many"})

    async def script(seen: Seen) -> None:
        await until(lambda: seen.settled)

    assert len(watch(agent, pods("set=many"), script).there) == total
    models.kubectl("delete", "-n", "models", "pods", "-l", "set=many", "--wait=false")


def test_a_role_that_is_taken_away_for_a_moment_changes_nothing(models: Cluster, agent: Path):
    """A starting server refuses everything for a second; known objects are kept, and watching resumes in seconds."""
    binding = ("rolebinding", "endpoint-analytics-agent", "-n", "models")
    deployments = resources_of("models", "")[1]
    models.deployment("kept", 1)

    async def script(seen: Seen) -> None:
        await until(lambda: "kept" in seen.there)
        models.kubectl("delete", *binding)
        await asyncio.sleep(6)  # the watch ends, and the next one is refused
        models.deployment("later", 1)
        models.kubectl("apply", "-f", ROOT / "infra/deploy/kubernetes/agent/account.yaml")
        await until(lambda: "later" in seen.there)
        assert "kept" in seen.there

    watch(agent, deployments, script, watch_s=3)


def test_a_store_that_is_restored_from_a_backup_is_listed_again(commands: Path, tmp_path: Path):
    """Its versions are below ours: the real server sends nothing to a watch from a future version."""
    with Cluster(commands, tmp_path, controllers=()) as cluster:
        cluster.done("POST", "/api/v1/namespaces", {"metadata": {"name": "models"}})
        cluster.done("POST", "/api/v1/namespaces/models/serviceaccounts", {"metadata": {"name": "default"}})
        cluster.pod("kept", {"set": "restored"})
        backup = cluster.backed_up()
        cluster.start("etcd")
        cluster.start("kube-apiserver")
        cluster.until_ready()

        async def script(seen: Seen) -> None:
            for number in range(50):
                cluster.pod(f"lost-{number}", {"set": "restored"})
            await until(lambda: len(seen.there) == 51)
            cluster.stop("kube-apiserver")
            cluster.stop("etcd")
            cluster.restore(backup)
            cluster.start("etcd")
            cluster.start("kube-apiserver")
            await asyncio.to_thread(cluster.until_ready)
            await until(lambda: set(seen.there) == {"kept"})

        watch(cluster.kubeconfig(name="k"), pods("set=restored"), script, watch_s=10)
