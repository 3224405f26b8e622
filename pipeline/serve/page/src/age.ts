// The age of the newest figures: it tells "nothing happens" from "nothing arrives".

import { serverNow } from "./api.ts";
import { h, setText } from "./dom.ts";
import { clock, duration } from "./format.ts";

const FRESH_S = 5;
const LATE_S = 20;

export class Age {
  readonly element = h("p", { class: "age", "data-age": "none" });
  private readonly text = h("span", {}, "Waiting for data");
  private newestAt: number | null = null;
  private unknownSince: number | null = null;
  private readonly timer: number;

  constructor() {
    this.element.append(h("span", { class: "age-dot", "aria-hidden": "true" }), this.text);
    this.timer = setInterval(() => this.draw(), 1000);
  }

  update(newestAt: number | null, unknownSince: number | null = null): void {
    this.newestAt = newestAt;
    this.unknownSince = unknownSince;
    this.draw();
  }

  destroy(): void {
    clearInterval(this.timer);
  }

  private draw(): void {
    const seconds = this.newestAt === null ? null : Math.max(0, serverNow() - this.newestAt);
    const state = seconds === null ? "none" : seconds < FRESH_S ? "fresh" : seconds < LATE_S ? "late" : "old";
    this.element.dataset.age = this.unknownSince === null ? state : "unknown";
    setText(this.text, this.unknownSince === null ? ageText(seconds, state === "fresh") : `Unknown since ${clock(this.unknownSince)}`);
    this.element.title =
      this.unknownSince === null
        ? "Age of the newest stored figures"
        : "The pipeline is behind: data sent since then has not been read yet, so the state of replicas is unknown";
  }
}

function ageText(seconds: number | null, fresh: boolean): string {
  if (seconds === null) return "No data yet";
  if (fresh) return "Live";
  return `Data ${duration(seconds < 60 ? Math.round(seconds) : seconds)} old`;
}
