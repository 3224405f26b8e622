"""No agent sends what its own decoders refuse, whatever its input: all capture methods, driven by hypothesis.

ASGI, WSGI and the proxy speak through the recorder and the batcher, log readers through their own batching and journal;
samples of hardware and engines, states and the commands have a batch of their own each.
"""

from __future__ import annotations

import json
import math
import time
import zlib
from http import HTTPStatus

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.agents.folded import fold
from tests.agents.log.lines import nginx_line
from tests.agents.log.test_reader import CONFIG, Topic, append, run

from endpoint_analytics.agents.core.batching import Batcher
from endpoint_analytics.agents.core.clamp import INVALID_STATUS, interval_in_range, status_in_range
from endpoint_analytics.agents.core.recorder import Recorder
from endpoint_analytics.agents.core.sampling import Interval
from endpoint_analytics.agents.hardware.reading import HardwareReading
from endpoint_analytics.agents.hardware.sampler import make_batch
from endpoint_analytics.agents.log.batching import ReaderState, next_batch, take
from endpoint_analytics.agents.log.formats import FORMATS, pattern_parser
from endpoint_analytics.agents.log.logged import Logged
from endpoint_analytics.agents.log.position_file import VERSION, SavedPosition, decode_entry, encode_entry
from endpoint_analytics.agents.replica import agent as agent_module
from endpoint_analytics.agents.replica.agent import Agent
from endpoint_analytics.agents.scrape.exposition import parse_exposition
from endpoint_analytics.agents.scrape.readings import EngineReader
from endpoint_analytics.agents.scrape.scraper import make_engine_batch
from endpoint_analytics.agents.spool.frame import SpoolRecord, frame, read_frames
from endpoint_analytics.schemas.codec import (
    decode_engine,
    decode_hardware,
    decode_replicas,
    decode_requests,
    encode,
)
from endpoint_analytics.schemas.errors import InvalidMessageError
from endpoint_analytics.schemas.hardware import Accelerator
from endpoint_analytics.schemas.replicas import EndpointSettings, ReplicaState
from endpoint_analytics.schemas.requests import RequestBatch

NUMBERS = st.one_of(
    st.sampled_from([0, -1, 1, 9, 99, 100, 599, 600, 999, 1_000, 2**31, 2**53, 2**63, -(2**63), 10**400]),
    st.integers(),
)
STATUSES = st.one_of(
    NUMBERS,
    st.sampled_from(
        [None, "200", "009", "", HTTPStatus.OK, True, 200.0, math.nan, math.inf, b"200", object()]
    ),
    st.integers(100, 599),
)
JUMPS = st.one_of(
    st.integers(0, 10**9), st.integers(-(2**63), 2**63), st.sampled_from([-1, 10**15, -(10**18)])
)
READINGS = st.one_of(st.none(), st.floats(), NUMBERS, st.sampled_from(["7", math.nan, math.inf, -math.inf]))
TEXTS = st.one_of(st.text(), st.sampled_from(["\ud800", "\x00", "é" * 1_000, "a\udcffb", "\n"]))


def spooled(topic: str, message: bytes) -> bytes:
    """Return the message as it is read again from a spool."""
    (record,) = read_frames(frame(SpoolRecord(0, topic, b"key", message))).records
    return record.message


class Requests:
    """The recorder and the batcher of an ASGI or WSGI application or a proxy, with a clock that jumps."""

    def __init__(self) -> None:
        self.at_ns = 10**12
        self.recorder = Recorder(clock=lambda: self.at_ns)
        self.batcher = Batcher(CONFIG, "boot-1", max_events=5)
        self.open: list = []
        self.batches: list[RequestBatch] = []

    def step(self, what: str, status: object, jump_ns: int) -> None:
        self.at_ns += jump_ns
        if what == "arrive":
            self.open.append(self.recorder.arrive())
        elif self.open and what == "respond_interim":
            self.open[0].respond_interim(status)
        elif self.open and what == "respond":
            self.open[-1].respond(status)
        elif self.open and what in {"finish", "abort"}:
            getattr(self.open.pop(), what)()

    def flush(self, offset_us: int) -> None:
        snapshot = self.recorder.snapshot()
        for batch in self.batcher.batches(
            snapshot, offset_us, self.recorder.read_dropped(), {"buffer_full": 1}
        ):
            message = encode(batch)
            assert decode_requests(spooled("requests", message)) == batch
            self.batches.append(batch)


STEP = st.tuples(
    st.sampled_from(
        ["arrive", "arrive", "respond_interim", "respond", "respond", "finish", "abort", "flush"]
    ),
    STATUSES,
    JUMPS,
)


