"""How much a boot has lost: the arithmetic of losses by reason. Pure, and the same for every outlet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

MISSING = "missing"
"""The reason for requests in batches that never arrived, if the agent gave up none."""
SEVERAL = "several"
"""The reason for requests in batches lost for more than one reason: the number for each reason is unknown."""


@dataclass(frozen=True, slots=True)
class LossCounts:
    """Requests by reason, including those in lost batches, and the batches. Differences may be negative."""

    reasons: Mapping[str, int]
    batches: int

    @property
    def requests(self) -> int:
        """Return the number of requests."""
        return sum(self.reasons.values())

    def since(self, before: LossCounts) -> LossCounts:
        """Return what was lost after `before`."""
        names = sorted({*self.reasons, *before.reasons})
        reasons = {name: self.reasons.get(name, 0) - before.reasons.get(name, 0) for name in names}
        return LossCounts(
            {name: count for name, count in reasons.items() if count}, self.batches - before.batches
        )

    def without(self, recovered: LossCounts) -> tuple[LossCounts, LossCounts]:
        """Subtract late arrivals; returns what stays lost, and the remainder to subtract from earlier losses."""
        rest = self.since(recovered)
        stays = LossCounts(
            {name: count for name, count in rest.reasons.items() if count > 0}, max(rest.batches, 0)
        )
        return stays, stays.since(rest)


def count_losses(
    dropped: Mapping[str, int], dropped_batches: Mapping[str, int], missing: int, uncounted: int
) -> LossCounts:
    """Return what a boot has lost.

    `dropped` counts requests that the agent could not record and `dropped_batches` batches that it gave up, by reason.
    `missing` counts batches before the newest that have not arrived, `uncounted` requests in the agent's total but not
    in ours.
    """
    reasons = {reason: count for reason, count in dropped.items() if count}
    given_up = [reason for reason, count in dropped_batches.items() if count]
    if uncounted > 0 and missing > 0:
        reason = MISSING if not given_up else given_up[0] if len(given_up) == 1 else SEVERAL
        reasons[reason] = reasons.get(reason, 0) + uncounted
    return LossCounts(reasons, missing)
