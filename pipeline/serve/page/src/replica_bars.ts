// One bar per replica, coloured by its states. It zooms and shows the crosshair like the other graphs.

import { timeSplits, timeTicks } from "./axes.ts";
import type { Crosshair, Follower } from "./crosshair.ts";
import { serverNow } from "./api.ts";
import { h, setText } from "./dom.ts";
import { duration } from "./format.ts";
import type { GraphEvents } from "./graph.ts";
import type { Answer, Bar, StateSpan } from "./models.ts";
import { followDrag } from "./drag.ts";
import { SpanCard, stateName, STATES } from "./span_card.ts";

const MAX_ROWS = 60;
const TICK_PX = 78;
const LABEL_FROM_PX = 58;

export class ReplicaBars implements Follower {
  readonly element: HTMLElement;
  private readonly rows = h("div", { class: "bars", role: "list", "aria-label": "States of each replica" });
  private readonly axis = h("div", { class: "bars-axis", "aria-hidden": "true" });
  private readonly line = h("div", { class: "bars-crosshair", hidden: true });
  private readonly selection = h("div", { class: "bars-selection", hidden: true });
  private readonly more = h("button", { type: "button", class: "button", hidden: true, onclick: () => this.showAll() });
  private readonly empty = h("p", { class: "card-empty", hidden: true }, "No replica reported anything in this range.");
  private readonly area: HTMLElement;
  private readonly card: SpanCard;
  private readonly observer = new ResizeObserver(() => this.draw());
  private readonly leave: () => void;
  private answer: Answer | null = null;
  private all = false;
  private shown = "";

  constructor(
    private readonly crosshair: Crosshair,
    events: Pick<GraphEvents, "zoom" | "reset">,
  ) {
    this.area = h("div", { class: "bars-area", "data-graph": "timeline" }, this.rows, this.line, this.selection, this.axis);
    this.card = new SpanCard(this.area);
    const legend = h("ul", { class: "legend legend-states", "aria-label": "Colours of the states" });
    legend.append(...STATES.map((state) => h("li", {}, h("span", { class: `state-swatch state-${state}` }), stateName(state))));
    const title = h("h3", { id: "title-timeline" }, "Replicas");
    const note = h("p", { class: "card-note" }, "one bar per replica, coloured by state");
    this.element = h(
      "section",
      { class: "card", "aria-labelledby": "title-timeline" },
      h("header", { class: "card-head" }, h("div", {}, title, note)),
      legend,
      this.area,
      this.empty,
      this.more,
    );
    this.leave = crosshair.join(this);
    this.observer.observe(this.area);
    followDrag(this.area, this.rows, {
      point: (share) => this.crosshair.point(share === null ? null : this.stepAt(share), this),
      select: (from, to) => this.select(from, to),
      done: (from, to) => events.zoom(this.momentAt(from), this.momentAt(to)),
      reset: () => events.reset(),
    });
    this.area.addEventListener("pointermove", () => this.follow(this.crosshair.at));
    this.area.addEventListener("pointerleave", () => this.follow(this.crosshair.at));
  }

  update(answer: Answer): void {
    this.answer = answer;
    this.draw();
  }

  destroy(): void {
    this.leave();
    this.observer.disconnect();
  }

  follow(at: number | null): void {
    const percent = at === null || !this.answer ? null : this.percentAt(at + this.answer.step / 2);
    this.line.hidden = percent === null || percent < 0 || percent > 100;
    if (percent !== null) this.line.style.left = `${percent}%`;
  }

  private draw(): void {
    const { answer } = this;
    const width = this.area.clientWidth;
    if (!answer || !width) return;
    const bars = answer.timeline ?? [];
    const shown = this.all ? bars : bars.slice(0, MAX_ROWS);
    this.empty.hidden = bars.length > 0;
    this.area.hidden = !bars.length;
    this.more.hidden = shown.length === bars.length;
    setText(this.more, `Show all ${bars.length} replicas`);
    this.area.dataset.from = String(answer.from);
    this.area.dataset.to = String(answer.to);
    // Ongoing spans grow; changes are drawn at most once a second, and the focused span keeps its focus.
    const signature = JSON.stringify([answer.from, answer.to, width, shown, Math.floor(serverNow())]);
    if (signature !== this.shown) {
      this.shown = signature;
      this.redraw(shown, width);
    }
    this.follow(this.crosshair.at);
  }

