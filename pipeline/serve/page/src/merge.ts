// Merges an answer with the newer steps of a later one. Pure: answers in, an answer out.

import type { Answer, Series, Values } from "./models.ts";

export function seriesKey(series: Series): string {
  return [series.group, series.name, series.replica ?? "", series.device ?? ""].join("|");
}

/** The first index whose time is not before `at`. */
export function indexFrom(moments: number[], at: number): number {
  let low = 0;
  let high = moments.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (moments[middle]! < at) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * Replace the old answer's steps from the new one's first step on, and drop those outside the new range.
 *
 * A status missing from one answer had no requests in it: 0 in steps that were reported, a gap in others.
 */
export function merge(old: Answer, fresh: Answer): Answer {
  const start = indexFrom(old.at, fresh.from);
  const end = fresh.at.length ? indexFrom(old.at, fresh.at[0]!) : old.at.length;
  const at = [...old.at.slice(start, end), ...fresh.at];
  const before = new Map(old.series.map((series) => [seriesKey(series), series]));
  const after = new Map(fresh.series.map((series) => [seriesKey(series), series]));
  const unnamed = (answer: Answer, series: Series): Values => {
    const reported = series.group === "requests" && answer.series.find(({ name }) => name === "aborted");
    return reported ? reported.values.map((value) => (value === null ? null : 0)) : answer.at.map(() => null);
  };
  const order = fresh.series.length >= old.series.length ? fresh.series : old.series;
  const keys = new Set([...order.map(seriesKey), ...after.keys(), ...before.keys()]);
  const series = [...keys].map((key) => {
    const model = (after.get(key) ?? before.get(key))!;
    const head = before.get(key)?.values ?? unnamed(old, model);
    const tail = after.get(key)?.values ?? unnamed(fresh, model);
    return { ...model, values: [...head.slice(start, end), ...tail] };
  });
  // Each answer reports these anew, or leaves them out.
  const { unknown_since: _unknown, losses: _losses, conflicts: _conflicts, paused: _paused, ...kept } = old;
  return { ...kept, ...fresh, at, series };
}
