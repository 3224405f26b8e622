"""Run beside the stand-in: for each line on stdin one sample, printed as JSON; own processes are the arguments."""

import json
import logging
import os
import sys

from endpoint_analytics.agents.hardware.gpu import GpuCollector

logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
own = {int(word) for word in sys.argv[1:]}
collector = GpuCollector(os.environ, own.__contains__ if own else None)
for _ in sys.stdin:
    accelerators = collector.collect(0).accelerators
    print(
        json.dumps(
            [
                {"device": a.device, "uuid": a.uuid, "name": a.name}
                | {name: value for name, (value,) in a.readings.items()}
                for a in accelerators
            ]
        ),
        flush=True,
    )
