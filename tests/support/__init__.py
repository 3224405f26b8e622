"""What tests share: the real parts, the oracle, judges, waiting. Typed like the sources."""
