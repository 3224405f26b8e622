// Asking the JSON API: paths, errors as one type, and the difference between this machine's clock and the server's.

import type { Range } from "./address.ts";
import type { Answer, Endpoints, Session } from "./models.ts";

// The service answers within 10 s, if only to say that ClickHouse does not.
const TIMEOUT_MS = 11_000;

/** What is wrong, and how to fix it. `status` 0: no answer at all. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    what: string,
    readonly hint: string,
  ) {
    super(what);
  }
}

/** Seconds that the server's clock is ahead of this one; small differences are the wire's and are left out. */
let aheadSeconds = 0;

/** Now by the server's clock, in Unix seconds. */
export function serverNow(): number {
  return Date.now() / 1000 + aheadSeconds;
}

function readClock(response: Response): void {
  const date = Date.parse(response.headers.get("date") ?? "");
  if (Number.isNaN(date)) return;
  const ahead = (date + 500 - Date.now()) / 1000; // the header has whole seconds
  aheadSeconds = Math.abs(ahead) > 2 ? ahead : 0;
}

async function ask(path: string, init: RequestInit, signal?: AbortSignal): Promise<Response> {
  const timeout = AbortSignal.timeout(TIMEOUT_MS);
  let response: Response;
  try {
    response = await fetch(path, { ...init, signal: signal ? AbortSignal.any([signal, timeout]) : timeout });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(0, "The query service does not answer.", "Is it running, and is the network up?");
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
    return new ApiError(response.status, `The query service answered ${response.status}.`, "Its log may say more.");
  }
}

/** The API's errors are parts of a line; here they stand alone. */
function sentence(text: string): string {
  return text && `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;
}

async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  const response = await ask(path, { headers: { Accept: "application/json" } }, signal);
  try {
    return (await response.json()) as T;
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(0, "The answer of the query service broke off.", "Is something between it and this page?");
  }
}

/** Trade a token for a cookie that no script can read. */
export async function signIn(token: string): Promise<Session> {
  const headers = { "Content-Type": "application/json" };
  return (await (await ask("session", { method: "POST", headers, body: JSON.stringify({ token }) })).json()) as Session;
}

export async function signOut(): Promise<void> {
  await ask("session", { method: "DELETE" });
}

export async function readNamespaces(signal?: AbortSignal): Promise<string[]> {
  return (await get<{ namespaces: string[] }>("v2/namespaces", signal)).namespaces;
}

export function readEndpoints(namespace: string, signal?: AbortSignal): Promise<Endpoints> {
  return get<Endpoints>(`v2/endpoint/${encodeURIComponent(namespace)}`, signal);
}

export interface Question {
  endpoint: { namespace: string; name: string };
  range: Range;
  replica: string | null;
  series: string[];
  include: string[];
  by: "class" | "status";
  details: boolean;
  points: number;
  /** Only what is new: the step of the answer so far, and from when on it may have changed. */
  after: { step: number; since: number } | null;
}

export function readSeries(question: Question, signal?: AbortSignal): Promise<Answer> {
  const { endpoint, range, after } = question;
  const query = new URLSearchParams();
  query.set("from", "preset" in range ? `now-${range.preset}` : String(range.from));
  query.set("to", "preset" in range ? "now" : String(range.to));
  query.set("series", question.series.join(","));
  if (question.include.length) query.set("include", question.include.join(","));
  if (question.replica) query.set("replica", question.replica);
  if (question.by !== "class") query.set("by", question.by);
  if (question.details) query.set("details", "true");
  if (after) {
    query.set("step", String(after.step));
    query.set("since", String(after.since));
  } else query.set("points", String(question.points));
  const path = `v2/endpoint/${encodeURIComponent(endpoint.namespace)}/${encodeURIComponent(endpoint.name)}/series`;
  return get<Answer>(`${path}?${query}`, signal);
}
