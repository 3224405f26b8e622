"""HTTP itself: bounded connections, TLS, and plain answers. Knows nothing of metrics."""
