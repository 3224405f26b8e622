"""`endpoint-analytics agent run -- COMMAND`: runs a server as a child process and reports its life as a replica."""
