"""Reads a JSON answer that is not streamed: holds its pieces, and decodes the usage and the model once it has ended.

An answer longer than MAX_ANSWER_BYTES is given up, and nothing of it is held. It never raises.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec

from endpoint_analytics.agents.outcome.body_facts import BodyFacts
from endpoint_analytics.agents.outcome.engine_events import TgiDetails, llama_cpp_usage, ollama_usage
from endpoint_analytics.agents.outcome.event_facts import UNREADABLE, Junk, plausible_model
from endpoint_analytics.agents.outcome.usage import UsageMembers, read_usage, usage_of_timings

MAX_ANSWER_BYTES = 1024 * 1024
"""Longer answers, such as large embeddings, are not read."""

MAX_PIECES = 1_024
"""So many pieces are joined into one, since each costs memory beside its bytes."""


class _Answer(msgspec.Struct, frozen=True, gc=False):
    """The members of the answers of all APIs that have counts in them."""

    model: Any = None
    usage: UsageMembers | Junk = None
    prompt_eval_count: Any = None  # Ollama
    eval_count: Any = None
    details: TgiDetails | Junk = None  # TGI
    tokens_evaluated: Any = None  # llama.cpp
    tokens_predicted: Any = None
    timings: Any = None


_decode = msgspec.json.Decoder(_Answer).decode


class AnswerReader:
    """Reads one answer. `report` is called with an exception that is a bug of ours."""

    __slots__ = ("_body_bytes", "_first_byte_ns", "_gave_up", "_pieces", "_report")

    def __init__(self, report: Callable[[Exception], None]) -> None:
        self._report = report
        self._pieces: list[bytes] = []
        self._gave_up = False
        self._body_bytes = 0
        self._first_byte_ns: int | None = None

    def read(self, piece: bytes, at_ns: int) -> None:
        """Hold a piece of the body that was sent at `at_ns`; raises nothing."""
        try:
            if not piece:
                return
            if self._first_byte_ns is None:
                self._first_byte_ns = at_ns
            self._body_bytes += len(piece)
            if self._gave_up:
                return
            if self._body_bytes > MAX_ANSWER_BYTES:
                self._gave_up = True
                self._pieces = []
                return
            # What is no bytes may be filled anew by its owner.
            self._pieces.append(piece if type(piece) is bytes else memoryview(piece).tobytes())
            if len(self._pieces) >= MAX_PIECES:
                self._pieces = [b"".join(self._pieces)]
        except Exception as error:  # noqa: BLE001  # a bug of ours
            self._give_up(error)

    def end(self) -> BodyFacts:
        """Return the facts, once the body has ended or broken off; raises nothing."""
        try:
            answer = self._decode()
        except Exception as error:  # noqa: BLE001  # a bug of ours
            self._give_up(error)
            answer = _Answer()
        return BodyFacts(
            streamed=False,
            body_bytes=self._body_bytes,
            first_byte_ns=self._first_byte_ns,
            usage=read_usage(_usage(answer)),
            model=plausible_model(answer.model),
        )

    @property
    def held_bytes(self) -> int:
        """The bytes of the pieces that are held."""
        return sum(len(piece) for piece in self._pieces)

    def _decode(self) -> _Answer:
        body, self._pieces = b"".join(self._pieces), []
        try:
            return _decode(body)
        except UNREADABLE:
            return _Answer()

    def _give_up(self, error: Exception) -> None:
        self._gave_up = True
        self._pieces = []
        with suppress(Exception):
            self._report(error)


def _usage(answer: _Answer) -> UsageMembers | None:
    if isinstance(answer.usage, UsageMembers):
        return answer.usage
    if isinstance(answer.details, TgiDetails):
        return answer.details.usage()
    if answer.prompt_eval_count is not None or answer.eval_count is not None:
        return ollama_usage(answer.prompt_eval_count, answer.eval_count)
    counts = llama_cpp_usage(answer.tokens_evaluated, answer.tokens_predicted, answer.timings)
    return counts or usage_of_timings(answer.timings)
