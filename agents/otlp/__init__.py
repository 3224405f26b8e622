"""The OTLP receiver: OpenTelemetry's server spans, over HTTP or from a Kafka topic, become request batches.

`decoding` reads a body, `identity` and `spans` say whose request a span is and what it tells, `intake` puts both
together and drops repeats (`seen`); `replicas` makes the batches, `delivery` sends them, and only then does `receiver`
or `topic_reader` confirm the spans.
"""
