// The interface of the sections: what they query, and how they show an answer.

import type { View } from "./address.ts";
import type { Crosshair } from "./crosshair.ts";
import type { GraphEvents } from "./graph.ts";
import type { Answer } from "./models.ts";

export interface Section {
  readonly element: HTMLElement;
  /** The groups of series and the parts that the section queries. */
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
