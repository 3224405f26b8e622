"""The fold: a pure function of a run of the log. No clock, no I/O, no random."""
