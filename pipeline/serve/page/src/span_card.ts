// The tooltip of a state span under the pointer or focus, and the arrow keys between spans.

import { h } from "./dom.ts";
import { duration, moment } from "./format.ts";
import type { Bar, State, StateSpan } from "./models.ts";

export const STATES: State[] = ["pending", "downloading", "pulling", "initializing", "running", "draining", "terminated", "failed", "unknown"];

export function stateName(state: State): string {
  return state;
}

export class SpanCard {
  private readonly card = h("div", { class: "span-card", role: "tooltip", id: "span-card", hidden: true });
  private over: string | null = null;

  constructor(private readonly area: HTMLElement) {
    area.append(this.card);
    area.addEventListener("keydown", (event) => this.key(event));
    area.addEventListener("pointerleave", () => this.hide());
  }

  /** Show the tooltip while this span is hovered or focused. */
  attach(button: HTMLButtonElement, bar: Bar, span: StateSpan, seconds: number): void {
    const show = (): void => this.show(button, bar, span, seconds);
    button.addEventListener("pointerenter", show);
    button.addEventListener("focus", () => {
      for (const other of this.area.querySelectorAll<HTMLElement>(".span[tabindex='0']")) other.tabIndex = -1;
      button.tabIndex = 0;
      show();
    });
    button.addEventListener("pointerleave", () => this.hide());
    button.addEventListener("blur", () => this.hide());
  }

  /** After a redraw, keep the tooltip if its span still exists. */
  refresh(rows: HTMLElement): void {
    if (this.over && !rows.querySelector(`[data-span="${CSS.escape(this.over)}"]`)) this.hide();
  }

  private show(button: HTMLButtonElement, bar: Bar, span: StateSpan, seconds: number): void {
    this.over = button.dataset.span ?? null;
    const lines: [string, string][] = [
      ["From", moment(span.from)],
      ["To", span.to === null ? "now" : moment(span.to)],
      ["For", `${duration(seconds)}${span.to === null ? " so far" : ""}`],
    ];
    if (span.reason) lines.push(["Reason", span.reason]);
    if (span.inferred && span.state !== "unknown") lines.push(["Source", "inferred from heartbeats, not reported"]);
    this.card.replaceChildren(
      h("strong", {}, h("span", { class: `state-swatch state-${span.state}` }), stateName(span.state)),
      h("span", { class: "span-card-replica" }, bar.replica),
      h("dl", {}, ...lines.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
    );
    this.card.hidden = false;
    button.setAttribute("aria-describedby", "span-card");
    const area = this.area.getBoundingClientRect();
    const box = button.getBoundingClientRect();
    const middle = (Math.max(box.left, area.left) + Math.min(box.right, area.right)) / 2 - area.left;
    const half = this.card.offsetWidth / 2;
    this.card.style.left = `${Math.min(area.width - half, Math.max(half, middle))}px`;
    this.card.style.top = `${box.bottom - area.top + 8}px`;
  }

  private hide(): void {
    this.over = null;
    this.card.hidden = true;
  }

  private key(event: KeyboardEvent): void {
    const here = document.activeElement;
    const row = here?.closest<HTMLElement>(".bar-row");
    if (!row || !here?.classList.contains("span")) return;
    const sideways = { ArrowLeft: "previousElementSibling", ArrowRight: "nextElementSibling" } as const;
    const updown = { ArrowUp: "previousElementSibling", ArrowDown: "nextElementSibling" } as const;
    let next: Element | null = null;
    if (event.key in sideways) next = here[sideways[event.key as keyof typeof sideways]];
    else if (event.key in updown) next = row[updown[event.key as keyof typeof updown]]?.querySelector(".span") ?? null;
    else return;
    event.preventDefault();
    if (next instanceof HTMLElement) next.focus();
  }
}
