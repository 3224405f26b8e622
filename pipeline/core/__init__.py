"""The fold: a pure function of a run of the Kafka log. No clock, no I/O, no randomness."""
