// The data of a graph's lines: a name, a colour, a dash that distinguishes them without it. plot.ts draws them.

import type { Answer, Series, Values } from "./models.ts";

export interface Line {
  /** Unique within the graph; part of the address when the line is hidden. */
  key: string;
  label: string;
  /** A colour name of the style sheet. */
  colour: string;
  values: Values;
  dash?: number[];
  width?: number;
  /** Fill below the line. */
  fill?: boolean;
  steps?: boolean;
}

export interface GraphData {
  /** Start of each step. */
  at: number[];
  step: number;
  from: number;
  to: number;
  /** Steps from this time on are not complete yet. */
  incompleteFrom: number | null;
  lines: Line[];
}

export const isEmpty = (values: Values): boolean => values.every((value) => value === null);

/** The graph data of these lines, with the time axis of an answer. */
export function graphData(answer: Answer, lines: Line[]): GraphData {
  const { at, step, from, to } = answer;
  return { at, step, from, to, incompleteFrom: answer.incomplete_from, lines };
}

/** The series of a group by name; the first one if several share a name (details). */
export function byName(answer: Answer, group: Series["group"]): Map<string, Values> {
  const found = new Map<string, Values>();
  for (const series of answer.series) {
    if (series.group === group && !found.has(series.name)) found.set(series.name, series.values);
  }
  return found;
}

/** Stacked lines, the first at the bottom: each is the sum of itself and the lines before it. */
export function stack(lines: Line[]): Values[] {
  const length = lines[0]?.values.length ?? 0;
  const sum: Values = new Array<number | null>(length).fill(null);
  return lines.map(({ values }) => {
    for (let i = 0; i < length; i++) {
      const value = values[i];
      if (value !== null && value !== undefined) sum[i] = (sum[i] ?? 0) + value;
    }
    return [...sum];
  });
}
