// The client of the JSON API: paths, one error type, and the offset between this machine's clock and the server's.

import type { Range } from "./address.ts";
import type { Answer, Endpoints, Session } from "./models.ts";

// The service responds within 10 s, even if only to report that ClickHouse does not.
const TIMEOUT_MS = 11_000;

/** What is wrong, and how to fix it. `status` 0: there was no response. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    what: string,
    readonly hint: string,
  ) {
    super(what);
  }
}

/** Seconds by which the server's clock is ahead of this one; small differences are network delay and are ignored. */
let aheadSeconds = 0;

/** The current time of the server's clock, in Unix seconds. */
export function serverNow(): number {
  return Date.now() / 1000 + aheadSeconds;
}

function readClock(response: Response): void {
  const date = Date.parse(response.headers.get("date") ?? "");
  if (Number.isNaN(date)) return;
  const ahead = (date + 500 - Date.now()) / 1000; // the header has whole seconds
  aheadSeconds = Math.abs(ahead) > 2 ? ahead : 0;
}

async function request(path: string, init: RequestInit, signal?: AbortSignal): Promise<Response> {
  const timeout = AbortSignal.timeout(TIMEOUT_MS);
  let response: Response;
  try {
    response = await fetch(path, { ...init, signal: signal ? AbortSignal.any([signal, timeout]) : timeout });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(0, "The query service does not respond.", "Check that it is running and that the network is up.");
  }
  readClock(response);
  if (!response.ok) throw await failure(response);
  return response;
}

async function failure(response: Response): Promise<ApiError> {
  try {
    const { detail, hint } = (await response.json()) as { detail: string; hint: string };
    return new ApiError(response.status, sentence(detail), sentence(hint));
  } catch {
    return new ApiError(response.status, `The query service responded with status ${response.status}.`, "See its log for details.");
  }
}

/** The API's messages are sentence fragments; the page shows them as sentences. */
function sentence(text: string): string {
  return text && `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;
}

async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  const response = await request(path, { headers: { Accept: "application/json" } }, signal);
  try {
    return (await response.json()) as T;
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(0, "The response of the query service was cut off.", "Check any proxy between it and this page.");
  }
}

/** Exchange a token for a cookie that scripts cannot read. */
export async function signIn(token: string): Promise<Session> {
  const headers = { "Content-Type": "application/json" };
  return (await (await request("session", { method: "POST", headers, body: JSON.stringify({ token }) })).json()) as Session;
}

export async function signOut(): Promise<void> {
  await request("session", { method: "DELETE" });
}

export async function readNamespaces(signal?: AbortSignal): Promise<string[]> {
  return (await get<{ namespaces: string[] }>("v2/namespaces", signal)).namespaces;
}

export function readEndpoints(namespace: string, signal?: AbortSignal): Promise<Endpoints> {
  return get<Endpoints>(`v2/endpoint/${encodeURIComponent(namespace)}`, signal);
}

export interface SeriesQuery {
  endpoint: { namespace: string; name: string };
  range: Range;
  replica: string | null;
  series: string[];
  include: string[];
  by: "class" | "status";
  details: boolean;
  points: number;
  /** Ask only for what is new: the step of the current answer, and the time from which it may have changed. */
  after: { step: number; since: number } | null;
}

export function readSeries(wanted: SeriesQuery, signal?: AbortSignal): Promise<Answer> {
  const { endpoint, range, after } = wanted;
  const query = new URLSearchParams();
  query.set("from", "preset" in range ? `now-${range.preset}` : String(range.from));
  query.set("to", "preset" in range ? "now" : String(range.to));
  query.set("series", wanted.series.join(","));
  if (wanted.include.length) query.set("include", wanted.include.join(","));
  if (wanted.replica) query.set("replica", wanted.replica);
  if (wanted.by !== "class") query.set("by", wanted.by);
  if (wanted.details) query.set("details", "true");
  if (after) {
    query.set("step", String(after.step));
    query.set("since", String(after.since));
  } else query.set("points", String(wanted.points));
  const path = `v2/endpoint/${encodeURIComponent(endpoint.namespace)}/${encodeURIComponent(endpoint.name)}/series`;
  return get<Answer>(`${path}?${query}`, signal);
}
