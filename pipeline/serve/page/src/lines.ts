// What a graph draws: lines with a name, a colour and a dash that tells them apart without the colour.

import type { Answer, Series, Values } from "./models.ts";

export interface Line {
  /** Unique within the graph; stands in the address when the line is hidden. */
  key: string;
  label: string;
  /** A colour of the style sheet. */
  colour: string;
  values: Values;
  dash?: number[];
  width?: number;
  /** Fill below the line. */
  fill?: boolean;
  steps?: boolean;
}

export interface GraphData {
  /** Starts of the steps. */
  at: number[];
  step: number;
  from: number;
  to: number;
  /** Steps from here on are not complete yet. */
  incompleteFrom: number | null;
  lines: Line[];
}

export const isEmpty = (values: Values): boolean => values.every((value) => value === null);

/** The graph's frame from an answer, with these lines in it. */
export function graphData(answer: Answer, lines: Line[]): GraphData {
  const { at, step, from, to } = answer;
  return { at, step, from, to, incompleteFrom: answer.incomplete_from, lines };
}

/** The series of a group by name; of several (details) the first. */
export function byName(answer: Answer, group: Series["group"]): Map<string, Values> {
  const found = new Map<string, Values>();
  for (const series of answer.series) {
    if (series.group === group && !found.has(series.name)) found.set(series.name, series.values);
  }
  return found;
}

/** Lines as layers that lie on one another, the first lowest: each with the sum up to and including it. */
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
