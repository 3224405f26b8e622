"""Pressure: the fraction of time in which some of the replica's tasks waited for a CPU, or for memory.

For the control group under version 2, else for the machine. Kernels without pressure stall information report nothing.
Format: docs.kernel.org/accounting/psi.html.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from endpoint_analytics.agents.hardware.cgroup import OwnCgroup
from endpoint_analytics.agents.hardware.reading import Delta, HardwareReading
from endpoint_analytics.schemas.metrics import CPU_PRESSURE_RATIO, MEMORY_PRESSURE_RATIO, HardwareMetric

MACHINE = Path("/proc/pressure")

_RESOURCES: tuple[tuple[HardwareMetric, str], ...] = (
    (CPU_PRESSURE_RATIO, "cpu"),
    (MEMORY_PRESSURE_RATIO, "memory"),
)


@dataclass(slots=True)
class PressureCollector:
    """Reads the process's control group. `machine` is for tests."""

    own: OwnCgroup = field(default_factory=OwnCgroup)
    machine: Path = MACHINE
    _waited_us: dict[str, Delta] = field(default_factory=lambda: {name: Delta() for _, name in _RESOURCES})
    _at_ns: Delta = field(default_factory=Delta)

    def collect(self, at_ns: int) -> HardwareReading:
        """Return `cpu_pressure_ratio` and `memory_pressure_ratio`, 0 to 1; None for the first sample."""
        group, elapsed_ns = self.own.read().pressure, self._at_ns.since_last(at_ns)
        readings: dict[str, float | None] = {}
        for metric, name in _RESOURCES:
            path = self.machine / name if group is None else group.own / f"{name}.pressure"
            total_us = parse_some_us(self.own.files.text(path) or "")
            waited_us = self._waited_us[name].since_last(total_us, path)
            readings[metric.name] = None
            if waited_us is not None and elapsed_ns:
                readings[metric.name] = round(min(waited_us * 1_000 / elapsed_ns, 1.0), 6)
        return HardwareReading(replica=readings)


def parse_some_us(text: str) -> int | None:
    """Return the total in microseconds from the line `some avg10=0.00 avg60=0.00 avg300=0.00 total=12345`."""
    for line in text.splitlines():
        kind, *pairs = line.split() or [""]
        for pair in pairs if kind == "some" else ():
            name, _, value = pair.partition("=")
            if name == "total" and value.isdecimal():
                return int(value)
    return None