@settings(max_examples=150, deadline=None)
@given(st.lists(STEP, max_size=40))
def test_requests(steps):
    requests = Requests()
    for what, status, jump in steps:
        if what == "flush":
            requests.flush(jump)
        else:
            requests.step(what, status, jump)
    requests.flush(1_795_550_595_000_000)
    totals = requests.batches[-1].totals
    assert totals.arrived == (
        totals.finished + totals.aborted_pending + totals.aborted_streaming + requests.batcher.active
    )
    rows = [batch.responded.status + batch.informational.status for batch in requests.batches]
    assert sum(totals.status.values()) == sum(map(len, rows))
    assert totals.finished == sum(len(batch.finished.at_us) for batch in requests.batches)


LOGGED = st.builds(
    Logged,
    status=st.one_of(st.none(), st.integers(100, 599), NUMBERS),
    end_us=st.one_of(st.none(), st.integers(1_795_550_000_000_000, 1_795_550_700_000_000), NUMBERS),
    duration_us=st.one_of(st.none(), st.integers(0, 10**9), NUMBERS),
    wait_us=st.one_of(st.none(), NUMBERS),
    is_aborted=st.booleans(),
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(LOGGED, max_size=20),
    st.lists(st.one_of(st.just(1_795_550_600_000_000), NUMBERS), min_size=1, max_size=3),
)
def test_a_logs_requests(requests, times_us):
    state, left, clock = ReaderState("boot-1"), list(requests), iter(times_us * 50)
    too_old = 0
    while left:
        at_us = next(clock)
        number = take(left, at_us)
        assert number
        batch, state = next_batch(CONFIG, state, left[:number], {"unfit_line": 1}, at_us)
        assert decode_requests(encode(batch)) == batch
        entry = decode_entry(encode_entry(journal_entry(state, encode(batch))))
        assert entry.state == state
        del left[:number]
    totals = state.totals
    too_old = totals.dropped.get("too_old", 0)
    assert totals.arrived == totals.finished + totals.aborted_pending + totals.aborted_streaming
    reported = sum(totals.status.values()) + totals.aborted_pending
    assert reported + too_old == len(requests)


def journal_entry(state: ReaderState, message: bytes):
    return SavedPosition(VERSION, "owner", state, 0, None, message)


FIELD = st.one_of(
    st.sampled_from(
        ["009", "099", "600", "999", "000", "-1", "1000", "nan", "inf", "-", "", "9" * 400, "2e308"]
    ),
    st.integers().map(str),
    st.floats().map(str),
    st.from_regex(r"[0-9]{1,20}(\.[0-9]{1,9})?", fullmatch=True),
)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(FIELD, FIELD, FIELD, FIELD), min_size=1, max_size=3))
def test_whatever_a_log_says_its_journal_is_read_again(tmp_path_factory, lines):
    """With the real reader, restarted repeatedly, over lines of every format."""
    formats = {
        "nginx": '1 - - [t] "GET / HTTP/1.1" %s 1 "-" "-" msec=%s rt=%s uht=%s urt=- sent=1 ok=OK',
        "haproxy": "1.2.3.4:5 "
        '[28/Nov/2026:17:35:50.655] f b/s 0/0/%.0s0/%s/%s %s 1 - - ---- 1/1/0/0/0 0/0 "GET / HTTP/1.1"',
        "envoy": '{"response_code": "%s", "start_time": "%s", "duration": "%s", "response_duration": "%s"}',
        "caddy": '{"status": "%s", "ts": "%s", "duration": "%s", "x": "%s"}',
        "traefik": '{"DownstreamStatus": "%s", "StartUTC": "%s", "Duration": "%s", "x": "%s"}',
        "uvicorn": '1.2.3.4:5 - "GET / HTTP/1.1" %s %.0s%.0s%.0s',
        "pattern": "%s %s %s %s",
    }
    parsers = dict(FORMATS)
    parsers["pattern"] = pattern_parser(r"(?P<status>\S*) (?P<time>\S*) (?P<duration_s>\S*) (?P<wait_s>\S*)")
    for name, template in formats.items():
        path, topic = tmp_path_factory.mktemp("log") / "access.log", Topic()
        for line in lines:
            append(path, template % line)
            totals = run(path, topic, parser=parsers[name]).totals
        for _, message in topic.log:
            decode_requests(message)
        assert fold(topic.log).rejected == {}
        assert decode_entry((path.with_name("position")).read_bytes()).state.totals == totals
        counted = sum(totals.status.values()) + totals.aborted_pending + sum(totals.dropped.values())
        assert counted == len(lines), (name, totals)


