/** What a run of kills has met, and how long recovery took. */
import type { Remains } from "./post-mortem.model.ts";

export class Toll {
  kills = 0;
  /** Killed before the thread had attached, or told that it had. */
  early = 0;
  /** Of those: it had attached. */
  untold = 0;
  /** Ranges that came back: by reclaim; because they were written down; the one that was about to be. */
  reclaimed = 0;
  recorded = 0;
  unrecorded = 0;
  /** Reclaims that could not invalidate at first. */
  quarantines = 0;
  readonly #met = new Map<string, number>();
  readonly #times = new Map<string, number[]>();

  /** What the dead left. */
  found(remains: Remains): void {
    for (const [what, count] of Object.entries(remains)) {
      if (count > 0) this.#met.set(what, this.met(what as keyof Remains) + 1);
    }
  }

  /** Kills that left at least one of these. */
  met(what: keyof Remains): number {
    return this.#met.get(what) ?? 0;
  }

  /** How long it took until a table of this kind was usable again. */
  took(kind: string, milliseconds: number): void {
    const times = this.#times.get(kind) ?? [];
    times.push(milliseconds);
    this.#times.set(kind, times);
  }

  toString(): string {
    const met = [...this.#met].sort(([a], [b]) => (a < b ? -1 : 1)).map(([what, kills]) => `${what} ${kills}`);
    const times = [...this.#times].map(([kind, all]) => {
      const sorted = all.toSorted((a, b) => a - b);
      const median = (sorted[sorted.length >>> 1] as number).toFixed(2);
      const worst = (sorted[sorted.length - 1] as number).toFixed(2);
      return `  ${kind}: median ${median} ms, worst ${worst} ms of ${sorted.length}`;
    });
    return [
      `${this.kills} kills; ${this.early} before the thread had told its slot, of those ${this.untold} with one`,
      `kills by what they left: ${met.join(", ")}`,
      `ranges that came back: ${this.reclaimed} by reclaim (${this.quarantines} times quarantined before), ` +
        `${this.recorded} written down, ${this.unrecorded} about to be`,
      "from reclaim to the first allocation:",
      ...times,
    ].join("\n");
  }
}
