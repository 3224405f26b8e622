"""Run by Datadog's own Python: the OpenMetrics check against an endpoint; prints what it collected as lines of JSON."""

import json
import sys

from datadog_checks.base import OpenMetricsBaseCheckV2  # pyright: ignore[reportMissingImports]
from datadog_checks.base.stubs import aggregator  # pyright: ignore[reportMissingImports]

check = OpenMetricsBaseCheckV2("endpoint_analytics", {}, [json.loads(sys.argv[1])])
for _ in range(2):
    aggregator.reset()
    if error := check.run():
        sys.exit(error)
for name in aggregator.metric_names:
    for metric in aggregator.metrics(name):
        print(json.dumps([name, metric.type, metric.value, sorted(metric.tags)]))
