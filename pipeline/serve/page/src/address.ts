// The view and its address: every choice of the user is in the query string, so a view can be shared. Pure.

export const PRESETS = ["5m", "15m", "1h", "3h", "6h", "12h", "24h", "2d", "7d", "30d"] as const;
export type Preset = (typeof PRESETS)[number];
export const SECTIONS = ["requests", "compute", "engine", "timeline"] as const;
export type Section = (typeof SECTIONS)[number];
export const INTERVALS = [1, 5, 15, 60] as const;

/** A range that moves with the clock, or a fixed one in Unix seconds. */
export type Range = { preset: Preset } | { from: number; to: number };

export interface View {
  /** null: the list of endpoints. */
  endpoint: { namespace: string; name: string } | null;
  section: Section;
  range: Range;
  /** null: all replicas. */
  replica: string | null;
  by: "class" | "status";
  details: boolean;
  events: boolean;
  /** Seconds between refreshes; 0: off. */
  refresh: number;
  /** Hidden legend entries, as `graph.line`. */
  hidden: ReadonlySet<string>;
}

export const DEFAULT_VIEW: View = {
  endpoint: null,
  section: "requests",
  range: { preset: "15m" },
  replica: null,
  by: "class",
  details: false,
  events: false,
  refresh: 1,
  hidden: new Set(),
};

const UNIT_SECONDS = { m: 60, h: 3600, d: 86400 } as const;

/** The length of a preset in seconds. */
export function presetSeconds(preset: Preset): number {
  return Number(preset.slice(0, -1)) * UNIT_SECONDS[preset.slice(-1) as keyof typeof UNIT_SECONDS];
}

export function sameRange(a: Range, b: Range): boolean {
  return "preset" in a
    ? "preset" in b && a.preset === b.preset
    : !("preset" in b) && a.from === b.from && a.to === b.to;
}

function oneOf<T>(values: readonly T[], value: unknown, otherwise: T): T {
  return values.includes(value as T) ? (value as T) : otherwise;
}

function parseRange(query: URLSearchParams): Range {
  const from = Number(query.get("from"));
  const to = Number(query.get("to"));
  if (query.has("from") && from > 0 && to > from) return { from, to };
  return { preset: oneOf(PRESETS, query.get("range"), "15m") };
}

/** Parse the query string of an address. Invalid values fall back to the default: a link must always open. */
export function parseAddress(search: string): View {
  const query = new URLSearchParams(search);
  const [namespace, name, ...rest] = (query.get("endpoint") ?? "").split("/");
  const refresh = query.has("refresh") ? Number(query.get("refresh")) : DEFAULT_VIEW.refresh;
  return {
    endpoint: namespace && name && !rest.length ? { namespace, name } : null,
    section: oneOf(SECTIONS, query.get("section"), "requests"),
    range: parseRange(query),
    replica: query.get("replica") || null,
    by: oneOf(["class", "status"] as const, query.get("by"), "class"),
    details: query.get("details") === "1",
    events: query.get("events") === "1",
    refresh: oneOf([0, ...INTERVALS], refresh, DEFAULT_VIEW.refresh),
    hidden: new Set((query.get("hide") ?? "").split(",").filter(Boolean)),
  };
}

/** Format a view as a query string, without defaults; slashes and commas stay readable. */
export function formatAddress(view: View): string {
  if (!view.endpoint) return "?";
  const query = new URLSearchParams();
  query.set("endpoint", `${view.endpoint.namespace}/${view.endpoint.name}`);
  if (view.section !== "requests") query.set("section", view.section);
  if (!("preset" in view.range)) {
    query.set("from", String(view.range.from));
    query.set("to", String(view.range.to));
  } else if (view.range.preset !== "15m") query.set("range", view.range.preset);
  if (view.replica) query.set("replica", view.replica);
  if (view.by !== "class") query.set("by", view.by);
  if (view.details) query.set("details", "1");
  if (view.events) query.set("events", "1");
  if (view.refresh !== DEFAULT_VIEW.refresh) query.set("refresh", String(view.refresh));
  if (view.hidden.size) query.set("hide", [...view.hidden].sort().join(","));
  return `?${query.toString().replaceAll("%2F", "/").replaceAll("%2C", ",")}`;
}
