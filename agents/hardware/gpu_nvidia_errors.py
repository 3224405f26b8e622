"""Critical errors (XID) that the driver tells as events: how many of each GPU since the look before.

docs.nvidia.com/deploy/xid-errors explains the numbers; each is logged with its own.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Mapping
from typing import Any

logger = logging.getLogger("endpoint_analytics")

MOST_AT_ONCE = 64


class XidEvents:
    """Of the GPUs `handles` by device; those that cannot tell are left out."""

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
        """Return device -> errors since the call before, without waiting."""
        import pynvml

        counts = dict.fromkeys(self._devices.values(), 0)
        for _ in range(MOST_AT_ONCE if self._devices else 0):
            try:
                event = pynvml.nvmlEventSetWait(self._set, 0)
            except pynvml.NVMLError:  # none waits
                break
            device = self._devices.get(_address(event.device))
            if device is not None:
                counts[device] += 1
                logger.warning(
                    "%s: the NVIDIA driver tells of a critical error, XID %d", device, event.eventData
                )
        return counts

    def close(self) -> None:
        """Let go of the library's object."""
        import pynvml

        if self._set is not None:
            try:
                pynvml.nvmlEventSetFree(self._set)
            except pynvml.NVMLError:
                logger.debug("the set of events could not be freed")
            self._set = None


def _address(handle: Any) -> int:
    return ctypes.cast(handle, ctypes.c_void_p).value or 0
