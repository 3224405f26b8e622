"""The OTLP receiver: OpenTelemetry's server spans, over HTTP or from a Kafka topic, become request batches.

`decoding` reads a body, `identity` and `spans` say whose request a span is and what it tells, `intake` puts both
together and drops repeats (`seen`); `replicas` makes the batches and states; `delivery` sends the batches (and
`state_sender` the states), and only then does `receiver` or `topic_reader` confirm the spans.
"""
