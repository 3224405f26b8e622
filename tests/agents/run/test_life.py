"""Replica states from server events, and how an end is reported. Pure."""

from __future__ import annotations

import signal

import pytest

from endpoint_analytics.agents.run.child import exit_status, failed, reason_of
from endpoint_analytics.agents.run.life import ChildLife


@pytest.fixture
def reported():
    return []


@pytest.fixture
def life(reported):
    return ChildLife(lambda state, reason: reported.append((state, reason)), ready_within_s=10)


def test_a_life_in_order(life, reported):
    life.waited(1, "refused")
    life.ready()
    life.ready()
    life.signalled(signal.SIGHUP)
    life.signalled(signal.SIGTERM)
    life.signalled(signal.SIGTERM)
    life.ended(0)
    assert reported == [("running", ""), ("draining", ""), ("terminated", "exited with status 0")]


def test_one_that_is_late_has_failed_and_may_still_come(life, reported):
    life.waited(10, "refused")
    life.waited(11, "refused")
    life.ready()
    assert reported == [
        ("failed", "not ready within 10 s: refused"),
        ("initializing", "ready after all"),
        ("running", ""),
    ]


def test_one_that_ends_while_it_starts(life, reported):
    life.signalled(signal.SIGINT)
    life.ready()
    life.ended(-signal.SIGINT)
    assert reported == [("draining", ""), ("terminated", "killed by SIGINT")]


@pytest.mark.parametrize(
    ("status", "asked", "is_failure", "reason", "exits_with"),
    [
        (0, False, False, "exited with status 0", 0),
        (3, False, True, "exited with status 3", 3),
        (3, True, False, "exited with status 3", 3),
        (-signal.SIGTERM, True, False, "killed by SIGTERM", 143),
        (-signal.SIGTERM, False, True, "killed by SIGTERM", 143),
        (-signal.SIGSEGV, True, True, "killed by SIGSEGV", 139),
        (-signal.SIGKILL, False, True, "killed by SIGKILL (out of memory?)", 137),
    ],
)
def test_ends(status, asked, is_failure, reason, exits_with):
    assert failed(status, asked) is is_failure
    assert reason_of(status) == reason
    assert exit_status(status) == exits_with


@pytest.mark.parametrize(
    ("out_of_memory", "reason"),
    [
        (True, "killed by SIGKILL, out of memory"),
        (False, "killed by SIGKILL"),
        (None, "killed by SIGKILL (out of memory?)"),
    ],
)
def test_what_the_kernel_reports_a_kill(life, reported, out_of_memory, reason):
    life.ended(-signal.SIGKILL, out_of_memory)
    assert reported == [("failed", reason)]
