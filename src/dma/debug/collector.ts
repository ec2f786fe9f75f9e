/** Where reports go: counted by kind, limited, and handed to the program's handler or collected. */
import { describeMisuse } from "./describe.ts";
import { MISUSE_KINDS, type MisuseKind, type MisuseReport } from "./misuse.ts";
import type { CheckedOptions } from "./options.ts";

/** What every runtime has; the library compiles without the types of any. */
interface Console {
  warn(text: string): void;
}

/** Without a handler, so many reports are kept. */
export const MAX_COLLECTED = 256;

export class MisuseCollector {
  /** Misuses so far, by kind, reported or not. */
  readonly counts: Record<MisuseKind, number>;
  /** What was reported, oldest first, when there is no handler. */
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

  /** Counts a misuse; `make` is called when it is to be reported. */
  add(kind: MisuseKind, make: () => MisuseReport): void {
    this.counts[kind]++;
    if (this.#ignore.has(kind) || this.counts[kind] > this.#reportsPerKind) return;
    this.#handler(make());
  }

  /** Printed too: a program that never looks at `reports` learns of its misuse all the same. */
  #collect(report: MisuseReport): void {
    (globalThis as { readonly console?: Console }).console?.warn(describeMisuse(report).join("\n"));
    if (this.reports.length < MAX_COLLECTED) this.reports.push(report);
  }
}
