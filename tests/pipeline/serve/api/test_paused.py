"""A paused partition, and processes that send under one identity, in every outlet."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from tests.pipeline.store.rows import boot, event, hardware, insert, progress, text

from endpoint_analytics.pipeline.store.paused_partitions import PausedPartition, newer_than

PARTITION = 9  # of which nobody says that it is read
SINCE_MS = 1_767_323_045_250
PAUSED = PausedPartition(
    "requests", PARTITION, True, SINCE_MS, 7, "2000 of the last 2000 were rejected", 7, 1
)
SHOWN = {
    "stream": "requests",
    "partition": PARTITION,
    "since": SINCE_MS / 1e3,
    "reason": PAUSED.reason,
    "command": f"endpoint-analytics partitions resume requests {PARTITION}",
}


def _long(now, **columns):
    """A boot that stays alive as long as the test takes."""
    return boot(now, endpoint="copied", age_s=-600, **columns) | {
        "first_at": text(now - timedelta(seconds=60))
    }


@pytest.fixture(scope="module", autouse=True)
def _rows(client):
    now = datetime.now(UTC)
    insert(client, "partition_progress", progress(now - timedelta(seconds=90), partition=PARTITION))
    insert(
        client,
        "boot_states",
        [
            boot(now, endpoint="waits", age_s=100, partition=PARTITION, pending=3),
            _long(now, copies=2, conflicts=12, pending=1, arrived=9, finished=9),
            _long(now, boot_id="b1~2", pending=1, arrived=5, finished=5),
            _long(now, boot_id="b1~3", pending=1, arrived=6, finished=4, missing=1,
                 agent_arrived=8),
            _long(now, stream="hardware", copies=1),
            _long(now, stream="hardware", boot_id="b1~2"),
            _long(now, replica="alone", boot_id="b2", arrived=1, finished=1),
            boot(now, endpoint="half", partition=PARTITION, pending=3),
            boot(now, endpoint="half", age_s=-600, stream="hardware"),
            boot(now, endpoint="warm", age_s=-600, pending=3),
            boot(now, endpoint="warm", age_s=100, stream="hardware", partition=PARTITION),
            *(boot(now, endpoint=endpoint, age_s=age_s, stream=stream, partition=PARTITION)
              for endpoint in ("both", "late")  # answers are used again for a moment
              for age_s, stream in ((100, "requests"), (200, "hardware"))),
            *(boot(now, endpoint="crowd", age_s=age_s, chunk=chunk, conflicts=conflicts, stream=stream)
              for stream in ("requests", "hardware")
              for age_s, chunk, conflicts in ((500, 1, 0), (300, 2, 4), (200, 3, 4), (100, 4, 9))),
        ],
    )  # fmt: skip
    insert(
        client,
        "hardware_windows",
        [
            hardware(now, "cpu_percent", 12.5, endpoint="copied", age_s=-600, boot_id="b1~2"),
            hardware(now, "cpu_percent", 12.5, endpoint="warm", age_s=100),
            *(hardware(now, "cpu_percent", 50, endpoint="half", age_s=age_s) for age_s in (-20, 0, 20)),
        ],
    )
    insert(client, "replica_events", [event(now, "running", endpoint="waits", age_s=100)])


def asked(service, token, path):
    answer = service.get(f"/v2/endpoint/acme{path}", {"Authorization": f"Bearer {token}"})
    assert answer.status == 200, answer.text
    return json.loads(answer.text)


ALL = "/series?series=replicas,requests,hardware&include=summary,replicas,timeline,events&from=now-10m"


def own(service):
    return [
        line for line in service.get("/metrics").text.splitlines() if line.startswith("query_service_paused")
    ]


@pytest.fixture
def paused(client):
    insert(client, "paused_partitions", [replace(PAUSED, version=newer_than(0)).row("worker").values])
    yield
    insert(client, "paused_partitions", [PAUSED.resumed(7).row("operator").values])


def test_a_paused_partition_is_said_and_is_the_reason_why_a_state_is_unknown(service, token, paused) -> None:
    answer = asked(service, token, f"/waits{ALL}")
    assert answer["paused"] == [SHOWN]
    (found,) = answer["replicas"]
    said = f"requests/{PARTITION} is paused: {PAUSED.reason}"
    assert (found["state"], found["pending"], found["unknown_reason"]) == ("unknown", None, said)
    last = answer["timeline"][0]["states"][-1]
    assert (last["state"], last["reason"]) == ("unknown", said)
    other = asked(service, token, f"/copied{ALL}")
    assert other["paused"] == [SHOWN]
    assert {each["state"] for each in other["replicas"]} == {"running"}
    assert {each["unknown_reason"] for each in other["replicas"]} == {""}
    assert asked(service, token, "")["paused"] == [SHOWN]
    assert own(service) == [
        f'query_service_paused_partitions{{stream="{stream}"}} {count}'
        for stream, count in (
            ("requests", 1),
            ("hardware", 0),
            ("engine", 0),
            ("outcomes", 0),
            ("replicas", 0),
        )
    ]


SAID = f"requests/{PARTITION} is paused: {PAUSED.reason}"


def test_where_it_is_that_of_requests_alone_it_is_the_reason_why_those_are_unknown(
    service, token, paused
) -> None:
    """The replica's hardware arrives through another partition, so it is known to run."""
    answer = asked(service, token, f"/half{ALL}")
    (found,) = answer["replicas"]
    assert (found["state"], found["unknown_since"]) == ("running", None)
    assert (found["pending"], found["unknown_reason"]) == (None, SAID)
    assert {span["reason"] for span in answer["timeline"][0]["states"]} == {"its agent is reporting"}


