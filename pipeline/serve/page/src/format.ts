// Formats numbers and times for people. Pure: a value in, text out; null is always an en dash.

export const DASH = "–";

const grouped = new Intl.NumberFormat("en-US");

/** Three significant digits without trailing zeros: 12.3, 1.25, 980. */
function short(value: number): string {
  const size = Math.abs(value);
  if (size >= 100) return grouped.format(Math.round(value));
  return String(Number(value.toFixed(size >= 10 ? 1 : 2)));
}

function scaled(value: number, steps: readonly (readonly [number, string])[], gap: string): string {
  const size = Math.abs(value);
  // 0.9995 of a unit already rounds up to it.
  const [unit, name] = steps.find(([unit]) => size >= unit * 0.9995) ?? steps[steps.length - 1]!;
  return `${short(value / unit)}${gap}${name}`.trim();
}

const THOUSANDS = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e4, "k"], [1, ""]] as const;
const AXIS_THOUSANDS = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"], [1, ""]] as const;
const BYTES = [[1e12, "TB"], [1e9, "GB"], [1e6, "MB"], [1e3, "kB"], [1, "B"]] as const;

/** An exact integer: 12,345. */
export function count(value: number | null): string {
  return value === null ? DASH : grouped.format(value);
}

/** A number of any size, fractions included: 0.25, 980, 12.3 k. */
export function amount(value: number | null): string {
  return value === null ? DASH : scaled(value, THOUSANDS, " ");
}

/** A tick label on an axis of counts: 1.5k. */
export function tick(value: number): string {
  return scaled(value, AXIS_THOUSANDS, "");
}

/** Events per second: 1.2 k/s; below one per second, per minute: 3/min. */
export function rate(perSecond: number | null): string {
  if (perSecond === null) return DASH;
  if (perSecond > 0 && perSecond < 0.995) return `${short(perSecond * 60)}/min`;
  return `${scaled(perSecond, AXIS_THOUSANDS, " ")}/s`;
}

/** A share of 0 to 1 as a percentage; a value close to 0 or 1 is not rounded to it. */
export function share(value: number | null): string {
  if (value === null) return DASH;
  const percent = value * 100;
  if (value > 0 && percent < 0.01) return "<0.01 %";
  if (value < 1 && percent > 99.99) return ">99.99 %";
  return `${Number(percent.toFixed(percent >= 99 || percent < 1 ? 2 : 1))} %`;
}

/** A percentage of 0 to 100. */
export function percent(value: number | null): string {
  return value === null ? DASH : `${short(value)} %`;
}

/** Bytes in decimal units: 3.4 GB. */
export function bytes(value: number | null): string {
  return value === null ? DASH : scaled(value, BYTES, " ");
}

/** Bytes per second. */
export function byteRate(value: number | null): string {
  return value === null ? DASH : `${bytes(value)}/s`;
}

/** Watts. */
export function watts(value: number | null): string {
  return value === null ? DASH : `${short(value)} W`;
}

/** Degrees Celsius. */
export function celsius(value: number | null): string {
  return value === null ? DASH : `${short(value)} °C`;
}

/** A duration: 640 µs, 12.3 ms, 1.25 s, 2 min 5 s, 3 h 10 min, 2 d 4 h. */
export function duration(seconds: number | null): string {
  if (seconds === null) return DASH;
  if (seconds === 0) return "0 s";
  if (seconds < 0.0009995) return `${short(seconds * 1e6)} µs`;
  if (seconds < 0.9995) return `${short(seconds * 1e3)} ms`;
  if (seconds < 59.95) return `${short(seconds)} s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return two(Math.floor(whole / 60), "min", whole % 60, "s");
  const minutes = Math.round(whole / 60);
  if (minutes < 1440) return two(Math.floor(minutes / 60), "h", minutes % 60, "min");
  const hours = Math.round(whole / 3600);
  return two(Math.floor(hours / 24), "d", hours % 24, "h");
}

function two(large: number, unit: string, small: number, smallUnit: string): string {
  return small ? `${large} ${unit} ${small} ${smallUnit}` : `${large} ${unit}`;
}

const clockSeconds = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const clockMinutes = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const dayMonth = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const zoneName = new Intl.DateTimeFormat("en-GB", { timeZoneName: "short", hour: "2-digit" });

/** Local time of day, with seconds. */
export function clock(at: number): string {
  return clockSeconds.format(at * 1000);
}

/** Local time of day, without seconds. */
export function hourMinute(at: number): string {
  return clockMinutes.format(at * 1000);
}

/** Local day and month. */
export function day(at: number): string {
  return dayMonth.format(at * 1000);
}

/** Day and time, without the day if it is today. */
export function moment(at: number, now = Date.now() / 1000): string {
  return day(at) === day(now) ? clock(at) : `${day(at)} ${clock(at)}`;
}

/** The time zone of the times shown: UTC, CET, GMT+5:30. */
export function zone(now = Date.now()): string {
  return zoneName.formatToParts(now).find((part) => part.type === "timeZoneName")?.value ?? "local time";
}
