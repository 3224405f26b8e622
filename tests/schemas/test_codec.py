"""What is decoded, what is refused and for which reason, and whether the detail names the field."""

import msgspec
import pytest
from hypothesis import given
from tests.schemas.messages import (
    ENGINE,
    HARDWARE,
    REQUESTS,
    SETTINGS,
    SIGNAL,
    START_US,
    STATE,
    autoscaling_signals,
    endpoint_settings,
    engine_batches,
    hardware_batches,
    rejected,
    replica_states,
    request_batches,
    wire,
)

from endpoint_analytics.schemas.codec import (
    decode_engine,
    decode_hardware,
    decode_replicas,
    decode_requests,
    decode_signal,
    encode,
)
from endpoint_analytics.schemas.errors import InvalidMessageError
from endpoint_analytics.schemas.limits import (
    MAX_COUNT,
    MAX_DETAIL_LENGTH,
    MAX_DEVICES,
    MAX_DROP_REASONS,
    MAX_DURATION_US,
    MAX_EVENTS,
    MAX_INTERVAL_US,
    MAX_LEVEL,
    MAX_MESSAGE_BYTES,
    MAX_METRICS,
    MAX_REASON_LENGTH,
    MAX_REPLICAS,
    MAX_SAMPLES,
    MAX_SUM_US,
    MAX_TIME_US,
    MIN_TIME_US,
)
from endpoint_analytics.schemas.rejected import Rejected

KINDS = {
    "requests": (decode_requests, REQUESTS),
    "hardware": (decode_hardware, HARDWARE),
    "engine": (decode_engine, ENGINE),
    "state": (decode_replicas, STATE),
    "settings": (decode_replicas, SETTINGS),
    "signal": (decode_signal, SIGNAL),
}


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


def refusal(decode, data) -> InvalidMessageError:
    with pytest.raises(InvalidMessageError) as caught:
        decode(data)
    return caught.value


# Round trips


@given(request_batches())
def test_a_request_batch_comes_back_as_it_was(batch):
    assert decode_requests(encode(batch)) == batch


@given(hardware_batches())
def test_a_hardware_batch_comes_back_as_it_was(batch):
    assert decode_hardware(encode(batch)) == batch


@given(engine_batches())
def test_an_engine_batch_comes_back_as_it_was(batch):
    assert decode_engine(encode(batch)) == batch


@given(replica_states | endpoint_settings())
def test_a_replica_message_comes_back_as_it_was(message):
    assert decode_replicas(encode(message)) == message


@given(autoscaling_signals)
def test_an_autoscaling_signal_comes_back_as_it_was(message):
    assert decode_signal(encode(message)) == message


@given(rejected)
def test_a_rejected_message_comes_back_as_it_was(message):
    assert msgspec.json.decode(encode(message), type=Rejected) == message


def test_phases_without_rows_take_no_bytes():
    assert encode(decode_requests(wire(REQUESTS))) == wire(REQUESTS).replace(b" ", b"")


def test_unknown_members_are_passed_over(kind):
    decode, message = kind
    assert decode(wire(message, tomorrow={"more": [1, None]})) == decode(wire(message))


# Not a message at all


@pytest.mark.parametrize("data", [None, b""])
def test_nothing_is_empty(kind, data):
    assert refusal(kind[0], data).reason == "empty"


def test_a_message_of_10_mb_is_too_large_and_is_not_read(kind):
    error = refusal(kind[0], b"{" * 10_000_000)
    assert (error.reason, error.detail) == ("too_large", "10000000 bytes; the limit per message is 4194304")


def test_a_message_of_the_greatest_size_is_read(kind):
    decode, message = kind
    data = wire(message)
    assert decode(data + b" " * (MAX_MESSAGE_BYTES - len(data))) == decode(data)
    assert refusal(decode, data + b" " * (MAX_MESSAGE_BYTES - len(data) + 1)).reason == "too_large"


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"hello",
        b"\x00",
        b"\xff\xfe\xfd",
        b"\xef\xbb\xbf{}",
        b'{"seq":NaN}',
        b'{"seq":Infinity}',
        b'{"seq":-Infinity}',
        b'{"seq":01}',
    ],
    ids=repr,
)
def test_what_is_not_json_is_not_json(kind, data):
    assert refusal(kind[0], data).reason == "not_json"


