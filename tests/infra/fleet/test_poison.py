"""Each kind of unusable message is rejected, for the reason in its table."""

from __future__ import annotations

import random

import pytest

from endpoint_analytics.infra.fleet.boot import SimulatedBoot
from endpoint_analytics.infra.fleet.config import FleetConfig
from endpoint_analytics.infra.fleet.poison import KINDS, TOO_LARGE, poison
from endpoint_analytics.infra.fleet.truth import BootName
from endpoint_analytics.schemas.codec import decode_requests
from endpoint_analytics.schemas.errors import InvalidMessageError

FOUND_BY_THE_FOLD = {"out_of_interval", "not_conserved", "too_late", "too_early"}


@pytest.mark.parametrize("kind", [*KINDS, TOO_LARGE])
def test_poison_is_refused_for_the_reason_it_names(kind: str) -> None:
    boot = SimulatedBoot(
        BootName("tests", "llm", "llm-0", "boot-0"), FleetConfig(), random.Random(1), 1_790_000_000_000_000
    )
    made = poison(kind, boot.batch(boot.end_us + 1_000_000)[0])
    if made.reason in FOUND_BY_THE_FOLD:
        assert decode_requests(made.value).boot_id == "poison-boot-0"
        return
    with pytest.raises(InvalidMessageError) as refused:
        decode_requests(made.value)
    assert refused.value.reason == made.reason
