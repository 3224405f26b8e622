"""What the demo tells of itself at /metrics, as serving engines do; its own agent scrapes it."""

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
"""What an agent is told to make of it: ENDPOINT_ANALYTICS_SCRAPE_METRICS."""


def render(inference: Inference) -> str:
    """Return the exposition."""
    figures = (
        ("demo_requests_running", "gauge", "Contents that the model looks at", inference.running),
        ("demo_requests_waiting", "gauge", "Contents that wait for the model", inference.waiting),
        ("demo_requests_finished_total", "counter", "Contents that the model told", inference.finished),
        ("demo_requests_refused_total", "counter", "Contents that were too many", inference.refused),
        ("demo_bytes_read_total", "counter", "Bytes that the model was given", inference.bytes_read),
    )
    return "".join(
        f"# HELP {name} {text}\n# TYPE {name} {kind}\n{name} {value}\n" for name, kind, text, value in figures
    )


async def metrics(request: Request) -> Response:
    """Answer the exposition."""
    return PlainTextResponse(render(request.app.state.inference), media_type="text/plain; version=0.0.4")
