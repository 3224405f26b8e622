"""Network: bytes received and sent since the previous sample, on all interfaces except loopback, each byte once."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import psutil

from endpoint_analytics.agents.hardware.reading import Delta, HardwareReading
from endpoint_analytics.agents.hardware.stacked_devices import NETWORK, counted_interfaces, read_interfaces
from endpoint_analytics.schemas.metrics import NETWORK_RECEIVED_BYTES, NETWORK_SENT_BYTES

LOOK_EVERY_NS = 10_000_000_000
"""How often the stacking of interfaces is looked up; also whenever the set of interfaces changes."""


class InterfaceCounters(Protocol):
    """The system's counters of one interface since it came up."""

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
    """A container sees only its own interfaces, so these are the replica's bytes. `root` is for tests."""

    root: Path = NETWORK
    _received: Delta = field(default_factory=Delta)
    _sent: Delta = field(default_factory=Delta)
    _names: frozenset[str] = frozenset()
    _counted: frozenset[str] = frozenset()
    _looked_ns: int = 0

    def collect(self, at_ns: int) -> HardwareReading:
        """Return `network_received_bytes` and `network_sent_bytes`; None for the first sample."""
        interfaces = psutil.net_io_counters(pernic=True, nowrap=True)
        if self._names != interfaces.keys() or at_ns - self._looked_ns >= LOOK_EVERY_NS:
            self._names, self._looked_ns = frozenset(interfaces), at_ns
            self._counted = counted_interfaces(read_interfaces(self._names, self.root))
        received, sent = add_up(interfaces, self._counted)
        return HardwareReading(
            replica={
                NETWORK_RECEIVED_BYTES.name: self._received.since_last(received, self._counted),
                NETWORK_SENT_BYTES.name: self._sent.since_last(sent, self._counted),
            }
        )


def add_up(interfaces: Mapping[str, InterfaceCounters], counted: Collection[str]) -> tuple[int, int]:
    """Return the bytes received and sent on the counted interfaces."""
    found = [counters for name, counters in interfaces.items() if name in counted]
    return sum(c.bytes_recv for c in found), sum(c.bytes_sent for c in found)
