"""The demo's own metrics at /metrics, like those of a serving engine; its own agent scrapes them."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from endpoint_analytics.infra.local.demo.inference import Inference

PATH = "/metrics"

METRICS = {
    "engine_running_requests": "demo_requests_running",
    "engine_waiting_requests": "demo_requests_waiting",
    "engine_finished_requests_per_second": "demo_requests_finished_total",
    "engine_failed_requests_per_second": "demo_requests_refused_total",
    "engine_kilobytes_read_per_second": "demo_bytes_read_total*0.001",
}
MAPPING = ",".join(f"{ours}={theirs}" for ours, theirs in METRICS.items())
"""The agent's mapping of these metrics: ENDPOINT_ANALYTICS_SCRAPE_METRICS."""


def render(inference: Inference) -> str:
    """Return the metrics in Prometheus's text format."""
    figures = (
        ("demo_requests_running", "gauge", "Inferences currently running", inference.running),
        ("demo_requests_waiting", "gauge", "Inferences waiting in the queue", inference.waiting),
        ("demo_requests_finished_total", "counter", "Inferences finished", inference.finished),
        (
            "demo_requests_refused_total",
            "counter",
            "Inferences refused: the queue was full",
            inference.refused,
        ),
        ("demo_bytes_read_total", "counter", "Bytes passed to the model", inference.bytes_read),
    )
    return "".join(
        f"# HELP {name} {text}\n# TYPE {name} {kind}\n{name} {value}\n" for name, kind, text, value in figures
    )


async def metrics(request: Request) -> Response:
    """Serve the metrics."""
    return PlainTextResponse(render(request.app.state.inference), media_type="text/plain; version=0.0.4")
