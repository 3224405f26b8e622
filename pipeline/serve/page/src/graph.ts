// A graph on the page: its card, legend, plot and keys. `update` gives it data; its events report what the user does.

import uPlot from "uplot";
import type { Crosshair, Follower } from "./crosshair.ts";
import { h, setText } from "./dom.ts";
import { clock } from "./format.ts";
import { Legend, type LegendEvents } from "./legend.ts";
import { type GraphData, isEmpty, type Line } from "./lines.ts";
import { drawMarks, drawVeil } from "./marks.ts";
import { columns, options, pointAt, type PlotSpec } from "./plot.ts";
import { indexFrom } from "./merge.ts";
import { announce } from "./notice.ts";
import { drawLosses, type Lossy } from "./losses.ts";
import type { ScaleEvent } from "./models.ts";
import { onTheme } from "./theme.ts";
import { followTouch } from "./touch.ts";

export interface GraphSpec extends PlotSpec {
  id: string;
  title: string;
  /** A short description of the figures. */
  note(step: number): string;
  format(value: number | null): string;
  /** The text shown instead of a graph without data. */
  empty: string;
}

export interface GraphEvents extends LegendEvents {
  zoom(from: number, to: number): void;
  reset(): void;
  marks(): ScaleEvent[];
  losses(): Lossy[];
}

const HEIGHT = 208;
const SYNC = "page";

export class Graph implements Follower {
  readonly element: HTMLElement;
  readonly controls = h("div", { class: "card-controls" });
  private readonly note = h("p", { class: "card-note" });
  private readonly empty: HTMLElement;
  private readonly stage: HTMLElement;
  private readonly legend: Legend;
  private readonly observer = new ResizeObserver(() => this.resize());
  private readonly leave: (() => void)[];
  private plot: uPlot | null = null;
  private data: GraphData | null = null;
  private drawn = "";

  constructor(
    private readonly spec: GraphSpec,
    private readonly crosshair: Crosshair,
    private readonly events: GraphEvents,
  ) {
    this.legend = new Legend(spec.format, events, spec.kind === "stack");
    this.empty = h("p", { class: "card-empty", hidden: true }, spec.empty);
    this.stage = h("div", {
      class: "plot",
      tabindex: 0,
      role: "group",
      "aria-roledescription": "graph",
      "aria-label": `${spec.title}. Left and right arrows move the crosshair; plus zooms in; minus or Escape goes back.`,
      onkeydown: (event: KeyboardEvent) => this.key(event),
      onblur: () => this.point(null),
      onpointerenter: () => {
        this.crosshair.leader = this;
      },
      onpointerleave: (event: PointerEvent) => this.left(event),
    });
    const title = h("h3", { id: `title-${spec.id}` }, spec.title);
    const head = h("header", { class: "card-head" }, h("div", {}, title, this.note), this.controls);
    this.element = h(
      "section",
      { class: "card graph", "data-graph": spec.id, "aria-labelledby": title.id },
      head,
      this.legend.element,
      this.stage,
      this.empty,
    );
    this.leave = [crosshair.join(this), onTheme(() => this.draw(true)), followTouch(this.stage, () => this.plot)];
    this.observer.observe(this.stage);
  }

  update(data: GraphData): void {
    this.data = data;
    setText(this.note, this.spec.note(data.step));
    const nothing = data.lines.every((line) => isEmpty(line.values));
    this.element.classList.toggle("is-empty", nothing);
    this.empty.hidden = !nothing;
    this.stage.hidden = nothing;
    this.legend.element.hidden = nothing;
    this.legend.update(data.lines);
    this.draw(false);
    this.read();
  }

  destroy(): void {
    for (const leave of this.leave) leave();
    this.observer.disconnect();
    this.plot?.destroy();
  }

  follow(at: number | null): void {
    const { plot } = this;
    if (plot && at !== null) pointAt(plot, plot.valToPos(at + (this.data?.step ?? 0) / 2, "x"), false);
    else if (plot) pointAt(plot, -10, false);
    this.read();
  }

