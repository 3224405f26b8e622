"""Shared by tests: the real parts, the oracle, third-party clients (judges), waiting. Typed like the sources."""
