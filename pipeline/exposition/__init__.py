"""Metric families as text: the OpenMetrics and Prometheus formats, for every part that has metrics."""
