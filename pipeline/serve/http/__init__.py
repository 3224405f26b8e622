"""HTTP itself: bounded connections, TLS, lists in headers, and plain responses. Knows nothing about metrics."""
