"""Lists and watches over real HTTP, through everything that may go wrong with them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from tests.agents.kubernetes.api_server import ApiServer, status
from tests.agents.kubernetes.pods import ScriptedPod

from endpoint_analytics.agents.kubernetes import lasting_refusal, tokens, watching
from endpoint_analytics.agents.kubernetes.access import ClusterAccess
from endpoint_analytics.agents.kubernetes.backoff import Backoff
from endpoint_analytics.agents.kubernetes.client import KubernetesClient, retry_after_s
from endpoint_analytics.agents.kubernetes.objects import Pod
from endpoint_analytics.agents.kubernetes.tokens import FixedToken, TokenFile
from endpoint_analytics.agents.kubernetes.watching import Resource, Sink, Watching

PODS = Resource("pods", "/api/v1/namespaces/models/pods", Pod, needed=True, selector="app=llm")
WITHIN_S = 30.0


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer() as started:
        yield started


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (watching, lasting_refusal):
        monkeypatch.setattr(module, "Backoff", lambda **_: Backoff(0.01, 0.1))
    monkeypatch.setattr(lasting_refusal, "CONFIRM_AFTER_S", 0.2)


class Seen:
    """What reached the sink: the current objects, and all events."""

    def __init__(self) -> None:
        self.pods: dict[str, str] = {}
        self.said: list[tuple[str, str]] = []
        self.settled = 0

    def sink(self) -> Sink[Pod]:
        def listed(found: list[Pod]) -> None:
            self.pods = {pod.metadata.name: pod.status.phase for pod in found}
            self.said.append(("LISTED", ",".join(sorted(self.pods))))

        def changed(pod: Pod) -> None:
            self.pods[pod.metadata.name] = pod.status.phase
            self.said.append(("CHANGED", pod.metadata.name))

        def removed(pod: Pod) -> None:
            self.pods.pop(pod.metadata.name, None)
            self.said.append(("REMOVED", pod.metadata.name))

        def settled() -> None:
            self.settled += 1

        return Sink(listed, changed, removed, settled)


def pod(name: str, phase: str = "Pending") -> dict:
    scripted = ScriptedPod(name)
    scripted.json["status"]["phase"] = phase
    return scripted.json


async def until(holds) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not holds():
            await asyncio.sleep(0.005)


def watch(server: ApiServer, script, *, resource=PODS, token=None, watch_s: float = 60.0) -> Seen:
    """Watch while `script(seen)`, a coroutine, runs; return what was seen."""
    seen = Seen()

    async def run() -> None:
        async with KubernetesClient(
            ClusterAccess(server.url, token or FixedToken("good"), "models")
        ) as client:
            task = asyncio.create_task(Watching(client, resource, seen.sink(), watch_s).run())
            try:
                await script(seen)
            finally:
                task.cancel()
                await asyncio.wait({task})

    asyncio.run(run())
    return seen


def test_what_is_there_and_what_changes(server):
    server.apply("pods", pod("a"))
    server.apply("pods", {**pod("other"), "metadata": {**pod("other")["metadata"], "labels": {"app": "x"}}})

    async def script(seen: Seen) -> None:
        await until(lambda: server.watches)
        server.apply("pods", pod("b"))
        server.apply("pods", pod("a", "Running"))
        await until(lambda: seen.pods == {"a": "Running", "b": "Pending"})
        server.delete("pods", "a")
        await until(lambda: seen.pods == {"b": "Pending"})

    seen = watch(server, script)
    assert seen.said == [("LISTED", "a"), ("CHANGED", "b"), ("CHANGED", "a"), ("REMOVED", "a")]
    assert seen.settled == 1


def test_a_long_list_comes_in_pages(server, monkeypatch):
    monkeypatch.setattr(watching, "PAGE", 7)
    names = [f"pod-{number:03}" for number in range(40)]
    for name in names:
        server.apply("pods", pod(name))

    async def script(seen: Seen) -> None:
        await until(lambda: len(seen.pods) == 40)

    watch(server, script)
    assert server.count("pods", watch=False) == 6


def test_more_than_it_may_hold_is_left_out_until_there_is_room(server, monkeypatch, caplog):
    monkeypatch.setattr(watching, "PAGE", 2)
    monkeypatch.setattr(watching, "MAX_OBJECTS", 5)
    pods = [pod(f"pod-{number}") for number in range(9)]
    for number in range(5, 9):
        server.apply("pods", pods[number])

    async def script(seen: Seen) -> None:
        await until(lambda: server.watches)
        for number in range(5):
            server.apply("pods", pods[number])
        await until(lambda: len(seen.pods) == 5)
        pods[8]["status"]["phase"] = pods[3]["status"]["phase"] = "Running"
        server.apply("pods", pods[8])
        await until(lambda: seen.pods["pod-8"] == "Running")
        assert set(seen.pods) == {"pod-0", "pod-5", "pod-6", "pod-7", "pod-8"}
        server.fault("pods", "slow")
        server.drop_connections()
        server.forget_history()
        await until(
            lambda: seen.said.count(("LISTED", "pod-0,pod-5,pod-6,pod-7,pod-8")) == 1
        )  # none has ended
        await until(lambda: server.watches)
        server.delete("pods", "pod-6")
        server.delete("pods", "pod-2")
        server.apply("pods", pods[3])
        await until(lambda: set(seen.pods) == {"pod-0", "pod-3", "pod-5", "pod-7", "pod-8"})

    seen = watch(server, script)
    assert ("REMOVED", "pod-2") not in seen.said
    assert caplog.text.count("more than 5 pods") == 1


def test_a_watch_that_the_server_ends_continues_where_it_was(server):
    server.apply("pods", pod("a"))

    async def script(seen: Seen) -> None:
        await until(lambda: server.watches)
        server.apply("deployments", {"metadata": {"name": "llm"}})  # else there is nothing to say at the end
        await until(lambda: server.count("pods", watch=True) >= 2)
        server.apply("pods", pod("b"))
        await until(lambda: "b" in seen.pods)

    watch(server, script, watch_s=4.0)
    assert server.count("pods", watch=False) == 1


def test_a_server_whose_store_was_restored_is_listed_again(server):
    """Its versions are below ours, and a watch from ours sends nothing until they have caught up."""
    server.apply("pods", pod("a"))
    server.apply("pods", pod("b"))

    async def script(seen: Seen) -> None:
        await until(lambda: server.watches)
        server.restore()
        server.delete("pods", "a")
        await until(lambda: seen.pods == {"b": "Pending"})

    watch(server, script, watch_s=1.0)


def test_a_version_that_goes_back_means_a_new_list(server):
    server.apply("pods", pod("a"))
    late = pod("late")
    late["metadata"]["resourceVersion"] = "5"
    server.fault("pods", "say", body={"type": "ADDED", "object": late})

    async def script(seen: Seen) -> None:
        await until(lambda: seen.said.count(("LISTED", "a")) == 2)

    assert "late" not in watch(server, script).pods


def test_a_connection_that_is_cut_within_a_line_loses_nothing(server):
    server.apply("pods", pod("a"))
    server.fault("pods", "cut", after=1)

    async def script(seen: Seen) -> None:
        await until(lambda: server.watches)
        server.apply("pods", pod("b"))
        server.apply("pods", pod("c"))
        server.apply("pods", pod("d"))
        await until(lambda: set(seen.pods) == {"a", "b", "c", "d"})

    seen = watch(server, script)
    assert [said for said in seen.said if said[0] == "CHANGED"] == [("CHANGED", name) for name in "bcd"]
    assert server.count("pods", watch=False) == 1


def test_connections_that_drop_lose_nothing(server):
    async def script(seen: Seen) -> None:
        for number in range(5):
            await until(lambda: server.watches)
            server.drop_connections()
            server.apply("pods", pod(f"pod-{number}"))
        await until(lambda: len(seen.pods) == 5)

    seen = watch(server, script)
    assert len(seen.said) == 6
    assert server.count("pods", watch=False) == 1


@pytest.mark.parametrize("as_event", [True, False], ids=["as an ERROR event", "as a status"])
def test_a_version_that_is_forgotten_means_a_new_list(server, as_event, caplog):
    server.gone_as_event = as_event
    server.apply("pods", pod("a"))
    server.apply("pods", pod("b"))

    async def script(seen: Seen) -> None:
        await until(lambda: server.watches)
        server.delete("pods", "a")
        await until(lambda: seen.pods == {"b": "Pending"})
        server.fault("pods", "slow")
        server.drop_connections()
        server.delete("pods", "b")
        server.apply("pods", pod("c"))
        server.forget_history()
        await until(lambda: seen.pods == {"c": "Pending"})
        await until(lambda: server.watches)

    caplog.set_level(logging.INFO)
    watch(server, script)
    assert server.count("pods", watch=False) == 2
    assert "the server has forgotten version" in caplog.text


def test_bookmarks_move_the_version_on(server):
    """Only other resources change. Without bookmarks our version would be forgotten."""
    server.bookmark_s = 0.05
    server.apply("pods", pod("a"))

    async def script(seen: Seen) -> None:
        await until(lambda: server.watches)
        for number in range(20):
            server.apply("deployments", {"metadata": {"name": f"d-{number}"}})
        server.forget_history()
        version = server._version

        await asyncio.sleep(0.3)  # bookmarks come
        server.drop_connections()
        await until(
            lambda: any(int(query.get("resourceVersion", 0)) >= version for _, query in server.requests)
        )
        server.apply("pods", pod("b"))
        await until(lambda: "b" in seen.pods)

    seen = watch(server, script)
    assert server.count("pods", watch=False) == 1
    assert seen.said == [("LISTED", "a"), ("CHANGED", "b")]  # a bookmark is no object


def test_watches_that_end_at_once_are_not_begun_at_once(server, monkeypatch, caplog):
    monkeypatch.setattr(watching, "Backoff", lambda **_: Backoff(0.2, 0.2))
    server.apply("pods", pod("a"))
    for _ in range(3):
        server.fault("pods", "end")

    async def script(seen: Seen) -> None:
        loop = asyncio.get_running_loop()
        start = loop.time()
        await until(lambda: server.watches)
        assert loop.time() - start >= 0.3  # three waits, each at least half of 0.2 s

    watch(server, script)
    assert "it ended at once" in caplog.text


def test_a_stream_that_hangs_is_noticed(server, monkeypatch, caplog):
    monkeypatch.setattr(watching, "QUIET_GRACE_S", 0.1)
    server.apply("pods", pod("a"))
    server.fault("pods", "hang")

    async def script(seen: Seen) -> None:
        await until(lambda: server.watches)
        server.apply("pods", pod("b"))
        await until(lambda: "b" in seen.pods)

    watch(server, script, watch_s=1.0)
    assert server.count("pods", watch=False) == 1
    assert "no data for" in caplog.text


def test_lines_that_are_no_json_mean_a_new_list(server):
    server.apply("pods", pod("a"))
    server.fault("pods", "garbage")

    async def script(seen: Seen) -> None:
        await until(lambda: seen.said.count(("LISTED", "a")) == 2)

    watch(server, script)


def test_one_object_of_an_unknown_shape_stops_nothing(server, caplog):
    odd = pod("odd")
    odd["status"]["conditions"] = "none"
    server.apply("pods", odd)
    server.apply("pods", pod("a"))

    async def script(seen: Seen) -> None:
        await until(lambda: server.watches)
        server.apply("pods", {**odd, "metadata": {**odd["metadata"], "name": "odd-2"}})
        server.apply("pods", pod("b"))
        await until(lambda: set(seen.pods) == {"a", "b"})

    watch(server, script)
    assert caplog.text.count("cannot be read, and is left out") == 1


def test_an_error_event_of_another_kind_is_tried_again(server):
    server.apply("pods", pod("a"))
    server.fault("pods", "error", body=status(500, "InternalError", "etcdserver: leader changed"))

    async def script(seen: Seen) -> None:
        await until(lambda: server.count("pods", watch=True) >= 2)
        server.apply("pods", pod("b"))
        await until(lambda: "b" in seen.pods)

    watch(server, script)
    assert server.count("pods", watch=False) == 1


def test_a_busy_server_says_when_to_come_again(server):
    server.apply("pods", pod("a"))
    server.fault("pods", "status", code=429, headers={"Retry-After": "1"})

    async def script(seen: Seen) -> None:
        loop = asyncio.get_running_loop()
        start = loop.time()
        await until(lambda: seen.pods)
        assert loop.time() - start >= 1.0

    watch(server, script)


@pytest.mark.parametrize("code", [500, 503, 504])
def test_a_server_in_trouble_is_asked_again(server, code, caplog):
    server.apply("pods", pod("a"))
    for _ in range(3):
        server.fault("pods", "status", code=code)
    caplog.set_level(logging.INFO)

    async def script(seen: Seen) -> None:
        await until(lambda: seen.pods and server.watches)
        server.apply("pods", pod("b"))
        await until(lambda: "b" in seen.pods)

    watch(server, script)
    assert caplog.text.count(f"as the test asked: {code}") == 1  # said once
    assert "watching pods again" in caplog.text


def test_an_error_whose_words_are_no_text_is_tried_again(server):
    server.apply("pods", pod("a"))
    server.fault("pods", "status", code=502, raw=b'{"message": "\xe9"}')

    async def script(seen: Seen) -> None:
        await until(lambda: seen.pods)

    watch(server, script)


def test_a_slow_server_is_waited_for(server):
    server.apply("pods", pod("a"))
    server.fault("pods", "slow")

    async def script(seen: Seen) -> None:
        await until(lambda: seen.pods)

    watch(server, script)


def test_a_token_that_was_changed_in_its_file_is_read_again(server, tmp_path, monkeypatch):
    monkeypatch.setattr(tokens, "READ_AGAIN_S", 1e9)  # not by time, but since the server refuses it
    path = tmp_path / "token"
    path.write_text("good\n")
    server.apply("pods", pod("a"))

    async def script(seen: Seen) -> None:
        await until(lambda: server.watches)
        server.tokens = {"rotated"}
        path.write_text("rotated\n")
        server.drop_connections()
        server.apply("pods", pod("b"))
        await until(lambda: "b" in seen.pods)

    watch(server, script, token=TokenFile(path))
    assert server.count("pods", watch=False) == 1


def test_pods_that_may_not_be_read_are_asked_for_until_they_may(server, caplog):
    server.forbidden = {"pods"}
    server.apply("pods", pod("a"))

    async def script(seen: Seen) -> None:
        await until(lambda: server.count("pods", watch=False) >= 3)
        assert not seen.settled
        server.forbidden = set()
        await until(lambda: seen.pods)

    watch(server, script)
    assert caplog.text.count("pods is forbidden") == 1


@pytest.mark.parametrize("what", ["missing", "forbidden"])
def test_what_is_not_installed_or_forbidden_counts_as_none_and_is_said_once(server, what, caplog):
    setattr(server, what, {"scaledobjects"})
    resource = Resource("scaledobjects", "/apis/keda.sh/v1alpha1/namespaces/models/scaledobjects", Pod)
    caplog.set_level(logging.INFO)

    async def script(seen: Seen) -> None:
        await until(lambda: seen.settled)
        setattr(server, what, set())  # it is installed later
        server.apply("scaledobjects", pod("a"))
        await until(lambda: seen.pods)

    watch(server, script, resource=resource)
    assert caplog.text.count("watching scaledobjects: they") == 1


@pytest.mark.parametrize("what", ["missing", "forbidden"])
def test_what_worked_and_is_refused_for_a_moment_is_as_it_was(server, what, monkeypatch):
    """A starting server answers 403 or 404 before it has loaded its rules."""
    monkeypatch.setattr(lasting_refusal, "CONFIRM_AFTER_S", 60.0)
    resource = Resource("scaledobjects", "/apis/keda.sh/v1alpha1/namespaces/models/scaledobjects", Pod)
    server.apply("scaledobjects", pod("a"))

    async def script(seen: Seen) -> None:
        await until(lambda: server.watches)
        setattr(server, what, {"scaledobjects"})
        asked = server.count("scaledobjects", watch=True)
        server.drop_connections()
        await until(lambda: server.count("scaledobjects", watch=True) > asked)
        asked = server.count("scaledobjects", watch=False)
        await until(lambda: server.count("scaledobjects", watch=False) > asked)
        setattr(server, what, set())
        server.apply("scaledobjects", pod("b"))
        await until(lambda: set(seen.pods) == {"a", "b"})

    assert ("LISTED", "") not in watch(server, script, resource=resource).said


def test_what_may_not_be_read_at_first_is_waited_for(server, monkeypatch):
    """Otherwise limits would be reported without the autoscalers, which a starting server does not list yet."""
    monkeypatch.setattr(lasting_refusal, "CONFIRM_AFTER_S", 60.0)
    server.forbidden = {"pods"}
    resource = Resource("pods", PODS.path, Pod)
    server.apply("pods", pod("a"))

    async def script(seen: Seen) -> None:
        await until(lambda: server.count("pods", watch=False) >= 3)
        assert not seen.settled
        server.forbidden = set()
        await until(lambda: seen.settled)

    assert watch(server, script, resource=resource).said[0] == ("LISTED", "a")


def test_what_is_not_installed_any_more_is_gone(server):
    resource = Resource("scaledobjects", "/apis/keda.sh/v1alpha1/namespaces/models/scaledobjects", Pod)
    server.apply("scaledobjects", pod("a"))

    async def script(seen: Seen) -> None:
        await until(lambda: seen.pods and server.watches)
        server.missing = {"scaledobjects"}
        server.drop_connections()
        await until(lambda: not seen.pods)
        server.missing = set()
        await until(lambda: seen.pods)

    watch(server, script, resource=resource)


def test_what_may_be_listed_and_not_watched_is_listed_again(server):
    resource = Resource("deployments", "/apis/apps/v1/namespaces/models/deployments", Pod)
    server.apply("deployments", pod("a"))
    server.unwatchable = {"deployments"}

    async def script(seen: Seen) -> None:
        await until(lambda: "a" in seen.pods)
        server.apply("deployments", pod("b"))
        await until(lambda: "b" in seen.pods)

    watch(server, script, resource=resource)


def test_a_list_that_expires_between_its_pages_restarts(server, monkeypatch):
    monkeypatch.setattr(watching, "PAGE", 2)
    for number in range(5):
        server.apply("pods", pod(f"pod-{number}"))
    expired = status(410, "Expired", "The provided continue parameter is too old")
    server.fault("pods", "continue", code=410, body=expired)

    async def script(seen: Seen) -> None:
        await until(lambda: len(seen.pods) == 5)

    seen = watch(server, script)
    assert server.count("pods", watch=False) == 2 + 3  # pages
    assert len(seen.said) == 1


def test_a_server_that_is_away_is_tried_again(server):
    async def script(seen: Seen) -> None:
        await until(lambda: seen.settled)

    nowhere = ApiServer()
    nowhere.port = 1

    async def gone(seen: Seen) -> None:
        await asyncio.sleep(0.1)
        assert not seen.settled

    watch(nowhere, gone)
    watch(server, script)


def test_waits_grow_are_spread_and_reset():
    pace = Backoff(1.0, 8.0)
    waits = [pace.wait_s() for _ in range(6)]
    assert all(most / 2 <= wait <= most for wait, most in zip(waits, (1, 2, 4, 8, 8, 8), strict=True))
    assert pace.wait_s(5.0) >= 5.0
    assert pace.wait_s(1e9) <= 308
    pace.succeeded()
    assert pace.wait_s() <= 1.0


def test_retry_after_is_a_number_or_a_date():
    assert retry_after_s("7") == 7.0
    now = datetime(2026, 11, 20, 10, 0, 0, tzinfo=UTC)
    assert retry_after_s("Fri, 20 Nov 2026 10:00:30 GMT", now) == 30.0
    assert retry_after_s("Fri, 20 Nov 2026 09:00:30 GMT", now) == 0.0
    assert retry_after_s("Fri, 20 Nov 2026 10:00:30 -0000", now) == 30.0
    assert retry_after_s("soon") is None
    assert retry_after_s(None) is None
