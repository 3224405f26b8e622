"""What clients send: a mix of good, slow, invalid and broken requests. Pure: a seed always gives the same mix."""

from __future__ import annotations

import random
import string
from dataclasses import dataclass
from typing import Literal

from endpoint_analytics.infra.local.demo.app import MAX_BODY_BYTES, PART_END

Leaves = Literal["never", "before the status", "in the stream"]


@dataclass(frozen=True, slots=True)
class Plan:
    """One request. The body is sent in pieces, `gap_s` apart, and the client may disconnect after `patience_s`."""

    kind: str
    method: str
    path: str
    pieces: tuple[bytes, ...] = ()
    gap_s: float = 0.0
    leaves: Leaves = "never"
    patience_s: float = 0.0


WEIGHTS = {
    "predict": 0.817,
    "slow upload": 0.03,
    "stream": 0.05,
    "heavy": 0.008,
    "health": 0.03,
    "redirect": 0.015,
    "empty": 0.012,
    "unknown path": 0.012,
    "too large": 0.002,
    "bad setting": 0.006,
    "broken archive": 0.002,
    "leaves early": 0.008,
    "leaves late": 0.008,
}

_LINES = {
    "python": "def f_{w}(x):\n    return [y * {n} for y in x if y > {n}]\n",
    "json": '{{"name": "{w}", "value": {n}, "tags": ["{w}", "b"]}}\n',
    "html": "<html><body><div class='{w}'><p>Item {n}</p></div></body></html>\n",
    "sql": "SELECT {w}, count(*) FROM t{n} WHERE {w} > {n} GROUP BY {w};\n",
    "shell": '#!/bin/sh\nset -eu\nfor f in *.{w}; do echo "$f" | head -n {n}; done\n',
    "csv": "id,{w},amount\n1,{w},{n}\n2,x,{n}\n",
    "text": "The {w} of the house was {n} years old when we came to live there.\n",
}


def content(rng: random.Random, lines: int | None = None) -> bytes:
    """Return file content of a random type."""
    form = _LINES[rng.choice(sorted(_LINES))]
    count = lines or rng.randint(4, 40)
    word = "".join(rng.choices(string.ascii_lowercase, k=6))
    return "".join(form.format(w=word, n=rng.randint(1, 999)) for _ in range(count)).encode()


def choose(rng: random.Random) -> Plan:
    """Return a random request, by WEIGHTS."""
    kind = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
    return plan(kind, rng)


def plan(kind: str, rng: random.Random) -> Plan:
    """Return a request of a kind from WEIGHTS."""
    match kind:
        case "slow upload":
            count = rng.randint(2, 5)
            pieces = tuple(content(rng, 4) for _ in range(count))
            return Plan(kind, "POST", "/predict", pieces, rng.uniform(0.05, 0.3))
        case "stream":
            pieces = tuple(content(rng, 6) + PART_END for _ in range(rng.randint(3, 8)))
            return Plan(kind, "POST", "/predict/stream", pieces, rng.uniform(0.1, 0.7))
        case "heavy":
            return Plan(kind, "POST", "/predict/stream", (_parts(rng, rng.randint(10, 40)),))
        case "health":
            return Plan(kind, "GET", "/health")
        case "redirect":
            return Plan(kind, "GET", "/")
        case "empty":
            return Plan(kind, "POST", "/predict")
        case "unknown path":
            return Plan(kind, "GET", rng.choice(("/docs", "/v1/predict", "/favicon.ico")))
        case "too large":
            return Plan(kind, "POST", "/predict", (bytes(MAX_BODY_BYTES + 1),))
        case "bad setting":
            return Plan(kind, "POST", "/predict?min_score=high", (content(rng),))
        case "broken archive":
            return Plan(kind, "POST", "/predict", (b"PK\x03\x04\x14\x00" + rng.randbytes(600),))
        case "leaves early":
            pieces = tuple(content(rng, 2) for _ in range(6))
            return Plan(kind, "POST", "/predict", pieces, 0.5, "before the status", rng.uniform(0.2, 2.0))
        case "leaves late":
            pieces = tuple(content(rng, 2) + PART_END for _ in range(8))
            return Plan(kind, "POST", "/predict/stream", pieces, 0.5, "in the stream", rng.uniform(0.6, 2.5))
    return Plan(kind, "POST", "/predict", (content(rng),))


def _parts(rng: random.Random, count: int) -> bytes:
    return b"".join(content(rng, 3) + PART_END for _ in range(count))
