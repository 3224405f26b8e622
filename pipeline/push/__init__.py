"""Pushes the figures of endpoints to an OTLP receiver: the families of a scrape, as OpenTelemetry's metrics.

`otlp_metrics` turns families into messages, `destination` says where they go, `sender` gets them there,
`failures` says why it could not, and `rounds` reads and sends at every interval.
"""
