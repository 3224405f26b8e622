"""The query service: OpenMetrics text over HTTP."""