@pytest.mark.parametrize("namespace", [b'"\xff"', b'"\\ud800"', b'"\\x"', b'"'])
def test_text_that_is_no_text_is_not_json(kind, namespace):
    decode, message = kind
    assert refusal(decode, wire(message).replace(b'"acme"', namespace)).reason == "not_json"


def test_only_one_message_is_taken(kind):
    decode, message = kind
    assert refusal(decode, wire(message) * 2).reason == "not_json"


@pytest.mark.parametrize("data", [b"null", b"[]", b'"text"', b"1", b"true", b"{}"])
def test_other_json_is_of_the_wrong_shape(kind, data):
    assert refusal(kind[0], data).reason == "wrong_shape"


@pytest.mark.parametrize("nested", [b'{"x":' * 100_000, b"[" * 100_000, b'{"x":[' * 50_000])
def test_deep_nesting_is_refused(kind, nested):
    decode, message = kind
    assert refusal(decode, nested).reason in ("not_json", "wrong_shape")
    assert refusal(decode, wire(message)[:-1] + b',"x":' + nested).reason == "not_json"


# Versions


@pytest.mark.parametrize("version", [0, 2, -1, 10**30, "2", None, [], {}], ids=repr)
def test_an_unknown_version_is_named(kind, version):
    decode, message = kind
    error = refusal(decode, wire(message, version=version))
    assert error.reason == "unknown_version"
    assert error.detail.startswith("version is ")


def test_an_unknown_version_stands_before_all_that_it_changed(kind):
    decode, _ = kind
    assert refusal(decode, b'{"version":2,"columns":"other"}').reason == "unknown_version"


def test_a_version_may_be_left_out(kind):
    decode, message = kind
    assert decode(wire(message, version=...)) == decode(wire(message))


# Shapes, ranges and limits: (kind, changes, reason, text in the detail)

