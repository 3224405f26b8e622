"""Metric families as text: OpenMetrics and Prometheus's format, for every part that has metrics."""
