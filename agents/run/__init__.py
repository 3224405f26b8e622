"""`endpoint-analytics agent run -- COMMAND`: a server as a child whose life as a replica is told."""
