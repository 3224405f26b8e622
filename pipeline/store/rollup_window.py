"""What all rollup statements have in common: the coarser level's window, and which windows they compute. SQL only."""

from __future__ import annotations

WINDOW = "toDateTime(intDiv(toUnixTimestamp(window_start), {seconds:UInt32}) * {seconds:UInt32}, 'UTC')"
# Constant within a statement, and taken before it reads: of two concurrent rollups, the later one's rows win.
VERSION = "toUnixTimestamp64Micro(now64(6))"
WHOSE = "(namespace, endpoint) IN {endpoints:Array(Tuple(String, String))}"
OF_THE_WINDOWS = f"""{WHOSE}
        AND window_start >= toDateTime({{first:UInt32}}, 'UTC')
        AND window_start < toDateTime({{after:UInt32}}, 'UTC')
        AND toUnixTimestamp({WINDOW}) IN {{windows:Array(UInt32)}}"""
