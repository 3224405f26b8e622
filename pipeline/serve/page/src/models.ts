// What the JSON API answers, written from its OpenAPI document by `make page-models`: not to be edited.
// Moments are Unix seconds, durations seconds; null is what is not known: a gap.

export type Group = Series["group"];
export type State = StateSpan["state"];
export type Values = Series["values"];

/**
 * What the page is signed in to. `all`: an operator's token, valid for every namespace.
 */
export interface Session {
  namespaces: string[];
  all: boolean;
  expires_at: number | null;
}

/**
 * All endpoints of a namespace, by name.
 */
export interface Endpoints {
  namespace: string;
  step: number;
  over_seconds: number;
  at: number[];
  endpoints: EndpointCard[];
  paused: Paused[];
}

/**
 * Series and the other requested parts, all for the same range, replicas and moment. Steps are [at, at + step).
 * Those from `incomplete_from` on may still change: poll with `since=<incomplete_from>` for them and newer ones.
 */
export interface Answer {
  namespace: string;
  endpoint: string;
  from: number;
  to: number;
  step: number;
  level: number;
  at: number[];
  incomplete_from: number | null;
  newest_at: number | null;
  series: Series[];
  replica?: string | null;
  summary?: Summary | null;
  replicas?: Replica[] | null;
  timeline?: Bar[] | null;
  events?: ScaleEvent[] | null;
  losses?: Loss[] | null;
  conflicts?: Conflict[] | null;
  unknown_since?: number | null;
  paused?: Paused[] | null;
}

/**
 * One endpoint on the overview page. Rates, shares and p95 are over the last `over_seconds`.
 */
export interface EndpointCard {
  endpoint: string;
  running: number | null;
  replicas: number | null;
  unknown_since: number | null;
  min_replicas: number | null;
  max_replicas: number | null;
  request_rate: number | null;
  error_share: number | null;
  p95_seconds: number | null;
  pending: number | null;
  newest_at: number | null;
  spark: Spark;
}

/**
 * A Kafka partition that the worker stopped reading because nearly all its messages were unusable. Nothing is
 * known since then about replicas whose agents send to it; their messages wait in Kafka.
 */
export interface Paused {
  stream: string;
  partition: number;
  since: number;
  reason: string;
  command: string;
}

/**
 * One line of a graph; `replica` and `device` are present only with details=true.
 */
export interface Series {
  group: "engine" | "hardware" | "latency" | "pending" | "replicas" | "requests" | "ttfb";
  name: string;
  unit: "bytes" | "bytes_per_second" | "celsius" | "other" | "percent" | "replicas" | "requests" | "requests_per_second" | "seconds" | "tokens_per_second" | "watts";
  values: (number | null)[];
  replica?: string | null;
  device?: string | null;
}

/**
 * Figures of the whole range [from, to). `covered`: whether any replica reported in it.
 */
export interface Summary {
  covered: boolean;
  arrived: number;
  final: number;
  informational: number;
  classes: ClassCount[];
  statuses: Record<string, number>;
  aborted: AbortedShare;
  latency: Distribution;
  ttfb: Distribution;
  pending_mean: number | null;
  pending_max: number | null;
  oldest_pending: number | null;
}

/**
 * A replica seen in the range. `unassigned` holds requests that wait while none runs; it has no state.
 */
export interface Replica {
  replica: string;
  state: "downloading" | "draining" | "failed" | "initializing" | "pending" | "pulling" | "running" | "terminated" | "unknown" | null;
  unknown_since: number | null;
  unknown_reason: string;
  first_seen: number | null;
  last_seen: number | null;
  boots: number;
  copies: number;
  conflicting_batches: number;
  pending: number | null;
}

/**
 * A replica's bar in the timeline. `ready_seconds`: from the first state of its newest start until it ran; null
 * if that is unknown, as for a start that was first reported running.
 */
export interface Bar {
  replica: string;
  states: StateSpan[];
  ready_seconds: number | null;
}

/**
 * A change of the scaling settings, or a replica's change of state.
 */
export interface ScaleEvent {
  at: number;
  kind: "settings" | "state";
  replica: string | null;
  state: "downloading" | "draining" | "failed" | "initializing" | "pending" | "pulling" | "running" | "terminated" | "unknown" | null;
  reason: string;
  min_replicas: number | null;
  max_replicas: number | null;
  running: number | null;
}

/**
 * Requests of a replica that are in no figure: they were lost between `from` and `to`.
 */
export interface Loss {
  replica: string;
  from: number;
  to: number;
  requests: number;
  batches: number;
  reasons: Record<string, number>;
}

/**
 * Batches that arrived between `from` and `to` and are in no figure: too many processes sent under one identity.
 */
export interface Conflict {
  replica: string;
  stream: string;
  from: number;
  to: number;
  batches: number;
}

/**
 * Small series of the last 30 minutes, one value for each moment of `at` in the list.
 */
export interface Spark {
  requests: (number | null)[];
  errors: (number | null)[];
  p95: (number | null)[];
  pending: (number | null)[];
}

/**
 * Requests of a status class, and their share of all with a final status.
 */
export interface ClassCount {
  name: string;
  count: number;
  share: number | null;
}

/**
 * Requests that ended before their last byte, and their share of all that ended.
 */
export interface AbortedShare {
  count: number;
  before_status: number;
  share: number | null;
}

/**
 * A distribution over the whole range, in seconds; null without requests.
 */
export interface Distribution {
  count: number;
  mean: number | null;
  p50: number | null;
  p90: number | null;
  p95: number | null;
  p99: number | null;
  max: number | null;
}

/**
 * A distribution over the whole range, in seconds; null without requests.
 */
export interface Distribution {
  count: number;
  mean: number | null;
  p50: number | null;
  p90: number | null;
  p95: number | null;
  p99: number | null;
  max: number | null;
}

/**
 * A time that a replica spent in a state. `to` is null for the current state, whose `seconds` still grows.
 * `unknown` means that the pipeline is late: nothing is known about the replica since then.
 */
export interface StateSpan {
  state: "downloading" | "draining" | "failed" | "initializing" | "pending" | "pulling" | "running" | "terminated" | "unknown";
  from: number;
  to: number | null;
  seconds: number | null;
  reason: string;
  inferred: boolean;
}
