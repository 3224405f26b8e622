// The summary boxes above the graphs: share and count of each status class over the whole range shown.

import { h, setText } from "./dom.ts";
import { amount, count, DASH, duration, share } from "./format.ts";
import type { Summary } from "./models.ts";

interface Box {
  name: string;
  colour: string | null;
  hint: string;
  value(summary: Summary): string;
  detail(summary: Summary): string;
}

const classBox = (name: string, hint: string): Box => {
  const find = (summary: Summary) => summary.classes.find((entry) => entry.name === name);
  return {
    name,
    colour: `c${name}`,
    hint,
    value: (summary) => share(find(summary)?.share ?? null),
    detail: (summary) => requests(summary.covered ? (find(summary)?.count ?? 0) : null),
  };
};

function requests(number: number | null): string {
  return number === null ? "no data" : `${count(number)} ${number === 1 ? "request" : "requests"}`;
}

const BOXES: Box[] = [
  classBox("2xx", "Success"),
  classBox("3xx", "Redirects"),
  classBox("4xx", "Client errors"),
  classBox("5xx", "Server errors"),
  {
    name: "Aborted",
    colour: "aborted",
    hint: "Requests that ended before their last byte, as a share of all that ended",
    value: ({ aborted }) => share(aborted.share),
    detail: ({ aborted, covered }) => requests(covered ? aborted.count : null),
  },
  {
    name: "Median",
    colour: null,
    hint: "Half of the requests took less time, from arrival to the last byte",
    value: ({ latency }) => duration(latency.p50),
    detail: ({ latency }) => (latency.count ? `p99 ${duration(latency.p99)}` : "no requests"),
  },
  {
    name: "Pending",
    colour: null,
    hint: "Requests waiting for a status: mean over the range shown, peak, and the longest wait",
    value: ({ pending_mean }) => amount(pending_mean),
    detail: ({ pending_max, oldest_pending }) => {
      if (pending_max === null) return "no data";
      return oldest_pending ? `peak ${count(pending_max)}, oldest ${duration(oldest_pending)}` : `peak ${count(pending_max)}`;
    },
  },
];

export class SummaryFigures {
  readonly element = h("dl", { class: "boxes", "aria-label": "Summary of the range" });
  private readonly shown = BOXES.map((box) => {
    const value = h("dd", { class: "box-value" }, DASH);
    const detail = h("dd", { class: "box-detail" }, " ");
    const dot = box.colour && h("span", { class: "dot", "aria-hidden": "true" });
    if (dot) dot.style.background = `var(--${box.colour})`;
    this.element.append(
      h("div", { class: "box", "data-box": box.name, title: box.hint }, h("dt", {}, dot, box.name), value, detail),
    );
    return { box, value, detail };
  });

  update(summary: Summary): void {
    for (const { box, value, detail } of this.shown) {
      const text = box.value(summary);
      setText(value, text);
      value.classList.toggle("is-none", text === DASH);
      setText(detail, box.detail(summary));
    }
  }
}