@pytest.mark.parametrize(
    ("endpoint", "path", "what"),
    [
        (
            "waits",
            "/v2/endpoint/acme/waits/autoscaling",
            "nothing is known about this endpoint for the last ",
        ),
        ("waits", "{external}/cpu_percent", "nothing is known about this endpoint for the last "),
        ("half", "{external}/pending_requests", "pending_requests of 'half' is currently unknown"),
    ],
)
def test_an_autoscaler_is_told_that_a_partition_is_paused(
    service, token, paused, endpoint, path, what
) -> None:
    external = "/apis/external.metrics.k8s.io/v1beta1/namespaces/acme"
    asked_for = path.format(external=external) + (
        f"?labelSelector=endpoint={endpoint}" if "{" in path else ""
    )
    answer = service.get(asked_for, {"Authorization": f"Bearer {token}"})
    assert answer.status == 503, answer.text
    found = json.loads(answer.text)
    text = found["message"] if "message" in found else f"{found['detail']} {found['hint']}"
    assert text.startswith(what)
    assert SAID in text
    assert f"run `{PAUSED.command}`" in text


@pytest.fixture
def hardware_paused(client):
    of_hardware = replace(PAUSED, stream="hardware", version=newer_than(0))
    insert(client, "paused_partitions", [of_hardware.row("worker").values])
    yield of_hardware
    insert(client, "paused_partitions", [of_hardware.resumed(7).row("operator").values])


def external(service, token, metric, endpoint):
    """The message of an error of the external metrics API."""
    path = f"/apis/external.metrics.k8s.io/v1beta1/namespaces/acme/{metric}?labelSelector=endpoint={endpoint}"
    answer = service.get(path, {"Authorization": f"Bearer {token}"})
    assert answer.status == 503, answer.text
    return json.loads(answer.text)["message"]


@pytest.mark.parametrize("metric", ["cpu_percent", "memory_percent", "gpu_percent", "gpu_memory_percent"])
def test_an_autoscaler_of_hardware_is_told_that_its_partition_is_paused(
    service, token, hardware_paused, metric
) -> None:
    """The agents' requests arrive through another partition, so hardware is never the newest."""
    text = external(service, token, metric, "warm")
    assert f"hardware/{PARTITION} is paused: {PAUSED.reason}" in text
    assert f"run `{hardware_paused.command}`" in text
    assert "paused" not in external(service, token, "pending_requests", "warm")


