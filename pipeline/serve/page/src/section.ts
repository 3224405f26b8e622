// What the sections have in common: what they ask for, and that they show an answer.

import type { View } from "./address.ts";
import type { Crosshair } from "./crosshair.ts";
import type { GraphEvents } from "./graph.ts";
import type { Answer } from "./models.ts";

export interface Section {
  readonly element: HTMLElement;
  /** Groups of series, and parts to include, that the section shows. */
  readonly series: string[];
  readonly include: string[];
  show(answer: Answer, view: View): void;
  destroy(): void;
}

export interface SectionContext {
  crosshair: Crosshair;
  events: GraphEvents;
  change(part: Partial<View>): void;
}
