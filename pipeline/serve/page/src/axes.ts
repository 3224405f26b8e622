// Positions and labels of axis ticks. Pure, except for the browser's time zone.

import { clock, day, hourMinute } from "./format.ts";

const MINUTE = 60;
const HOUR = 3600;
const DAY = 86400;
const STEPS = [1, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY];
const LONG_STEPS = [2 * DAY, 5 * DAY, 7 * DAY, 14 * DAY, 30 * DAY];

/** Tick spacings of a time axis, in seconds. */
export const TIME_STEPS = [...STEPS, ...LONG_STEPS];

/** Tick spacings of an axis of whole numbers. */
export const WHOLE_STEPS = [0, 3, 6, 9, 12].flatMap((zeros) => [1, 2, 5, 10, 20, 50, 100, 200, 500].map((n) => n * 10 ** zeros));

/** Tick labels; the first one and the first of each day have the day on a second line. */
export function timeTicks(moments: number[], spacing: number): string[] {
  let before = "";
  return moments.map((at) => {
    const today = day(at);
    const first = today !== before;
    before = today;
    if (spacing >= DAY) return today;
    const text = spacing >= MINUTE ? hourMinute(at) : clock(at);
    return first ? `${text}\n${today}` : text;
  });
}

/** At most `most` ticks of [from, to], aligned to local hours and days. */
export function timeSplits(from: number, to: number, most: number): { at: number[]; spacing: number } {
  const spacing = TIME_STEPS.find((step) => (to - from) / step <= most) ?? TIME_STEPS[TIME_STEPS.length - 1]!;
  const offset = -new Date(from * 1000).getTimezoneOffset() * 60;
  const first = Math.ceil((from + offset) / spacing) * spacing - offset;
  const at: number[] = [];
  for (let moment = first; moment <= to; moment += spacing) at.push(moment);
  return { at, spacing };
}

/** The top of an axis that starts at 0: a little above the greatest value. */
export function top(greatest: number | null, ceiling: number | null, least: number): number {
  if (ceiling !== null) return Math.max(ceiling, greatest ?? 0);
  return greatest === null || greatest <= 0 ? least : greatest * 1.08;
}
