"""The agents' command line: one module per subcommand."""
