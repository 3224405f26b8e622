// The legend of a graph: for each line, a button that shows or hides it, and its value at the crosshair.

import type { Line } from "./lines.ts";
import { h, setText, svg } from "./dom.ts";

export interface LegendEvents {
  isHidden(key: string): boolean;
  /** `alone`: show only this line, or all lines again if it is already the only one. */
  toggle(key: string, alone: boolean): void;
}

export class Legend {
  readonly element = h("ul", { class: "legend" });
  private shown = "";
  private values = new Map<string, HTMLElement>();

  constructor(
    private readonly format: (value: number | null) => string,
    private readonly events: LegendEvents,
    private readonly area: boolean,
  ) {}

  /** Show these entries; buttons are kept while their names stay the same, so they keep the focus. */
  update(lines: Line[]): void {
    const signature = JSON.stringify(lines.map(({ key, label, colour }) => [key, label, colour]));
    if (signature !== this.shown) {
      this.shown = signature;
      this.values = new Map();
      this.element.replaceChildren(...lines.map((line) => h("li", {}, this.entry(line))));
    }
    for (const button of this.element.querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(!this.events.isHidden(button.dataset.key ?? "")));
    }
  }

  /** Show the values at an index. */
  read(lines: Line[], index: number | null): void {
    for (const line of lines) {
      const value = index === null ? null : (line.values[index] ?? null);
      const element = this.values.get(line.key);
      if (element) setText(element, this.format(value));
    }
  }

  private entry(line: Line): HTMLElement {
    const value = h("span", { class: "legend-value" });
    this.values.set(line.key, value);
    return h(
      "button",
      {
        type: "button",
        class: "legend-entry",
        "data-key": line.key,
        title: "Click to show or hide; Alt-click to show only this one",
        onclick: (event: MouseEvent) => this.events.toggle(line.key, event.altKey),
      },
      swatch(line, this.area),
      h("span", { class: "legend-name" }, line.label),
      value,
    );
  }
}

/** A swatch of the line as it is drawn. */
export function swatch(line: Pick<Line, "colour" | "dash" | "width">, area: boolean): SVGElement {
  const shape = area
    ? svg("rect", { x: 2, y: 1, width: 12, height: 10, rx: 2.5 })
    : svg("line", { x1: 0, x2: 16, y1: 6, y2: 6, "stroke-width": (line.width ?? 1.75) + 0.5 });
  if (!area && line.dash) shape.setAttribute("stroke-dasharray", line.dash.join(" "));
  const colour = `var(--${line.colour})`;
  shape.style.setProperty(area ? "fill" : "stroke", colour);
  return svg("svg", { class: "swatch", width: 16, height: 12, "aria-hidden": "true" }, shape);
}
