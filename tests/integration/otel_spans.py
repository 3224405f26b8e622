"""Exports server spans with OpenTelemetry's own SDK, in its own environment, and prints what they were as JSON.

Arguments: address, number of spans, seed. With the address `-`, the exports are printed too instead of sent, as a
Collector's kafka exporter writes them. An export that fails is repeated until it succeeds, as by a Collector with a
persistent queue. The exporter itself also repeats some.
"""

import base64
import json
import random
import sys
import time

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, Status, StatusCode

ENDS = (
    *(("finished", 200), ("finished", 200), ("finished", 201), ("finished", 404), ("finished", 503)),
    *(("aborted_pending", None), ("aborted_streaming", 200)),
)
EXPORT_SPANS = 40


def make_spans(number, seed, chance):
    memory, made = InMemorySpanExporter(), []
    for replica in ("a", "b", "c"):
        names = {
            "service.namespace": f"oracle-{seed}",
            "service.name": "spans",
            "service.instance.id": replica,
        }
        provider = TracerProvider(resource=Resource.create(names))
        provider.add_span_processor(SimpleSpanProcessor(memory))
        tracer = provider.get_tracer("tests")
        for _ in range(number // 3):
            phase, status = chance.choice(ENDS)
            duration_us = int(chance.lognormvariate(10, 2)) % 30_000_000
            end_us = time.time_ns() // 1_000 - chance.randrange(40_000_000)
            is_old = chance.random() < 0.5
            with tracer.start_as_current_span("a part of it"):
                pass
            span = tracer.start_span("GET /", kind=SpanKind.SERVER, start_time=(end_us - duration_us) * 1_000)
            span.set_attribute("http.method" if is_old else "http.request.method", "GET")
            if status is not None:
                span.set_attribute("http.status_code" if is_old else "http.response.status_code", status)
            if phase == "aborted_streaming":
                span.set_attribute("error.type", "ConnectionResetError")
                span.set_status(Status(StatusCode.ERROR))
            span.end(end_us * 1_000)
            made.append([replica, phase, status, end_us, duration_us])
    return list(memory.get_finished_spans()), made


def main(address, number, seed):
    chance = random.Random(seed)
    spans, made = make_spans(number, seed, chance)
    chance.shuffle(spans)
    parts = [spans[first : first + EXPORT_SPANS] for first in range(0, len(spans), EXPORT_SPANS)]
    if address == "-":
        exports = [base64.b64encode(encode_spans(part).SerializeToString()).decode() for part in parts]
        print(json.dumps({"made": made, "exports": exports}))
        return
    exporter = OTLPSpanExporter(endpoint=f"{address}/v1/traces")
    for part in parts:
        while exporter.export(part) is not SpanExportResult.SUCCESS:
            pass
    print(json.dumps({"made": made}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
