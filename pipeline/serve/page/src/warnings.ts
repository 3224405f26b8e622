// What is wrong behind the figures, in words: partitions that nobody reads, and processes that send as one another.

import { h } from "./dom.ts";
import { count, moment } from "./format.ts";
import type { Conflict, Paused, Replica } from "./models.ts";

/** A banner for each paused partition: what waits, since when, why, and how to fix it. */
export class Pauses {
  readonly element = h("div", { role: "alert", "aria-label": "Paused partitions", hidden: true });
  private said = "";

  update(paused: Paused[]): void {
    const said = JSON.stringify(paused);
    if (said === this.said) return;
    this.said = said;
    this.element.hidden = !paused.length;
    this.element.replaceChildren(...paused.map(banner));
  }
}

function banner({ stream, partition, since, reason, command }: Paused): HTMLElement {
  const what = `Partition ${partition} of ${stream} is paused since ${moment(since)}: ${reason}.`;
  const hint = " What is sent to it waits, and of replicas that send to it nothing is known. Once you know why: ";
  return h("div", { class: "banner" }, h("div", { class: "banner-text" }, h("strong", {}, what), hint, h("code", {}, command)));
}

/** A line for each replica under whose name more processes send than are there. */
export class Copies {
  readonly element = h("ul", { class: "copies", "aria-label": "Processes that send as one", hidden: true });
  private said = "";

  update(replicas: Replica[], conflicts: Conflict[]): void {
    const lines = replicas.flatMap((replica) => tellCopies(replica, conflicts));
    const said = lines.join("\n");
    if (said === this.said) return;
    this.said = said;
    this.element.hidden = !lines.length;
    this.element.replaceChildren(...lines.map((line) => h("li", {}, line)));
  }
}

/** Copies are counted, conflicting batches are not: `conflicts` says when those of the range came. */
export function tellCopies({ replica, copies, conflicting_batches: uncounted }: Replica, conflicts: Conflict[]): string[] {
  const lines: string[] = [];
  if (copies) {
    const who = copies === 1 ? "1 more process" : `${count(copies)} more processes`;
    lines.push(`${who} sent as an agent of ${replica}, as after a memory snapshot that is restored twice: all are counted`);
  }
  if (uncounted) {
    const what = uncounted === 1 ? "1 batch" : `${count(uncounted)} batches`;
    const newest = conflicts.findLast((each) => each.replica === replica);
    const when = newest ? ` (the newest came between ${moment(newest.from)} and ${moment(newest.to)})` : "";
    lines.push(`${what} of ${replica} in no figure: more than nine processes sent as one agent${when}`);
  }
  return lines;
}
