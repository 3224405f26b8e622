"""HTTP itself: bounded connections, TLS, and plain responses. Knows nothing about metrics."""
