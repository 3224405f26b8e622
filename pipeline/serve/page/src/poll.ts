// The rhythm of looking: when to ask again, what to do when an answer fails, and silence while nobody looks.
//
// Polling for what is new, not server-sent events: figures are summed in ClickHouse when they are asked for, so the
// server has nothing to push and would itself have to poll for each open page; an answer from `since` on is a few
// hundred bytes, an unchanged one a 304; and a plain request passes every proxy, needs no open connection while the
// tab is hidden, and finds any of several query services after one of them has gone.

import { ApiError } from "./api.ts";

const FIRST_RETRY_S = 1;
const SLOWEST_RETRY_S = 15;

export interface Work {
  /** Ask and show; `fresh`: everything anew, as the question or the connection changed. */
  ask(fresh: boolean, signal: AbortSignal): Promise<void>;
  /** Seconds until the next look after a success; null: do not look again by yourself. */
  pause(): number | null;
  /** The last look failed; the next one comes in so many seconds. */
  failed(error: ApiError, retryInSeconds: number): void;
  /** An answer came. */
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
    void this.look();
  }

  /** Ask everything anew, at once; an older question's answer is not waited for. */
  restart(): void {
    this.fresh = true;
    this.retryS = FIRST_RETRY_S;
    this.running?.abort();
    this.running = null;
    clearTimeout(this.timer);
    void this.look();
  }

  /** The pause changed: count it anew. */
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
    void this.look();
  }

  private async look(): Promise<void> {
    if (this.stopped || this.running) return;
    const control = new AbortController();
    this.running = control;
    try {
      await this.work.ask(this.fresh, control.signal);
      if (control.signal.aborted) return;
      this.fresh = false;
      this.retryS = FIRST_RETRY_S;
      this.work.succeeded();
    } catch (error) {
      if (control.signal.aborted) return;
      if (!(error instanceof ApiError)) throw error;
      this.fresh = true; // what was missed meanwhile is more than the last steps
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
    else await this.look();
  }
}
