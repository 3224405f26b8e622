"""What crosses a process boundary: topics, messages with their codecs, tables."""
