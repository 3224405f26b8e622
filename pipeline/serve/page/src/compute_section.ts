// The Compute section: CPU, memory, accelerators, network and disk, as an average or per replica and device.

import { amount, byteRate, bytes, celsius, percent, share, watts } from "./format.ts";
import { other, samples, SampleSection, type SampleSpec, used } from "./sample_section.ts";
import type { SectionContext } from "./section.ts";

const limit = (name: string, label: string) => ({ name, label, colour: "limit", limit: true });

const SPECS: SampleSpec[] = [
  samples("cpu", "CPU", "of the replica's cores", percent, [used("cpu_percent")], 100),
  samples("memory", "Memory", "excluding page cache", bytes, [used("memory_used_bytes"), limit("memory_limit_bytes", "limit")]),
  { ...samples("throttled", "CPU throttled", "share of scheduler periods limited by the CPU quota", share, [used("cpu_throttled_ratio", "throttled")]), quiet: true },
  { ...samples("oom_kills", "OOM kills", "processes killed for lack of memory since the container started", amount, [used("oom_kills", "killed")]), quiet: true },
  samples("gpu", "GPU", "share of time in which a kernel ran", percent, [used("gpu_percent")], 100),
  samples("gpu_memory", "GPU memory", "on the device", bytes, [used("gpu_memory_used_bytes"), limit("gpu_memory_total_bytes", "total")]),
  samples("gpu_power", "GPU power", "power draw of the device", watts, [used("gpu_power_watts")]),
  samples("gpu_temperature", "GPU temperature", "of the device", celsius, [used("gpu_temperature_celsius")]),
  samples("network", "Network", "bytes per second", byteRate, [
    used("network_received_bytes", "received"),
    other("network_sent_bytes", "sent"),
  ]),
  samples("disk", "Disk", "bytes per second", byteRate, [
    used("disk_read_bytes", "read"),
    other("disk_written_bytes", "written"),
  ]),
];

export class ComputeSection extends SampleSection {
  constructor(context: SectionContext) {
    super("hardware", SPECS, "Each replica and device.", context);
  }
}
