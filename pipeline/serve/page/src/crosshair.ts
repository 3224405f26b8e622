// The one time that all graphs point at. Graphs and the timeline set and follow it; it is stored only here.

export interface Follower {
  /** Point at a time that another follower set; null: hide the crosshair. */
  follow(at: number | null): void;
}

export type Watcher = (at: number | null) => void;

export class Crosshair {
  at: number | null = null;
  /**
   * The follower under the pointer. A plot also reports a time when new data shifts its axis under the crosshair.
   * Only the leader's reports count, or plots would move each other's crosshair and any selection being dragged.
   */
  leader: Follower | null = null;
  private readonly followers = new Set<Follower>();
  private readonly watchers: Watcher[] = [];

  join(follower: Follower): () => void {
    this.followers.add(follower);
    return () => this.followers.delete(follower);
  }

  /** Call `watcher` with each new time, after the followers. */
  watch(watcher: Watcher): void {
    this.watchers.push(watcher);
  }

  /** Point at a time; `by` already does. */
  point(at: number | null, by: Follower): void {
    if (at === this.at) return;
    this.at = at;
    for (const follower of this.followers) if (follower !== by) follower.follow(at);
    for (const watcher of this.watchers) watcher(at);
  }
}
