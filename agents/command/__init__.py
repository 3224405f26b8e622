"""The command line of the agents: one module for each subcommand."""
