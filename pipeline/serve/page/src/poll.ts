// Polling: when to query again, how to retry after an error, and no queries while the tab is hidden.
//
// Why polling and not server-sent events: ClickHouse computes figures per query, so the server has nothing to push
// and would itself have to poll for each open page. An answer from `since` on is a few hundred bytes, an unchanged one
// a 304. And a plain request passes every proxy, needs no open connection while the tab is hidden, and reaches another
// query service when one is gone.

import { ApiError } from "./api.ts";

const FIRST_RETRY_S = 1;
const SLOWEST_RETRY_S = 15;

export interface Work {
  /** Query and show; `fresh`: reload everything, since the query changed or the connection was lost. */
  load(fresh: boolean, signal: AbortSignal): Promise<void>;
  /** Seconds until the next poll after a success; null: do not poll again. */
  pause(): number | null;
  /** The last poll failed; the next one follows in this many seconds. */
  failed(error: ApiError, retryInSeconds: number): void;
  /** The last poll succeeded. */
  succeeded(): void;
}

export class Poll {
  private timer = 0;
  private retryS = FIRST_RETRY_S;
  private running: AbortController | null = null;
  private stopped = false;
  private missed = false;
  private fresh = true;
  private readonly wake = (): void => this.woken();

  constructor(private readonly work: Work) {
    document.addEventListener("visibilitychange", this.wake);
    addEventListener("online", this.wake);
    void this.poll();
  }

  /** Reload everything now; a query in progress is aborted. */
  restart(): void {
    this.fresh = true;
    this.retryS = FIRST_RETRY_S;
    this.running?.abort();
    this.running = null;
    clearTimeout(this.timer);
    void this.poll();
  }

  /** Restart the pause, because its length changed. */
  repace(): void {
    if (!this.running) this.schedule();
  }

  stop(): void {
    this.stopped = true;
    this.running?.abort();
    clearTimeout(this.timer);
    document.removeEventListener("visibilitychange", this.wake);
    removeEventListener("online", this.wake);
  }

  private woken(): void {
    if (document.hidden || !this.missed || this.running) return;
    this.missed = false;
    clearTimeout(this.timer);
    void this.poll();
  }

  private async poll(): Promise<void> {
    if (this.stopped || this.running) return;
    const control = new AbortController();
    this.running = control;
    try {
      await this.work.load(this.fresh, control.signal);
      if (control.signal.aborted) return;
      this.fresh = false;
      this.retryS = FIRST_RETRY_S;
      this.work.succeeded();
    } catch (error) {
      if (control.signal.aborted) return;
      if (!(error instanceof ApiError)) throw error;
      this.fresh = true; // more than the last steps may have been missed
      this.work.failed(error, this.retryS);
      this.running = null;
      this.missed = true;
      this.timer = setTimeout(() => void this.due(), this.retryS * 1000);
      this.retryS = Math.min(this.retryS * 2, SLOWEST_RETRY_S);
      return;
    } finally {
      if (this.running === control) this.running = null;
    }
    this.schedule();
  }

  private schedule(): void {
    clearTimeout(this.timer);
    const pause = this.work.pause();
    if (pause !== null && !this.stopped) this.timer = setTimeout(() => void this.due(), pause * 1000);
  }

  private async due(): Promise<void> {
    if (document.hidden) this.missed = true;
    else await this.poll();
  }
}
