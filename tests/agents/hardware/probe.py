"""Run with a stand-in library: prints one sample as JSON for each line on stdin.

Arguments: `nvidia` and the ids of own processes, or `amd` and the directory that stands for /dev.
"""

import json
import logging
import os
import sys
from pathlib import Path

from endpoint_analytics.agents.hardware.gpu import GpuCollector
from endpoint_analytics.agents.hardware.gpu_amd import AmdGpus
from endpoint_analytics.agents.hardware.gpu_nvidia import NvidiaGpus

logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
if sys.argv[1] == "amd":
    collector = GpuCollector((AmdGpus(os.environ, Path(sys.argv[2])),))
else:
    own = {int(word) for word in sys.argv[2:]}
    collector = GpuCollector((NvidiaGpus(os.environ, own.__contains__ if own else None),))
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
