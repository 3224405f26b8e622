// Warnings about the data: paused partitions, and processes that send under the same boot id.

import { h } from "./dom.ts";
import { count, moment } from "./format.ts";
import type { Conflict, Paused, Replica } from "./models.ts";

/** A banner for each paused partition: since when, why, and how to resume it. */
export class Pauses {
  readonly element = h("div", { role: "alert", "aria-label": "Paused partitions", hidden: true });
  private shown = "";

  update(paused: Paused[]): void {
    const signature = JSON.stringify(paused);
    if (signature === this.shown) return;
    this.shown = signature;
    this.element.hidden = !paused.length;
    this.element.replaceChildren(...paused.map(banner));
  }
}

function banner({ stream, partition, since, reason, command }: Paused): HTMLElement {
  const what = `Partition ${partition} of ${stream} has been paused since ${moment(since)}: ${reason}.`;
  const hint = " Messages sent to it wait, and the replicas that send to it are unknown. Once you know the cause, run: ";
  return h("div", { class: "banner" }, h("div", { class: "banner-text" }, h("strong", {}, what), hint, h("code", {}, command)));
}

/** A line for each replica that several processes with the same boot id send as. */
export class Copies {
  readonly element = h("ul", { class: "copies", "aria-label": "Copied processes", hidden: true });
  private shown = "";

  update(replicas: Replica[], conflicts: Conflict[]): void {
    const lines = replicas.flatMap((replica) => copiesText(replica, conflicts));
    const signature = lines.join("\n");
    if (signature === this.shown) return;
    this.shown = signature;
    this.element.hidden = !lines.length;
    this.element.replaceChildren(...lines.map((line) => h("li", {}, line)));
  }
}

/** Copies are counted, conflicting batches are not; `conflicts` gives the times of those in the range. */
export function copiesText({ replica, copies, conflicting_batches: uncounted }: Replica, conflicts: Conflict[]): string[] {
  const lines: string[] = [];
  if (copies) {
    const who = copies === 1 ? "1 more process" : `${count(copies)} more processes`;
    lines.push(`${who} sent as an agent of ${replica}, as when a memory snapshot is restored twice: all are counted`);
  }
  if (uncounted) {
    const what = uncounted === 1 ? "1 batch" : `${count(uncounted)} batches`;
    const newest = conflicts.findLast((each) => each.replica === replica);
    const when = newest ? ` (the newest arrived between ${moment(newest.from)} and ${moment(newest.to)})` : "";
    lines.push(`${what} of ${replica} not counted: more than nine processes sent as one agent${when}`);
  }
  return lines;
}
