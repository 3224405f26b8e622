// The models of the JSON API that the page reads: they mirror pipeline/serve/api/models.py.
// Times are Unix seconds, durations seconds; null is unknown: a gap.

export type Values = (number | null)[];
export type Group = "requests" | "pending" | "latency" | "ttfb" | "replicas" | "hardware" | "engine";
export type State =
  | "pending"
  | "downloading"
  | "pulling"
  | "initializing"
  | "running"
  | "draining"
  | "terminated"
  | "failed"
  | "unknown";

export interface Session {
  namespaces: string[];
  all: boolean;
  expires_at: number | null;
}

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
  spark: { requests: Values; errors: Values; p95: Values; pending: Values };
}

export interface Endpoints {
  namespace: string;
  step: number;
  over_seconds: number;
  at: number[];
  endpoints: EndpointCard[];
  paused: Paused[];
}

export interface Series {
  group: Group;
  name: string;
  unit: string;
  values: Values;
  replica?: string;
  device?: string;
}

export interface Distribution {
  count: number;
  mean: number | null;
  p50: number | null;
  p90: number | null;
  p95: number | null;
  p99: number | null;
  max: number | null;
}

export interface Summary {
  covered: boolean;
  arrived: number;
  final: number;
  informational: number;
  classes: { name: string; count: number; share: number | null }[];
  statuses: Record<string, number>;
  aborted: { count: number; before_status: number; share: number | null };
  latency: Distribution;
  ttfb: Distribution;
  pending_mean: number | null;
  pending_max: number | null;
  oldest_pending: number | null;
}

export interface Replica {
  replica: string;
  state: State | null;
  unknown_since: number | null;
  unknown_reason: string;
  first_seen: number | null;
  last_seen: number | null;
  boots: number;
  copies: number;
  conflicting_batches: number;
  pending: number | null;
}

export interface StateSpan {
  state: State;
  from: number;
  to: number | null;
  seconds: number | null;
  reason: string;
  inferred: boolean;
}

export interface Bar {
  replica: string;
  states: StateSpan[];
  ready_seconds: number | null;
}

export interface ScaleEvent {
  at: number;
  kind: "settings" | "state";
  replica: string | null;
  state: State | null;
  reason: string;
  min_replicas: number | null;
  max_replicas: number | null;
  running: number | null;
}

/** Requests missing from all figures, lost at some time between `from` and `to`. */
export interface Loss {
  replica: string;
  from: number;
  to: number;
  requests: number;
  batches: number;
  reasons: Record<string, number>;
}

/** Batches of a stream that arrived between `from` and `to` but are missing from all figures. */
export interface Conflict {
  replica: string;
  stream: string;
  from: number;
  to: number;
  batches: number;
}

/** A Kafka partition that the worker has paused; `command` resumes it. */
export interface Paused {
  stream: string;
  partition: number;
  since: number;
  reason: string;
  command: string;
}

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
  replica?: string;
  summary?: Summary;
  replicas?: Replica[];
  timeline?: Bar[];
  events?: ScaleEvent[];
  losses?: Loss[];
  conflicts?: Conflict[];
  unknown_since?: number;
  paused?: Paused[];
}
