"""Hypothesis, the same on every machine and in every run, however busy the machine is; and no silent gap in CI."""

import os
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "steady",
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("steady")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where judges are required, as in CI, a program that is not installed fails its tests instead of skipping them."""
    report = yield
    if report.skipped and os.environ.get("JUDGES_REQUIRED") and "is not installed" in str(report.longrepr):
        report.outcome = "failed"
        report.longrepr = f"{report.longrepr}: CI installs it, see .ci/run"
    return report
