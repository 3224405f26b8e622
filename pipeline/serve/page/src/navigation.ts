// The current view, its address, and the browser's history.
//
// Only zooms and switches between endpoints add a history entry, so that "back" undoes exactly one of them;
// everything else replaces the address in place.

import { DEFAULT_VIEW, formatAddress, parseAddress, sameRange, type Range, type View } from "./address.ts";

interface Step {
  /** Zooms since the endpoint was opened or a preset chosen. */
  zooms: number;
}

export type Listener = (view: View, before: View) => void;

export class Navigation {
  view: View;
  private readonly listeners: Listener[] = [];

  constructor() {
    this.view = parseAddress(location.search);
    history.replaceState({ zooms: this.zooms } satisfies Step, "");
    addEventListener("popstate", () => this.popped());
  }

  get zooms(): number {
    return (history.state as Step | null)?.zooms ?? 0;
  }

  /** Whether "back" can undo something: a zoom, or a fixed range from the address. */
  get canGoBack(): boolean {
    return this.zooms > 0 || !("preset" in this.view.range);
  }

  listen(listener: Listener): void {
    this.listeners.push(listener);
  }

  /** Change settings of the view in place. */
  change(part: Partial<View>): void {
    this.show({ ...this.view, ...part }, this.zooms, "replaceState");
  }

  /** Open an endpoint, or the list with null. */
  open(endpoint: View["endpoint"]): void {
    this.show({ ...DEFAULT_VIEW, endpoint, refresh: this.view.refresh }, 0, "pushState");
  }

  /** Zoom into a time range: adds one history entry. */
  zoom(from: number, to: number): void {
    const range = { from: Math.floor(from), to: Math.ceil(to) };
    if (range.to - range.from < 10 || sameRange(range, this.view.range)) return;
    this.show({ ...this.view, range }, this.zooms + 1, "pushState");
  }

  /** Choose a preset: ends zooming, but the browser's back button still returns to the zooms. */
  choose(range: Range): void {
    if (!sameRange(range, this.view.range)) {
      this.show({ ...this.view, range }, 0, this.zooms ? "pushState" : "replaceState");
    }
  }

  /** Undo one zoom. */
  back(): void {
    if (this.zooms > 0) history.back();
    else if (!("preset" in this.view.range)) this.choose(DEFAULT_VIEW.range);
  }

  /** Undo all zooms. */
  reset(): void {
    if (this.zooms > 0) history.go(-this.zooms);
    else this.back();
  }

  private show(view: View, zooms: number, how: "pushState" | "replaceState"): void {
    history[how]({ zooms } satisfies Step, "", formatAddress(view));
    this.notify(view);
  }

  private popped(): void {
    const there = parseAddress(location.search);
    const here = this.view;
    const same = there.endpoint?.namespace === here.endpoint?.namespace && there.endpoint?.name === here.endpoint?.name;
    // Going back changes the range only, and keeps other settings changed since.
    if (same && there.endpoint) this.show({ ...here, range: there.range }, this.zooms, "replaceState");
    else this.notify(there);
  }

  private notify(view: View): void {
    const before = this.view;
    this.view = view;
    for (const listener of this.listeners) listener(view, before);
  }
}