def test_of_two_that_are_paused_the_one_is_named_that_the_figure_waits_for(
    service, token, paused, hardware_paused
) -> None:
    """If nothing is known, it is the one that the agents' newest messages came through."""
    assert f"hardware/{PARTITION} is paused" in external(service, token, "cpu_percent", "warm")
    for metric in ("cpu_percent", "pending_requests"):
        assert SAID in external(service, token, metric, "both")


def test_a_partition_that_is_paused_for_others_is_no_cause(service, token, hardware_paused) -> None:
    for metric in ("cpu_percent", "pending_requests"):
        assert "paused" not in external(service, token, metric, "late")


def test_what_is_known_stays_an_answer_and_another_figure_has_its_own_reason(service, token, paused) -> None:
    found = asked(service, token, "/half/autoscaling")
    assert (found["cpu_percent"], found["pending_requests"]) == (50, None)
    path = "/apis/external.metrics.k8s.io/v1beta1/namespaces/acme/gpu_percent?labelSelector=endpoint=half"
    answer = service.get(path, {"Authorization": f"Bearer {token}"})
    assert answer.status == 503
    assert "paused" not in answer.text


def test_batches_in_no_figure_stand_with_the_time_in_which_they_came(service, token) -> None:
    found = asked(service, token, f"/crowd{ALL}")["conflicts"]
    assert [(each["replica"], each["stream"], each["batches"]) for each in found] == [
        ("r1", "hardware", 4), ("r1", "requests", 4), ("r1", "hardware", 5), ("r1", "requests", 5),
    ]  # fmt: skip
    spans = [(each["from"], each["to"]) for each in found]
    assert spans[0] == spans[1]
    assert [round(to - from_) for from_, to in spans] == [200, 200, 100, 100]
    assert "conflicts" not in asked(service, token, f"/waits{ALL}")
    late = asked(service, token, f"/crowd{ALL}".replace("now-10m", "now-150s"))["conflicts"]
    assert {each["batches"] for each in late} == {5}
    other = asked(service, token, f"/crowd{ALL}&replica=other")
    assert "conflicts" not in other


def test_one_that_goes_on_is_not_said_any_more(service, token, client) -> None:
    insert(client, "paused_partitions", [replace(PAUSED, partition=3).row("worker").values])
    resumed = replace(PAUSED, partition=3).resumed(9).row("operator").values
    insert(client, "paused_partitions", [resumed])
    answer = asked(service, token, f"/waits{ALL}&step=10")
    assert "paused" not in answer
    (found,) = answer["replicas"]
    assert (found["state"], found["unknown_reason"]) == ("unknown", "")
    assert answer["timeline"][0]["states"][-1]["reason"] == "the pipeline is late"


def test_copies_and_conflicts_are_said_and_copies_are_counted(service, token) -> None:
    answer = asked(service, token, f"/copied{ALL}")
    found = {each["replica"]: each for each in answer["replicas"]}
    assert found["r1"]["copies"] == 2  # the same two processes send both streams
    assert found["r1"]["conflicting_batches"] == 12
    assert found["r1"]["pending"] == 3
    assert (found["alone"]["copies"], found["alone"]["conflicting_batches"]) == (0, 0)
    lost = [(each["replica"], each["requests"], each["batches"]) for each in answer["losses"]]
    assert lost == [("r1", 2, 1)]  # of the copy b1~3
    lines = set(service.scrape(token, "copied").text.splitlines())
    assert lines >= {
        'conflicting_batches_total{replica_id="r1",stream="requests"} 12',
        'copied_boots{replica_id="r1",stream="hardware"} 1',
        'copied_boots{replica_id="r1",stream="requests"} 2',
        'pending_requests{replica_id="r1"} 3',
        'missing_batches{replica_id="r1",stream="requests"} 1',
        'cpu_usage_percent{replica_id="r1"} 12.5',
    }
    assert not [line for line in lines if line.startswith(("copied", "conflicting")) and "alone" in line]
