"""For any bytes, decoding returns a message or raises InvalidMessageError, and nothing else."""

import json

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.schemas.messages import ENGINE, HARDWARE, REQUESTS, SETTINGS, STATE, wire

from endpoint_analytics.schemas.codec import (
    decode_engine,
    decode_hardware,
    decode_replicas,
    decode_requests,
    encode,
)
from endpoint_analytics.schemas.errors import InvalidMessageError
from endpoint_analytics.schemas.limits import MAX_DETAIL_LENGTH

DECODERS = {
    "requests": decode_requests,
    "hardware": decode_hardware,
    "engine": decode_engine,
    "replicas": decode_replicas,
}
FULL = {
    "requests": wire(
        REQUESTS,
        arrived={"at_us": [1]},
        responded={"at_us": [1], "wait_us": [2], "status": [200]},
        totals={"status": {"200": 1}, "dropped": {"full": 1}},
    ),
    "hardware": wire(
        HARDWARE,
        replica={"cpu_percent": [1.5]},
        accelerators=[{"device": "gpu0", "readings": {"gpu_percent": [None]}, "uuid": "u", "name": "n"}],
    ),
    "engine": wire(ENGINE, readings={"engine_running_requests": [1.5]}),
    "replicas": wire(STATE, reason="ready"),
    "settings": wire(SETTINGS),
}

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(10**40), 10**40)
    | st.floats()
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)


def decode_or_refuse(decode, data):
    try:
        message = decode(data)
    except InvalidMessageError as refusal:
        error = refusal
    else:
        assert decode(encode(message)) == message
        return
    assert len(error.detail) <= MAX_DETAIL_LENGTH
    orjson.dumps(error.detail)  # the detail can be encoded and sent


@given(data=st.binary(max_size=200))
@pytest.mark.parametrize("decode", DECODERS.values(), ids=DECODERS)
def test_any_bytes(decode, data):
    decode_or_refuse(decode, data)


@given(value=json_values)
@pytest.mark.parametrize("decode", DECODERS.values(), ids=DECODERS)
def test_any_json(decode, value):
    decode_or_refuse(decode, json.dumps(value).encode())


@settings(max_examples=300)
@given(data=st.data())
@pytest.mark.parametrize("name", FULL)
def test_any_change_of_a_member(name, data):
    message = json.loads(FULL[name])
    member = data.draw(st.sampled_from(sorted(message)))
    inside = message[member]
    if isinstance(inside, dict) and inside and data.draw(st.booleans()):
        inside[data.draw(st.sampled_from(sorted(inside)))] = data.draw(json_values)
    else:
        message[member] = data.draw(json_values)
    decode_or_refuse(DECODERS.get(name, decode_replicas), json.dumps(message).encode())


@settings(max_examples=300)
@given(data=st.data())
@pytest.mark.parametrize("name", FULL)
def test_any_damage_to_the_bytes(name, data):
    wire_bytes = bytearray(FULL[name])
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(wire_bytes) - 1))
        cut = data.draw(st.integers(0, 3))
        wire_bytes[place : place + cut] = data.draw(st.binary(max_size=3))
        if not wire_bytes:
            break
    decode_or_refuse(DECODERS.get(name, decode_replicas), bytes(wire_bytes))
