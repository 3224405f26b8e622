// The one moment that all graphs point at. Graphs and the timeline tell it and follow it; nobody else keeps it.

export interface Follower {
  /** Point at a moment that somebody else chose; null: at none. */
  follow(at: number | null): void;
}

export type Watcher = (at: number | null) => void;

export class Crosshair {
  at: number | null = null;
  /**
   * Where the pointer is. A plot also tells a moment when new data moves its time away from under its crosshair: only
   * the leader's word counts then, or plots would push each other, and the mark of a drag with them.
   */
  leader: Follower | null = null;
  private readonly followers = new Set<Follower>();
  private readonly watchers: Watcher[] = [];

  join(follower: Follower): () => void {
    this.followers.add(follower);
    return () => this.followers.delete(follower);
  }

  /** Be told the moment, after every follower. */
  watch(watcher: Watcher): void {
    this.watchers.push(watcher);
  }

  /** Point at a moment; `by` already does. */
  point(at: number | null, by: Follower): void {
    if (at === this.at) return;
    this.at = at;
    for (const follower of this.followers) if (follower !== by) follower.follow(at);
    for (const watcher of this.watchers) watcher(at);
  }
}
