// The Engine section: metrics of the serving engine (vLLM, TGI, Triton ...), as an average or per replica.

import type { View } from "./address.ts";
import { noEngine } from "./empty.ts";
import { amount, bytes, duration, percent, rate } from "./format.ts";
import { type Format, other, samples, SampleSection, type SampleSpec, used } from "./sample_section.ts";
import type { SectionContext } from "./section.ts";
import type { Answer, Series } from "./models.ts";

const SPECS: SampleSpec[] = [
  samples("engine_requests", "Requests in the engine", "being processed, and waiting in its queue", amount, [
    used("engine_running_requests", "running"),
    other("engine_waiting_requests", "waiting"),
  ]),
  samples("engine_kv_cache", "KV cache", "share in use", percent, [used("engine_kv_cache_percent")], 100),
  samples("engine_tokens", "Tokens", "per second", rate, [
    used("engine_generated_tokens_per_second", "generated"),
    other("engine_prompt_tokens_per_second", "prompt"),
    { name: "engine_cached_prompt_tokens_per_second", label: "cached prompt", colour: "limit" },
  ]),
  samples("engine_ended", "Requests per second", "finished, failed, or preempted from the cache", rate, [
    used("engine_finished_requests_per_second", "finished"),
    other("engine_failed_requests_per_second", "failed"),
    { name: "engine_preemptions_per_second", label: "preempted", colour: "limit" },
  ]),
];

const FORMATS: Record<string, Format> = { percent, bytes, seconds: duration, requests_per_second: rate, tokens_per_second: rate };

export class EngineSection extends SampleSection {
  private empty: HTMLElement | null = null;

  constructor(context: SectionContext) {
    super("engine", SPECS, "Each replica.", context);
  }

  override show(answer: Answer, view: View): void {
    const nothing = !answer.series.some(({ group }) => group === "engine");
    if (nothing && !this.empty) this.element.append((this.empty = noEngine(view.endpoint!)));
    if (this.empty) this.empty.hidden = !nothing;
    this.grid.hidden = nothing;
    for (const series of answer.series) if (series.group === "engine" && !this.has(series.name)) this.add(own(series));
    super.show(answer, view);
  }
}

/** The graph of a metric that an agent was configured to send. */
function own({ name, unit }: Series): SampleSpec {
  const words = name.replace(/^engine_/, "").replaceAll("_", " ");
  return samples(name, words.charAt(0).toUpperCase() + words.slice(1), "as configured in the agent", FORMATS[unit] ?? amount, [used(name, words)]);
}