  private visible(): Line[] {
    return (this.data?.lines ?? []).filter((line) => !this.events.isHidden(line.key));
  }

  private draw(rebuild: boolean): void {
    const { data } = this;
    const width = this.stage.clientWidth;
    if (!data || !width || this.stage.hidden) return;
    const lines = this.visible();
    const signature = JSON.stringify(lines.map(({ key, colour, dash }) => [key, colour, dash]));
    if (this.plot && !rebuild && signature === this.drawn) {
      this.plot.setData(columns(this.spec, data, lines));
    } else {
      this.drawn = signature;
      this.plot?.destroy();
      const plan = options(this.spec, lines, { width, height: HEIGHT }, SYNC, {
        range: () => [this.data!.from, this.data!.to],
        zoomed: (from, to) => this.events.zoom(from, to),
        pointed: (index) => this.pointed(index),
        reset: () => this.events.reset(),
        drawn: (plot) => {
          drawVeil(plot, this.data!.incompleteFrom);
          drawMarks(plot, this.events.marks());
          drawLosses(plot, this.events.losses());
          if (this.crosshair.at !== null && this.crosshair.leader !== this) this.follow(this.crosshair.at);
        },
      });
      this.plot = new uPlot(plan, columns(this.spec, data, lines), this.stage);
    }
    this.stage.dataset.from = String(data.from);
    this.stage.dataset.to = String(data.to);
    this.element.classList.toggle("has-losses", this.events.losses().length > 0);
  }

  private resize(): void {
    const width = this.stage.clientWidth;
    if (!this.plot) this.draw(false);
    else if (width && width !== this.plot.width) this.plot.setSize({ width, height: HEIGHT });
  }

  private left(event: PointerEvent): void {
    if (event.pointerType === "touch" || event.buttons || this.crosshair.leader !== this) return;
    this.crosshair.leader = null;
    this.crosshair.point(null, this);
  }

  private pointed(index: number | null): void {
    if (this.crosshair.leader !== this) return;
    this.crosshair.point(index === null ? null : (this.data?.at[index] ?? null), this);
    this.read();
  }

  /** Show the values at the crosshair, or of the last complete step. */
  private read(): void {
    const { data } = this;
    if (!data) return;
    this.legend.read(data.lines, this.index());
  }

  private index(): number | null {
    const { at, incompleteFrom, step } = this.data!;
    if (this.crosshair.at !== null) {
      const index = indexFrom(at, this.crosshair.at - step + 0.001);
      return index < at.length && at[index]! <= this.crosshair.at ? index : null;
    }
    const end = incompleteFrom === null ? at.length : indexFrom(at, incompleteFrom);
    return end > 0 ? end - 1 : null;
  }

  private point(at: number | null): void {
    this.crosshair.point(at, this);
    this.follow(at);
  }

  private key(event: KeyboardEvent): void {
    const { data } = this;
    if (!data?.at.length || event.ctrlKey || event.metaKey || event.altKey) return;
    const last = data.at.length - 1;
    const here = this.crosshair.at === null ? last : Math.max(0, indexFrom(data.at, this.crosshair.at));
    const far = event.shiftKey ? 10 : 1;
    const moves: Record<string, number> = { ArrowLeft: here - far, ArrowRight: here + far, Home: 0, End: last };
    const to = moves[event.key];
    if (to !== undefined) {
      event.preventDefault();
      const index = this.crosshair.at === null && event.key.startsWith("Arrow") ? last : Math.min(last, Math.max(0, to));
      this.point(data.at[index]!);
      this.speak(index);
    } else if (event.key === "+" || event.key === "=") {
      const middle = this.crosshair.at ?? (data.from + data.to) / 2;
      const quarter = (data.to - data.from) / 4;
      this.events.zoom(Math.max(data.from, middle - quarter), Math.min(data.to, middle + quarter));
    } else if (event.key === "-") {
      this.events.reset();
    }
  }

  private speak(index: number): void {
    const values = this.visible().map((line) => `${line.label} ${this.spec.format(line.values[index] ?? null)}`);
    announce(`${clock(this.data!.at[index]!)}: ${values.join(", ")}`);
  }
}
