"""The documents describe what the codec accepts: up to date, valid, complete, and correct for real messages."""

import json

import pytest
from hypothesis import given
from jsonschema import Draft202012Validator
from tests.pipeline.core.outcome_batches import outcome_batches
from tests.schemas.messages import (
    ENGINE,
    HARDWARE,
    REQUESTS,
    SETTINGS,
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
    decode_outcomes,
    decode_replicas,
    decode_requests,
    decode_signal,
    encode,
)
from endpoint_analytics.schemas.documents import DIRECTORY, documents, main, schema_document
from endpoint_analytics.schemas.errors import InvalidMessageError
from endpoint_analytics.schemas.message_schemas import MESSAGES

NAMED = {message.name: message for message in MESSAGES}
STRATEGIES = {
    "request_batch": request_batches(),
    "hardware_batch": hardware_batches(),
    "engine_batch": engine_batches(),
    "outcome_batch": outcome_batches(),
    "replica_state": replica_states,
    "endpoint_settings": endpoint_settings(),
    "rejected": rejected,
    "autoscaling_signal": autoscaling_signals,
}
DECODERS = {
    "request_batch": decode_requests,
    "hardware_batch": decode_hardware,
    "engine_batch": decode_engine,
    "outcome_batch": decode_outcomes,
    "replica_state": decode_replicas,
    "endpoint_settings": decode_replicas,
    "autoscaling_signal": decode_signal,
}
VALIDATORS = {message.name: Draft202012Validator(schema_document(message)) for message in MESSAGES}
EACH = pytest.mark.parametrize("name", VALIDATORS)


def test_the_files_are_current():
    """If not, run: python -m endpoint_analytics.schemas.documents"""
    assert {path.name: path.read_bytes() for path in DIRECTORY.glob("*.json")} == documents()


def test_writing_replaces_what_is_old(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("endpoint_analytics.schemas.documents.DIRECTORY", tmp_path / "json")
    main()
    (tmp_path / "json" / "gone.json").write_text("{}")
    main()
    assert {path.name: path.read_bytes() for path in (tmp_path / "json").iterdir()} == documents()
    assert capsys.readouterr().out.count("wrote ") == 2 * len(documents())


@EACH
def test_a_schema_is_a_schema(name):
    Draft202012Validator.check_schema(schema_document(NAMED[name]))


@EACH
def test_every_member_is_described(name):
    for definition in schema_document(NAMED[name])["$defs"].values():
        assert definition["description"]
        for member, schema in definition["properties"].items():
            assert schema["description"], member


@EACH
def test_members_with_a_unit_name_it(name):
    units = {"_us": "microseconds", "_ms": "milliseconds", "_bytes": "bytes"}
    for definition in schema_document(NAMED[name])["$defs"].values():
        for member, schema in definition["properties"].items():
            for suffix, unit in units.items():
                if member.endswith(suffix):
                    assert unit in schema["description"], member


@EACH
def test_real_messages_are_valid(name):
    @given(STRATEGIES[name])
    def holds(message):
        VALIDATORS[name].validate(json.loads(encode(message)))

    holds()


@EACH
def test_the_example_is_valid_and_decodes(name):
    message = NAMED[name]
    VALIDATORS[name].validate(json.loads(encode(message.example)))
    if name in DECODERS:
        assert DECODERS[name](encode(message.example)) == message.example


PLAIN = {
    "request_batch": REQUESTS,
    "hardware_batch": HARDWARE,
    "engine_batch": ENGINE,
    "replica_state": STATE,
    "endpoint_settings": SETTINGS,
}
WRONG = [
    ("request_batch", {"version": 2}),
    ("request_batch", {"seq": -1}),
    ("request_batch", {"seq": "1"}),
    ("request_batch", {"seq": ...}),
    ("request_batch", {"namespace": ""}),
    ("request_batch", {"namespace": "a/b"}),
    ("request_batch", {"boot_id": "b\n"}),
    ("request_batch", {"replica_id": "x" * 129}),
    ("request_batch", {"start_us": 5}),
    ("request_batch", {"pending": 10**9}),
    ("request_batch", {"arrived": {"at_us": [-1]}}),
    ("request_batch", {"responded": {"at_us": [1], "wait_us": [1], "status": [99]}}),
    ("request_batch", {"finished": {"at_us": [1], "duration_us": [10**12], "status": [200]}}),
    ("request_batch", {"totals": {"status": {"ok": 1}}}),
    ("request_batch", {"totals": {"dropped": {"Because": 1}}}),
    ("engine_batch", {"at_us": ...}),
    ("engine_batch", {"engine": "v LLM"}),
    ("engine_batch", {"readings": {"cpu_percent": [1]}}),
    ("hardware_batch", {"at_us": ...}),
    ("hardware_batch", {"at_us": [0] * 3_601}),
    ("hardware_batch", {"replica": {"CPU": [1]}}),
    ("hardware_batch", {"replica": {"cpu_percent": ["1"]}}),
    ("hardware_batch", {"replica": {"cpu_percent": [1e16]}}),
    ("hardware_batch", {"accelerators": [{"device": "GPU 0", "readings": {}}]}),
    ("replica_state", {"type": "endpoint_settings"}),
    ("replica_state", {"state": "asleep"}),
    ("replica_state", {"reason": "x" * 257}),
    ("endpoint_settings", {"max_replicas": ...}),
    ("endpoint_settings", {"min_replicas": -1}),
]


@pytest.mark.parametrize(("name", "changes"), WRONG, ids=lambda value: str(value)[:48])
def test_the_schema_and_the_codec_refuse_the_same(name, changes):
    data = wire(PLAIN[name], **changes)
    assert VALIDATORS[name].is_valid(json.loads(wire(PLAIN[name])))
    assert not VALIDATORS[name].is_valid(json.loads(data))
    with pytest.raises(InvalidMessageError):
        DECODERS[name](data)
