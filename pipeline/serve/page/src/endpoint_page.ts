// The page of one endpoint: queries what the view shows, keeps the answer, and passes it to the open section.

import type { View } from "./address.ts";
import { ApiError, readSeries, type SeriesQuery } from "./api.ts";
import { ComputeSection } from "./compute_section.ts";
import { Crosshair } from "./crosshair.ts";
import { h } from "./dom.ts";
import { noData } from "./empty.ts";
import { EngineSection } from "./engine_section.ts";
import { Losses, type Lossy } from "./losses.ts";
import { merge } from "./merge.ts";
import { isMark, eventText } from "./marks.ts";
import type { Navigation } from "./navigation.ts";
import { Banner } from "./notice.ts";
import { Poll, type Work } from "./poll.ts";
import { RequestsSection } from "./requests_section.ts";
import type { Section } from "./section.ts";
import type { Answer, ScaleEvent } from "./models.ts";
import { TimelineSection } from "./timeline_section.ts";
import { Toolbar } from "./toolbar.ts";
import { Copies, Pauses } from "./warnings.ts";

const SECTIONS = { requests: RequestsSection, compute: ComputeSection, engine: EngineSection, timeline: TimelineSection };
const PX_PER_POINT = 4;
const POLLS_PER_STEP = 20;

/** Settings that need a new query when they change; the others only change how the answer is drawn. */
const QUERIED: (keyof View)[] = ["section", "range", "replica", "by", "details", "events"];

export class EndpointPage implements Work {
  readonly element: HTMLElement;
  private readonly toolbar: Toolbar;
  private readonly banner = new Banner(() => this.poll.restart());
  private readonly pauses = new Pauses();
  private readonly losses = new Losses();
  private readonly copies = new Copies();
  private readonly crosshair = new Crosshair();
  private readonly stage = h("div", { class: "stage", "aria-busy": "true" });
  private section: Section | null = null;
  private answer: Answer | null = null;
  private tookS = 0;
  private zoomed = false;
  private readonly poll: Poll;

  constructor(
    private readonly navigation: Navigation,
    private readonly signedOut: () => void,
    put: (page: EndpointPage) => void,
  ) {
    this.toolbar = new Toolbar(navigation);
    const notices = [this.banner, this.pauses, this.losses, this.copies].map(({ element }) => element);
    this.element = h("main", { class: "page", id: "main" }, this.toolbar.element, ...notices, this.stage);
    this.crosshair.watch((at) => this.read(at));
    this.toolbar.show(this.view);
    this.openSection();
    this.read(null);
    put(this);
    this.poll = new Poll(this);
  }

  changed(view: View, before: View): void {
    this.toolbar.show(view);
    if (view.section !== before.section) this.openSection();
    if (QUERIED.some((name) => view[name] !== before[name])) {
      this.stage.setAttribute("aria-busy", "true");
      this.poll.restart();
    } else {
      this.show();
      this.poll.repace();
    }
  }

  destroy(): void {
    this.poll.stop();
    this.toolbar.destroy();
    this.section?.destroy();
  }

  async load(fresh: boolean, signal: AbortSignal): Promise<void> {
    const old = fresh ? null : this.answer;
    const after = old && { step: old.step, since: old.incomplete_from ?? old.to };
    const startedMs = performance.now();
    const answer = await readSeries(this.query(after), signal);
    this.tookS = (performance.now() - startedMs) / 1000;
    this.answer = old && answer.step === old.step ? merge(old, answer) : answer;
    this.stage.setAttribute("aria-busy", "false");
    this.show();
  }

  pause(): number | null {
    const { refresh, range } = this.view;
    const { answer } = this;
    if (!refresh || !answer) return null;
    if (!("preset" in range) && answer.incomplete_from === null) return null; // a complete fixed range cannot change
    // A slow server spends at most half of its time on our queries.
    return Math.max(refresh, answer.step / POLLS_PER_STEP, this.tookS);
  }

  failed(error: ApiError, retryInSeconds: number): void {
    if (error.status === 401) this.signedOut();
    else if (error.status === 404) this.showEmpty();
    else this.banner.show(error, retryInSeconds);
    this.element.classList.toggle("is-stale", error.status !== 404);
  }

  succeeded(): void {
    this.banner.hide();
    this.element.classList.remove("is-stale");
  }

  private get view(): View {
    return this.navigation.view;
  }

