"""The names of the demo: its endpoint and its replicas. They stay the same over restarts."""

from __future__ import annotations

NAMESPACE = "demo"
ENDPOINT = "magika"

FIRST, RESTARTED, KILLED, EXTRA = (
    "magika-7f9c-a1",
    "magika-7f9c-b2",
    "magika-7f9c-c3",
    "magika-7f9c-d4",
)
"""The one that always runs; one restarted at times; one that comes late and is killed at times; one more at peaks."""
