"""Trees of control group files, shared with the tests of the hardware."""

from tests.agents.hardware.conftest import read, version_2, write

__all__ = ["read", "version_2", "write"]
