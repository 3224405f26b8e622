// The toolbar: section, replica, time range and refresh interval. It shows the view and requests changes to it.

import { INTERVALS, PRESETS, presetSeconds, type Preset, type Section, type View } from "./address.ts";
import { Age } from "./age.ts";
import { h, setText } from "./dom.ts";
import { clock, day, duration, moment, zone } from "./format.ts";
import { icon } from "./icons.ts";
import type { Navigation } from "./navigation.ts";
import { Segmented } from "./segmented.ts";
import type { Answer, Replica } from "./models.ts";

const SECTIONS: readonly (readonly [Section, string])[] = [["requests", "Requests"], ["compute", "Compute"], ["engine", "Engine"], ["timeline", "Timeline"]];
const UNITS: Record<string, [string, string]> = { m: ["minute", "minutes"], h: ["hour", "hours"], d: ["day", "days"] };

function presetName(preset: Preset): string {
  const number = preset.slice(0, -1);
  const [one, many] = UNITS[preset.slice(-1)]!;
  return `Last ${number === "1" ? one : `${number} ${many}`}`;
}

export class Toolbar {
  readonly element: HTMLElement;
  readonly age = new Age();
  private readonly sections: Segmented<Section>;
  private readonly replica = h("select", { id: "replica", "aria-label": "Replica", onchange: () => this.chooseReplica() });
  private readonly range = h("select", { id: "range", "aria-label": "Time range", onchange: () => this.chooseRange() });
  private readonly refresh = h("select", { id: "refresh", "aria-label": "Refresh", onchange: () => this.chooseRefresh() });
  private readonly events = h("input", { type: "checkbox", id: "events", onchange: () => this.navigation.change({ events: this.events.checked }) });
  private readonly back = h("button", { type: "button", class: "button", id: "back", onclick: () => this.navigation.back() }, icon("back"), "Back");
  private readonly readout = h("p", { class: "readout", id: "readout" });
  private replicas = "";

  constructor(private readonly navigation: Navigation) {
    this.back.title = "Undo the last zoom (Backspace or Escape)";
    this.sections = new Segmented("Section", SECTIONS, (section) => navigation.change({ section }), "tabs");
    this.refresh.append(
      ...INTERVALS.map((seconds) => h("option", { value: seconds }, seconds === 1 ? "Every second" : `Every ${duration(seconds)}`)),
      h("option", { value: 0 }, "Paused"),
    );
    this.element = h(
      "div",
      { class: "toolbar" },
      this.sections.element,
      h(
        "div",
        { class: "toolbar-controls" },
        this.age.element,
        h("label", { class: "check" }, this.events, h("span", {}, "Scale events")),
        this.replica,
        this.back,
        this.range,
        this.refresh,
      ),
      this.readout,
    );
  }

  show(view: View): void {
    this.sections.set(view.section);
    this.showRange(view);
    this.refresh.value = String(view.refresh);
    this.events.checked = view.events;
    this.back.hidden = !this.navigation.canGoBack;
    this.showReplicas([], view.replica);
  }

  /** List the replicas of the range, and the chosen one even if it is not among them. */
  showReplicas(replicas: Replica[], chosen: string | null): void {
    const known = replicas.map(({ replica, state }) => [replica, state] as const);
    if (!known.length && this.replicas) known.push(...(JSON.parse(this.replicas) as [string, Replica["state"]][]));
    if (chosen && !known.some(([name]) => name === chosen)) known.push([chosen, null]);
    const signature = JSON.stringify(known);
    if (signature !== this.replicas) {
      this.replicas = signature;
      this.replica.replaceChildren(
        h("option", { value: "" }, "All replicas"),
        ...known.map(([name, state]) => h("option", { value: name }, state && state !== "running" ? `${name} (${state})` : name)),
      );
    }
    this.replica.value = chosen ?? "";
  }

  /** Show the time under the crosshair and the events then; without a crosshair, the range of the graphs. */
  read(at: number | null, answer: Answer | null, events: string[]): void {
    const step = answer?.step ?? 0;
    const [from, to] = at === null ? [answer?.from ?? 0, answer?.to ?? 0] : [at, at + step];
    const when = answer ? `${moment(from)} – ${day(from) === day(to) ? clock(to) : moment(to)} ${zone()}` : `Times in ${zone()}`;
    setText(this.readout, [when, ...(answer && at === null ? [`steps of ${duration(step)}`] : []), ...events].join("  ·  "));
    this.readout.classList.toggle("is-pointing", at !== null);
  }

  destroy(): void {
    this.age.destroy();
  }

  private showRange({ range }: View): void {
    const options = PRESETS.map((preset) => h("option", { value: preset }, presetName(preset)));
    if (!("preset" in range)) {
      const text = `${moment(range.from)} – ${moment(range.to)}`;
      options.push(h("option", { value: "custom" }, text));
    }
    this.range.replaceChildren(...options);
    this.range.value = "preset" in range ? range.preset : "custom";
  }

  private chooseReplica(): void {
    this.navigation.change({ replica: this.replica.value || null });
  }

  private chooseRange(): void {
    if (this.range.value !== "custom") this.navigation.choose({ preset: this.range.value as Preset });
  }

  private chooseRefresh(): void {
    this.navigation.change({ refresh: Number(this.refresh.value) });
  }
}

/** The length of a view's range in seconds. */
export function span({ range }: View): number {
  return "preset" in range ? presetSeconds(range.preset) : range.to - range.from;
}
