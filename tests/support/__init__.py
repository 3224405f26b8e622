"""Shared by tests: the real parts, the oracle, judges, waiting. Typed like the sources."""
