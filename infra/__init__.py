"""The command line, and what runs the parts: all on one machine, or deployed on many; a load generator."""
