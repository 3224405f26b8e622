"""The names of the demo's endpoint and replicas. They stay the same across restarts."""

from __future__ import annotations

NAMESPACE = "demo"
ENDPOINT = "magika"

FIRST, RESTARTED, KILLED, EXTRA = (
    "magika-7f9c-a1",
    "magika-7f9c-b2",
    "magika-7f9c-c3",
    "magika-7f9c-d4",
)
"""Replicas: one always runs, one is restarted, one starts late and gets killed, one runs only at peaks."""