AT = "at `$."
WRONG = [
    ("requests", {"seq": ...}, "wrong_shape", "`seq`"),
    ("requests", {"seq": "0"}, "wrong_shape", f"{AT}seq`"),
    ("requests", {"seq": None}, "wrong_shape", f"{AT}seq`"),
    ("requests", {"seq": 1.5}, "wrong_shape", f"{AT}seq`"),
    ("requests", {"seq": True}, "wrong_shape", f"{AT}seq`"),
    ("requests", {"seq": -1}, "wrong_shape", f"{AT}seq`"),
    ("requests", {"seq": MAX_COUNT + 1}, "wrong_shape", f"{AT}seq`"),
    ("requests", {"seq": 10**400}, "wrong_shape", f"{AT}seq`"),
    ("requests", {"pending": -1}, "wrong_shape", f"{AT}pending`"),
    ("requests", {"pending": MAX_LEVEL + 1}, "wrong_shape", f"{AT}pending`"),
    ("requests", {"streaming": MAX_LEVEL + 1}, "wrong_shape", f"{AT}streaming`"),
    ("requests", {"oldest_pending_us": MAX_DURATION_US + 1}, "wrong_shape", f"{AT}oldest_pending_us`"),
    ("requests", {"start_us": MIN_TIME_US - 1}, "wrong_shape", f"{AT}start_us`"),
    ("requests", {"end_us": MAX_TIME_US + 1}, "wrong_shape", f"{AT}end_us`"),
    ("requests", {"end_us": START_US - 1}, "bad_interval", "end_us - start_us is -1;"),
    (
        "requests",
        {"end_us": START_US + MAX_INTERVAL_US + 1},
        "bad_interval",
        f"end_us - start_us is {MAX_INTERVAL_US + 1}",
    ),
    ("requests", {"namespace": 5}, "wrong_shape", f"{AT}namespace`"),
    ("requests", {"namespace": ""}, "bad_identity", "namespace is ''"),
    ("requests", {"endpoint": "a/b"}, "bad_identity", "endpoint is 'a/b'"),
    ("requests", {"replica_id": "-a"}, "bad_identity", "replica_id is '-a'"),
    ("requests", {"boot_id": "a\n"}, "bad_identity", "boot_id is 'a\\n'"),
    ("requests", {"boot_id": "é"}, "bad_identity", "boot_id is 'é'"),
    ("requests", {"boot_id": "x" * 129}, "bad_identity", "...' (129 characters)"),
    ("requests", {"boot_id": "x" * 1_000_000}, "bad_identity", "boot_id is 'xxx"),
    ("requests", {"arrived": None}, "wrong_shape", f"{AT}arrived`"),
    ("requests", {"arrived": []}, "wrong_shape", f"{AT}arrived`"),
    ("requests", {"arrived": {"at_us": [-1]}}, "wrong_shape", f"{AT}arrived.at_us[0]`"),
    ("requests", {"arrived": {"at_us": [0, None]}}, "wrong_shape", f"{AT}arrived.at_us[1]`"),
    ("requests", {"arrived": {"at_us": [MAX_INTERVAL_US + 1]}}, "wrong_shape", f"{AT}arrived.at_us[0]`"),
    ("requests", {"arrived": {"at_us": [10**400]}}, "wrong_shape", f"{AT}arrived.at_us[0]`"),
    ("requests", {"arrived": {"at_us": [1e300]}}, "wrong_shape", f"{AT}arrived.at_us[0]`"),
    (
        "requests",
        {"responded": {"at_us": [0], "wait_us": [-1], "status": [200]}},
        "wrong_shape",
        f"{AT}responded.wait_us[0]`",
    ),
    (
        "requests",
        {"responded": {"at_us": [0], "wait_us": [0], "status": [99]}},
        "wrong_shape",
        f"{AT}responded.status[0]`",
    ),
    (
        "requests",
        {"responded": {"at_us": [0], "wait_us": [0], "status": [600]}},
        "wrong_shape",
        f"{AT}responded.status[0]`",
    ),
    (
        "requests",
        {"responded": {"at_us": [0], "wait_us": [], "status": [200]}},
        "unequal_columns",
        "responded.wait_us has 0 values, responded.at_us has 1",
    ),
    (
        "requests",
        {"responded": {"at_us": [0], "wait_us": [0]}},
        "unequal_columns",
        "responded.status has 0 values, responded.at_us has 1",
    ),
    (
        "requests",
        {"finished": {"at_us": [0], "duration_us": [MAX_DURATION_US + 1], "status": [200]}},
        "wrong_shape",
        f"{AT}finished.duration_us[0]`",
    ),
    (
        "requests",
        {"finished": {"at_us": [], "duration_us": [1], "status": []}},
        "unequal_columns",
        "finished.duration_us has 1 values, finished.at_us has 0",
    ),
    (
        "requests",
        {"finished": {"at_us": [1], "duration_us": [1], "status": []}},
        "unequal_columns",
        "finished.status has 0 values, finished.at_us has 1",
    ),
    (
        "requests",
        {"informational": {"at_us": [1], "status": []}},
        "unequal_columns",
        "informational.status has 0 values, informational.at_us has 1",
    ),
    (
        "requests",
        {"aborted_pending": {"at_us": [1], "age_us": [1, 2]}},
        "unequal_columns",
        "aborted_pending.age_us has 2 values, aborted_pending.at_us has 1",
    ),
    (
        "requests",
        {"aborted_streaming": {"at_us": [], "age_us": [1]}},
        "unequal_columns",
        "aborted_streaming.age_us has 1 values, aborted_streaming.at_us has 0",
    ),
    ("requests", {"arrived": {"at_us": [0] * (MAX_EVENTS + 1)}}, "too_many_events", "100001 events;"),
    ("requests", {"totals": {"arrived": -1}}, "wrong_shape", f"{AT}totals.arrived`"),
    ("requests", {"totals": {"duration_us": MAX_SUM_US + 1}}, "wrong_shape", f"{AT}totals.duration_us`"),
    ("requests", {"totals": {"status": {"teapot": 1}}}, "wrong_shape", "`key` in `$.totals.status`"),
    ("requests", {"totals": {"status": {"0200": 1}}}, "wrong_shape", "`key` in `$.totals.status`"),
    ("requests", {"totals": {"status": {"200\n": 1}}}, "wrong_shape", "`key` in `$.totals.status`"),
    ("requests", {"totals": {"status": {"٢٠٠": 1}}}, "wrong_shape", "`key` in `$.totals.status`"),
    ("requests", {"totals": {"status": {"600": 1}}}, "wrong_shape", "`key` in `$.totals.status`"),
    ("requests", {"totals": {"status": {"200": -1}}}, "wrong_shape", f"{AT}totals.status[...]`"),
    ("requests", {"totals": {"dropped": {"Not A Word": 1}}}, "wrong_shape", "`key` in `$.totals.dropped`"),
    ("requests", {"totals": {"dropped": {"x" * 64: 1}}}, "wrong_shape", "`key` in `$.totals.dropped`"),
    (
        "requests",
        {"totals": {"dropped_batches": {f"reason_{i}": 1 for i in range(MAX_DROP_REASONS + 1)}}},
        "wrong_shape",
        f"{AT}totals.dropped_batches`",
    ),
    ("engine", {"at_us": [1_000_001], "readings": {}}, "out_of_interval", "at_us holds 1000001;"),
    ("engine", {"end_us": START_US - 1}, "bad_interval", "end_us - start_us is -1;"),
    ("engine", {"replica_id": "a b"}, "bad_identity", "replica_id is 'a b'"),
    ("engine", {"engine": "v LLM"}, "wrong_shape", f"{AT}engine`"),
    ("engine", {"readings": {"cpu_percent": [1]}}, "wrong_shape", "`key` in `$.readings`"),
    ("engine", {"readings": {"engine_x": [1, 2]}}, "unequal_columns", "readings.engine_x has 2 values"),
    (
        "engine",
        {"readings": {f"engine_{i}": [1] for i in range(MAX_METRICS + 1)}},
        "wrong_shape",
        f"{AT}readings`",
    ),
    ("hardware", {"at_us": ...}, "wrong_shape", "`at_us`"),
    ("hardware", {"at_us": [-1]}, "wrong_shape", f"{AT}at_us[0]`"),
    (
        "hardware",
        {"at_us": [1_000_001]},
        "out_of_interval",
        "at_us holds 1000001; the interval is 1000000 long",
    ),
    ("hardware", {"at_us": [0] * (MAX_SAMPLES + 1)}, "wrong_shape", f"{AT}at_us`"),
    ("hardware", {"end_us": START_US - 1}, "bad_interval", "end_us - start_us is -1;"),
    ("hardware", {"replica_id": "a b"}, "bad_identity", "replica_id is 'a b'"),
    (
        "hardware",
        {"replica": {"cpu_percent": [1.0, 2.0]}},
        "unequal_columns",
        "replica.cpu_percent has 2 values, replica.at_us has 1",
    ),
    ("hardware", {"replica": {"cpu_percent": ["1"]}}, "wrong_shape", f"{AT}replica[...][0]`"),
    ("hardware", {"replica": {"cpu_percent": [1.1e15]}}, "wrong_shape", f"{AT}replica[...][0]`"),
    ("hardware", {"replica": {"cpu_percent": [-(10**400)]}}, "wrong_shape", f"{AT}replica[...][0]`"),
    ("hardware", {"replica": {"CPU %": [1]}}, "wrong_shape", "`key` in `$.replica`"),
    ("hardware", {"replica": {"cpu_percent\n": [1]}}, "wrong_shape", "`key` in `$.replica`"),
    ("hardware", {"replica": {f"m{i}": [1] for i in range(MAX_METRICS + 1)}}, "wrong_shape", f"{AT}replica`"),
    (
        "hardware",
        {"accelerators": [{"device": "gpu0", "readings": {"gpu_percent": []}}]},
        "unequal_columns",
        "gpu0.gpu_percent has 0 values, gpu0.at_us has 1",
    ),
    (
        "hardware",
        {"accelerators": [{"device": "gpu0\n", "readings": {}}]},
        "wrong_shape",
        f"{AT}accelerators[0].device`",
    ),
    (
        "hardware",
        {"accelerators": [{"device": "gpu0", "readings": {}, "name": "x" * 129}]},
        "wrong_shape",
        f"{AT}accelerators[0].name`",
    ),
    (
        "hardware",
        {"accelerators": [{"device": f"gpu{i}", "readings": {}} for i in range(MAX_DEVICES + 1)]},
        "wrong_shape",
        "65 accelerators; the limit per batch is 64",
    ),
    (
        "hardware",
        {"accelerators": [{"device": "gpu0", "readings": {}}] * 2},
        "wrong_shape",
        "accelerators contains gpu0 twice",
    ),
    ("state", {"type": ...}, "wrong_shape", "`type`"),
    ("state", {"type": "rumour"}, "wrong_shape", f"{AT}type`"),
    ("state", {"state": "asleep"}, "wrong_shape", f"{AT}state`"),
    ("state", {"at_us": 0}, "wrong_shape", f"{AT}at_us`"),
    ("state", {"replica_id": ""}, "bad_identity", "replica_id is ''"),
    ("state", {"reason": "x" * (MAX_REASON_LENGTH + 1)}, "wrong_shape", f"{AT}reason`"),
    ("settings", {"endpoint": ".."}, "bad_identity", "endpoint is '..'"),
    ("settings", {"min_replicas": -1}, "wrong_shape", f"{AT}min_replicas`"),
    ("settings", {"max_replicas": MAX_REPLICAS + 1}, "wrong_shape", f"{AT}max_replicas`"),
    ("settings", {"min_replicas": 5}, "wrong_shape", "min_replicas is 5, more than max_replicas (4)"),
]


