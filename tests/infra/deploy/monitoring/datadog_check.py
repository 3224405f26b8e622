"""Run by Datadog's own Python: the OpenMetrics check; prints the tags of each metric and service check as JSON."""

import json
import sys

from datadog_checks.base import OpenMetricsBaseCheckV2  # pyright: ignore[reportMissingImports]
from datadog_checks.base.stubs import aggregator  # pyright: ignore[reportMissingImports]

check = OpenMetricsBaseCheckV2("endpoint_analytics", {}, [json.loads(sys.argv[1])])
for _ in range(2):
    aggregator.reset()
    if error := check.run():
        sys.exit(error)
metrics = {
    name: sorted({tag for metric in aggregator.metrics(name) for tag in metric.tags})
    for name in aggregator.metric_names
}
checks = {
    name: sorted({tag for each in aggregator.service_checks(name) for tag in each.tags or ()})
    for name in aggregator.service_check_names
}
print(json.dumps({"metrics": metrics, "checks": checks}))
