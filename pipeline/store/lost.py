"""How much a boot has lost: the arithmetic of its reasons. Pure, and the same for every outlet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

MISSING = "missing"
"""The reason of requests in batches that never came, where the agent gave none up."""
SEVERAL = "several"
"""The reason of requests in lost batches that were lost for more than one: which had how many is not known."""


@dataclass(frozen=True, slots=True)
class Lost:
    """Requests by reason, those in lost batches included, and the batches. Differences may be negative."""

    reasons: Mapping[str, int]
    batches: int

    @property
    def requests(self) -> int:
        """All of them."""
        return sum(self.reasons.values())

    def since(self, before: Lost) -> Lost:
        """Return what was lost after `before`."""
        names = sorted({*self.reasons, *before.reasons})
        reasons = {name: self.reasons.get(name, 0) - before.reasons.get(name, 0) for name in names}
        return Lost({name: count for name, count in reasons.items() if count}, self.batches - before.batches)

    def less(self, owed: Lost) -> tuple[Lost, Lost]:
        """Take off what was found after all; returns what stays lost, and what is still to be taken off before it."""
        rest = self.since(owed)
        stays = Lost({name: count for name, count in rest.reasons.items() if count > 0}, max(rest.batches, 0))
        return stays, stays.since(rest)


def lost_of(
    dropped: Mapping[str, int], dropped_batches: Mapping[str, int], missing: int, uncounted: int
) -> Lost:
    """Return what a boot has lost.

    `dropped` are requests that the agent could not record, `dropped_batches` batches that it gave up, by reason;
    `missing` batches below the newest have not come, and `uncounted` requests are in the agent's total and not in ours.
    """
    reasons = {reason: count for reason, count in dropped.items() if count}
    given_up = [reason for reason, count in dropped_batches.items() if count]
    if uncounted > 0 and missing > 0:
        reason = MISSING if not given_up else given_up[0] if len(given_up) == 1 else SEVERAL
        reasons[reason] = reasons.get(reason, 0) + uncounted
    return Lost(reasons, missing)