  private query(after: SeriesQuery["after"]): SeriesQuery {
    const { range, replica, by, details, endpoint, events } = this.view;
    const { series, include } = this.section!;
    const half = this.stage.clientWidth / (this.stage.clientWidth > 860 ? 2 : 1);
    return {
      endpoint: endpoint!,
      range,
      replica,
      by,
      details,
      after,
      series,
      include: [...include, "replicas", ...(events ? ["events"] : [])],
      points: Math.min(400, Math.max(60, Math.round(half / PX_PER_POINT))),
    };
  }

  private openSection(): void {
    const { navigation, crosshair } = this;
    this.section?.destroy();
    this.answer = null;
    const toggle = (key: string, alone: boolean): void => {
      navigation.change({ hidden: toggled(navigation.view.hidden, key, alone, this.section!) });
    };
    this.section = new SECTIONS[this.view.section]({
      crosshair,
      change: (part) => navigation.change(part),
      events: {
        isHidden: (key) => navigation.view.hidden.has(key),
        toggle,
        zoom: (from, to) => this.zoom(from, to),
        reset: () => navigation.reset(),
        marks: () => this.marks(),
        losses: () => this.lossyRanges(),
      },
    });
    this.stage.replaceChildren(this.section.element);
  }

  /** All graphs sharing a drag report it, each with its own pixels; the first is the one under the pointer. */
  private zoom(from: number, to: number): void {
    if (this.zoomed) return;
    this.zoomed = true;
    setTimeout(() => (this.zoomed = false));
    this.navigation.zoom(from, to);
  }

  private show(): void {
    const { answer } = this;
    if (!answer) return;
    if (this.section!.element.parentElement !== this.stage) this.stage.replaceChildren(this.section!.element);
    this.section!.show(withNewestStep(answer), this.view);
    if (answer.replicas) this.toolbar.showReplicas(answer.replicas, this.view.replica);
    this.toolbar.age.update(answer.newest_at, answer.unknown_since ?? null);
    this.pauses.update(answer.paused ?? []);
    this.losses.update(answer.losses ?? []);
    const shown = (answer.replicas ?? []).filter(({ replica }) => !this.view.replica || replica === this.view.replica);
    this.copies.update(shown, answer.conflicts ?? []);
    this.read(this.crosshair.at);
  }

  private showEmpty(): void {
    this.banner.hide();
    this.stage.setAttribute("aria-busy", "false");
    this.stage.replaceChildren(noData(this.view.endpoint!));
  }

  /** The time ranges in which the section's figures are too low. */
  private lossyRanges(): Lossy[] {
    const losses = this.answer?.losses ?? [];
    const conflicts = this.answer?.conflicts ?? [];
    const { section } = this.view;
    const stream = section === "compute" ? "hardware" : section;
    return [...(section === "requests" ? losses : []), ...conflicts.filter((each) => each.stream === stream)];
  }

  private marks(): ScaleEvent[] {
    return this.view.events ? (this.answer?.events ?? []).filter(isMark) : [];
  }

  private read(at: number | null): void {
    const step = this.answer?.step ?? 0;
    const happened = at === null ? [] : this.marks().filter((event) => event.at >= at && event.at < at + step);
    this.toolbar.read(at, this.answer, happened.slice(0, 3).map(eventText));
  }
}

/** Draw only the current step as incomplete: older ones may still change, but rarely do. */
function withNewestStep(answer: Answer): Answer {
  const { incomplete_from: incomplete, newest_at: newest, step } = answer;
  if (incomplete === null || newest === null) return answer;
  return { ...answer, incomplete_from: Math.max(incomplete, Math.floor(newest / step) * step) };
}

/** The hidden entries after a click on one: `graph.line`. */
function toggled(hidden: ReadonlySet<string>, key: string, alone: boolean, section: Section): Set<string> {
  const next = new Set(hidden);
  const graph = key.slice(0, key.indexOf("."));
  if (!alone) {
    if (!next.delete(key)) next.add(key);
    return next;
  }
  const entries = section.element.querySelectorAll<HTMLElement>(`[data-graph="${graph}"] .legend-entry`);
  const all = [...entries].map((entry) => `${graph}.${entry.dataset.key}`);
  const isAlone = all.every((other) => next.has(other) !== (other === key));
  for (const other of all) {
    if (isAlone || other === key) next.delete(other);
    else next.add(other);
  }
  return next;
}