@pytest.mark.parametrize(("name", "changes", "reason", "shown"), WRONG, ids=lambda value: str(value)[:48])
def test_what_is_wrong_is_named(name, changes, reason, shown):
    decode, message = KINDS[name]
    error = refusal(decode, wire(message, **changes))
    assert error.reason == reason
    assert shown in error.detail


RIGHT = [
    ("requests", {"seq": MAX_COUNT}),
    ("requests", {"pending": MAX_LEVEL, "streaming": MAX_LEVEL}),
    ("requests", {"end_us": START_US}),
    ("requests", {"end_us": START_US + MAX_INTERVAL_US}),
    ("requests", {"start_us": MIN_TIME_US, "end_us": MIN_TIME_US}),
    ("requests", {"start_us": MAX_TIME_US, "end_us": MAX_TIME_US}),
    ("requests", {"boot_id": "x" * 128}),
    ("requests", {"boot_id": "a..b_-c"}),
    ("requests", {"arrived": {"at_us": [0] * MAX_EVENTS}}),
    ("requests", {"finished": {"at_us": [0], "duration_us": [MAX_DURATION_US], "status": [599]}}),
    ("requests", {"totals": {"wait_us": MAX_SUM_US, "status": {"100": MAX_COUNT, "599": 0}}}),
    ("requests", {"totals": {"dropped": {f"r{i}": 1 for i in range(MAX_DROP_REASONS)}}}),
    ("engine", {"engine": ""}),
    ("engine", {"readings": {"engine_running_requests": [None]}}),
    ("hardware", {"at_us": [1_000_000]}),
    ("hardware", {"at_us": [0] * MAX_SAMPLES}),
    ("hardware", {"replica": {"cpu_percent": [None]}}),
    ("hardware", {"replica": {"cpu_percent": [-1e15]}}),
    ("hardware", {"accelerators": [{"device": f"gpu{i}", "readings": {}} for i in range(MAX_DEVICES)]}),
    ("state", {"reason": "x" * MAX_REASON_LENGTH}),
    ("settings", {"min_replicas": 0, "max_replicas": 0}),
    ("settings", {"max_replicas": MAX_REPLICAS}),
]


@pytest.mark.parametrize(("name", "changes"), RIGHT, ids=lambda value: str(value)[:48])
def test_values_at_a_limit_are_accepted(name, changes):
    decode, message = KINDS[name]
    decode(wire(message, **changes))


@pytest.mark.parametrize("field", ["version", "state", "type"])
def test_a_quoted_message_is_cut(field):
    error = refusal(decode_replicas, wire(STATE, **{field: "x" * 1_000_000}))
    assert len(error.detail) == MAX_DETAIL_LENGTH
    assert error.detail.endswith("...")