@pytest.mark.parametrize("status", ["009", "099", "600", "999"])
def test_a_position_file_of_an_older_version_is_healed(tmp_path, caplog, status):
    """It held a status that no message can: its batch was refused, and so was every one after it."""
    path, topic = tmp_path / "access.log", Topic()
    append(path, nginx_line(time.time()))
    run(path, topic, "before")  # ends before its batch is sent
    position = tmp_path / "position"
    entry = msgspec.json.decode(position.read_bytes().partition(b"\n")[0])
    sent = msgspec.json.decode(json.dumps(entry["message"]).encode(), type=bytes)
    message = msgspec.json.decode(encode(decode_requests(sent)))
    for phase in ("responded", "finished"):
        message[phase]["status"] = [int(status)]
    message["totals"]["status"] = entry["book"]["totals"]["status"] = {str(int(status)): 1}
    entry["message"] = msgspec.json.encode(message)
    line = msgspec.json.encode(entry)
    position.write_bytes(b"%s\n%08x\n" % (line, zlib.crc32(line)))

    append(path, path.read_text().strip())
    totals = run(path, topic).totals
    assert totals.status == {"599": 1, "200": 1}
    stored = fold(topic.log)
    assert stored.rejected == {}
    (boot,) = stored.boots.values()
    assert (boot["finished"], boot["missing"]) == (2, 0)
    assert "sending it again repaired" in caplog.text


def test_a_batch_that_cannot_be_healed_is_given_up(tmp_path):
    path, topic = tmp_path / "access.log", Topic()
    append(path, nginx_line(time.time()))
    run(path, topic, "before")
    position = tmp_path / "position"
    entry = msgspec.structs.replace(
        decode_entry(position.read_bytes()), message=b'{"version":1,"responded":7}'
    )
    position.write_bytes(encode_entry(entry))
    assert decode_entry(position.read_bytes()).message is None
    run(path, topic)
    assert fold(topic.log).rejected == {}


INTERVALS = st.builds(
    lambda seq, start, end, offset: Interval(seq, *interval_in_range(start, end, offset)),
    st.integers(0, 2**53),
    JUMPS,
    JUMPS,
    JUMPS,
)


@given(INTERVALS, st.dictionaries(st.sampled_from(["cpu_percent", "oom_kills"]), READINGS), st.lists(
    st.builds(
        Accelerator,
        device=st.sampled_from([f"gpu{number}" for number in range(90)]),
        readings=st.dictionaries(st.just("gpu_percent"), READINGS.map(lambda value: [value])),
        uuid=TEXTS,
        name=TEXTS,
    ),
    max_size=100,
))  # fmt: skip
def test_hardware(interval, replica, accelerators):
    message = encode(make_batch(CONFIG, "boot-1", interval, HardwareReading(replica, tuple(accelerators))))
    batch = decode_hardware(spooled("hardware", message))
    assert {each.device for each in batch.accelerators} <= {each.device for each in accelerators}
    assert set(batch.replica) == set(replica)


@given(
    INTERVALS,
    st.lists(
        st.tuples(
            st.sampled_from(
                ["vllm:num_requests_running", "vllm:request_success_total", "vllm:kv_cache_usage_perc", "up"]
            ),
            TEXTS,
            READINGS,
        ),
        max_size=20,
    ),
)
def test_an_engine(interval, samples):
    """Whatever the engine reports, including labels."""
    reader = EngineReader()
    for at_ns in (0, 10**9, 10**9):
        text = "".join(f'{name}{{model="{label}"}} {value}\n' for name, label, value in samples)
        reading = reader.read(parse_exposition(text, reader.spelled), at_ns)
        message = encode(make_engine_batch(CONFIG, "boot-1", interval, reading))
        decode_engine(spooled("engine", message))


@settings(max_examples=50, deadline=None)
@given(
    TEXTS, st.one_of(st.just(1_795_550_600_000_000_000), NUMBERS.filter(lambda number: abs(number) < 2**70))
)
def test_states_that_the_agent_reports(reason, at_ns):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(agent_module.time, "time_ns", lambda: at_ns)
        agent = Agent(CONFIG)
    put: list[bytes] = []
    agent._put = lambda topic, message: put.append(message)
    agent._report("initializing", at_ns // 1_000, reason)
    for message in put:
        state = decode_replicas(spooled("replicas", message))
        assert len(state.reason) <= 256
    agent._process_group.leave()


@given(TEXTS, TEXTS, NUMBERS, NUMBERS, NUMBERS)
def test_the_commands_say_what_is_wrong(name, reason, at_us, least, most):
    """`replica set` and `endpoint set` encode and decode before they send, so that a refusal has an explanation."""
    for message in (
        ReplicaState(
            namespace=name, endpoint="e", replica_id="r", at_us=at_us, state="running", reason=reason
        ),
        EndpointSettings(namespace="n", endpoint=name, at_us=at_us, min_replicas=least, max_replicas=most),
    ):
        try:
            decode_replicas(encode(message))
        except InvalidMessageError:
            continue  # any other exception is a bug


@pytest.mark.parametrize("status", [9, 99, 600, 999, 0, -1, 1_000, None, "x"])
def test_what_is_no_status_is_of_class_5xx(status):
    assert status_in_range(10**5_000) == INVALID_STATUS
    assert status_in_range(status) == INVALID_STATUS


def test_the_first_and_the_last_status_of_http_are_in_range():
    found = [status_in_range(status) for status in (99, 100, "100", 599, "599", 600)]
    assert found == [INVALID_STATUS, 100, 100, 599, 599, INVALID_STATUS]
