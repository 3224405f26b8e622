"""Network: bytes received and sent since the sample before, over all interfaces but the loopback."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import psutil

from endpoint_analytics.agents.hardware.reading import Delta, Reading
from endpoint_analytics.schemas.metrics import NETWORK_RECEIVED_BYTES, NETWORK_SENT_BYTES


class InterfaceCounters(Protocol):
    """What the system counts of one interface since it came up."""

    @property
    def bytes_recv(self) -> int:
        """Bytes received."""
        ...

    @property
    def bytes_sent(self) -> int:
        """Bytes sent."""
        ...


@dataclass(slots=True)
class NetworkCollector:
    """A container sees its own interfaces only, so that these are the replica's bytes."""

    _received: Delta = field(default_factory=Delta)
    _sent: Delta = field(default_factory=Delta)

    def collect(self, at_ns: int) -> Reading:  # noqa: ARG002  # the Collector's signature
        """Return `network_received_bytes` and `network_sent_bytes`; None at the first sample."""
        received, sent = add_up(psutil.net_io_counters(pernic=True, nowrap=True))
        return Reading(
            replica={
                NETWORK_RECEIVED_BYTES.name: self._received.since_last(received),
                NETWORK_SENT_BYTES.name: self._sent.since_last(sent),
            }
        )


def add_up(interfaces: Mapping[str, InterfaceCounters]) -> tuple[int, int]:
    """Return the bytes received and sent of all interfaces but the loopback (`lo`, `lo0`)."""
    counted = [counters for name, counters in interfaces.items() if name not in {"lo", "lo0"}]
    return sum(c.bytes_recv for c in counted), sum(c.bytes_sent for c in counted)
