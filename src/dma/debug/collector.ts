/** Counts reports by kind, limits them, and passes them to the program's handler or collects them. */
import { describeMisuse } from "./describe.ts";
import { MISUSE_KINDS, type MisuseKind, type MisuseReport } from "./misuse.ts";
import type { CheckedOptions } from "./options.ts";

/** The part of the console that every runtime has: the library compiles without a runtime's types. */
interface Console {
  warn(text: string): void;
}

/** Number of reports that are kept if there is no handler. */
export const MAX_COLLECTED = 256;

export class MisuseCollector {
  /** Misuses so far by kind, including those that were not reported. */
  readonly counts: Record<MisuseKind, number>;
  /** The reports, oldest first, if there is no handler. */
  readonly reports: MisuseReport[] = [];
  readonly #handler: (report: MisuseReport) => void;
  readonly #reportsPerKind: number;
  readonly #ignore: ReadonlySet<MisuseKind>;

  constructor({ onMisuse, reportsPerKind, ignore }: CheckedOptions) {
    this.counts = Object.fromEntries(MISUSE_KINDS.map((kind) => [kind, 0])) as Record<MisuseKind, number>;
    this.#handler = onMisuse ?? ((report) => this.#collect(report));
    this.#reportsPerKind = reportsPerKind;
    this.#ignore = ignore;
  }

  /** Counts a misuse. Calls `make` only if it is reported. */
  add(kind: MisuseKind, make: () => MisuseReport): void {
    this.counts[kind]++;
    if (this.#ignore.has(kind) || this.counts[kind] > this.#reportsPerKind) return;
    this.#handler(make());
  }

  /** Also prints the report, for programs that never read `reports`. */
  #collect(report: MisuseReport): void {
    (globalThis as { readonly console?: Console }).console?.warn(describeMisuse(report).join("\n"));
    if (this.reports.length < MAX_COLLECTED) this.reports.push(report);
  }
}
