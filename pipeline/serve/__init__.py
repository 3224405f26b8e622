"""The query service: OpenMetrics, the JSON API and the page over HTTP."""