  private redraw(bars: Bar[], width: number): void {
    const focused = document.activeElement instanceof HTMLElement ? document.activeElement.dataset.span : undefined;
    this.rows.replaceChildren(...bars.map((bar, row) => this.row(bar, row, width)));
    const again = focused && this.rows.querySelector<HTMLElement>(`[data-span="${CSS.escape(focused)}"]`);
    if (again) again.focus({ preventScroll: true });
    else this.card.refresh(this.rows);
    const { from, to } = this.answer!;
    const { at, spacing } = timeSplits(from, to, Math.max(2, Math.floor(width / TICK_PX)));
    const texts = timeTicks(at, spacing);
    this.axis.replaceChildren(
      ...at.map((moment, i) => {
        const [time, day] = texts[i]!.split("\n");
        const mark = h("span", {}, time!, day ? h("span", {}, day) : null);
        mark.style.left = `${this.percentAt(moment)}%`;
        return mark;
      }),
    );
  }

  private row(bar: Bar, row: number, width: number): HTMLElement {
    const last = bar.states.at(-1);
    const track = h("div", { class: "bar-track" });
    const spans = bar.states.map((span, index) => this.span(bar, span, `${bar.replica}#${span.from}`, row === 0 && index === 0, width));
    track.append(...spans.filter((span) => span !== null));
    return h(
      "div",
      { class: "bar-row", role: "listitem", "data-replica": bar.replica },
      h(
        "div",
        { class: "bar-label" },
        h("span", { class: "bar-name" }, bar.replica),
        last ? h("span", { class: "bar-state" }, stateName(last.state)) : null,
        bar.ready_seconds === null ? null : h("span", { class: "bar-ready" }, `ready in ${duration(bar.ready_seconds)}`),
      ),
      track,
    );
  }

  private span(bar: Bar, span: StateSpan, id: string, first: boolean, width: number): HTMLElement | null {
    const { from, to } = this.answer!;
    const end = span.to ?? Math.min(to, Math.max(serverNow(), span.from));
    const left = Math.max(0, this.percentAt(span.from));
    const right = Math.min(100, this.percentAt(end));
    if (right <= 0 || left >= 100 || end < from) return null;
    const seconds = span.seconds ?? end - span.from;
    const label = `${bar.replica}: ${stateName(span.state)}, ${duration(seconds)}${span.reason ? `, ${span.reason}` : ""}`;
    const px = ((right - left) / 100) * width;
    const button = h(
      "button",
      { type: "button", class: `span state-${span.state}`, "data-span": id, "aria-label": label, tabindex: first ? 0 : -1 },
      px >= LABEL_FROM_PX && span.state !== "terminated" ? h("span", {}, duration(seconds)) : null,
    );
    button.style.left = `${left}%`;
    button.style.width = `max(2px, ${right - left}%)`;
    this.card.attach(button, bar, span, seconds);
    return button;
  }

  private percentAt(at: number): number {
    const { from, to } = this.answer!;
    return ((at - from) / (to - from)) * 100;
  }

  private momentAt(share: number): number {
    const { from, to } = this.answer!;
    return from + share * (to - from);
  }

  /** The start of the step at this share of the width, which is what the graphs point at too. */
  private stepAt(share: number): number {
    const { step, to } = this.answer!;
    return Math.min(Math.floor(this.momentAt(share) / step) * step, to - step);
  }

  private select(from: number | null, to: number): void {
    this.selection.hidden = from === null;
    if (from === null) return;
    this.selection.style.left = `${from * 100}%`;
    this.selection.style.width = `${(to - from) * 100}%`;
  }

  private showAll(): void {
    this.all = true;
    this.draw();
  }
}
