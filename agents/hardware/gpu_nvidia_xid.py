"""Critical errors (XID) that the driver reports as events: how many per GPU since the previous read.

docs.nvidia.com/deploy/xid-errors explains the numbers; each error is logged with its number.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Mapping
from typing import Any

logger = logging.getLogger("endpoint_analytics")

MAX_EVENTS_PER_READ = 64


class XidEvents:
    """The error events of the GPUs in `handles`, by device; GPUs without events are left out."""

    def __init__(self, handles: Mapping[str, Any]) -> None:
        import pynvml

        self._set: Any = None
        self._devices: dict[int, str] = {}
        try:
            self._set = pynvml.nvmlEventSetCreate()
        except pynvml.NVMLError:
            return
        for device, handle in handles.items():
            try:
                pynvml.nvmlDeviceRegisterEvents(handle, pynvml.nvmlEventTypeXidCriticalError, self._set)
            except pynvml.NVMLError:
                continue
            self._devices[_address(handle)] = device

    def read(self) -> dict[str, int]:
        """Return device -> errors since the previous call, without waiting."""
        import pynvml

        counts = dict.fromkeys(self._devices.values(), 0)
        for _ in range(MAX_EVENTS_PER_READ if self._devices else 0):
            try:
                event = pynvml.nvmlEventSetWait(self._set, 0)
            except pynvml.NVMLError:  # no event is pending
                break
            device = self._devices.get(_address(event.device))
            if device is not None:
                counts[device] += 1
                logger.warning(
                    "%s: the NVIDIA driver reports a critical error, XID %d", device, event.eventData
                )
        return counts

    def close(self) -> None:
        """Free the library's event set."""
        import pynvml

        if self._set is not None:
            try:
                pynvml.nvmlEventSetFree(self._set)
            except pynvml.NVMLError:
                logger.debug("the event set could not be freed")
            self._set = None


def _address(handle: Any) -> int:
    return ctypes.cast(handle, ctypes.c_void_p).value or 0
