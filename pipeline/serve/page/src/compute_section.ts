// Compute: the replica's processor, memory and accelerators; the average, or each replica and device.

import { amount, byteRate, bytes, celsius, percent, share, watts } from "./format.ts";
import { other, samples, SampleSection, type SampleSpec, used } from "./sample_section.ts";
import type { SectionContext } from "./section.ts";

const limit = (name: string, label: string) => ({ name, label, colour: "limit", limit: true });

const SPECS: SampleSpec[] = [
  samples("cpu", "CPU", "of the replica's cores", percent, [used("cpu_percent")], 100),
  samples("memory", "Memory", "without the page cache", bytes, [used("memory_used_bytes"), limit("memory_limit_bytes", "limit")]),
  { ...samples("throttled", "CPU throttled", "share of the periods in which its quota held it back", share, [used("cpu_throttled_ratio", "throttled")]), quiet: true },
  { ...samples("oom_kills", "OOM kills", "processes killed for want of memory, since the container began", amount, [used("oom_kills", "killed")]), quiet: true },
  samples("gpu", "GPU", "share of time in which it computed", percent, [used("gpu_percent")], 100),
  samples("gpu_memory", "GPU memory", "on the device", bytes, [used("gpu_memory_used_bytes"), limit("gpu_memory_total_bytes", "total")]),
  samples("gpu_power", "GPU power", "drawn by the device", watts, [used("gpu_power_watts")]),
  samples("gpu_temperature", "GPU temperature", "of the device", celsius, [used("gpu_temperature_celsius")]),
  samples("network", "Network", "bytes a second", byteRate, [
    used("network_received_bytes", "received"),
    other("network_sent_bytes", "sent"),
  ]),
  samples("disk", "Disk", "bytes a second", byteRate, [
    used("disk_read_bytes", "read"),
    other("disk_written_bytes", "written"),
  ]),
];

export class ComputeSection extends SampleSection {
  constructor(context: SectionContext) {
    super("hardware", SPECS, "Each replica and device.", context);
  }
}
