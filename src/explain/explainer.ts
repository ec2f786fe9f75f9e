/**
 * The analysis: texts in, an explanation out. No file is opened and nothing is printed here, so that a page can run it.
 */
import type { Fact } from "../log/facts.ts";
import { LogReader, type LogSummary } from "../log/reader.ts";
import { type Explanation, type Host, type Input, type Loss, VERSION } from "./contract.ts";
import { decide } from "./decide.ts";
import { Evidence } from "./evidence.ts";
import { findingOf, inOrder } from "./findings/finding.ts";
import { type Group, Groups } from "./groups.ts";
import { RULES } from "./rules/index.ts";
import type { Conclusion, Rule } from "./rules/rule.ts";

/** Part of every runtime (WHATWG Encoding); the library is compiled without the types of any of them. */
declare class TextDecoder {
  decode(bytes?: Uint8Array, options?: { readonly stream: boolean }): string;
}

/** One input while it is read. */
export interface InputReader {
  /** Takes the next bytes of the input, in pieces of any size. */
  write(bytes: Uint8Array): void;
  /** Ends the input. */
  end(): void;
}

/** Gathers inputs, then explains them together. Use it once. */
export class Explainer {
  readonly #groups = new Groups();
  readonly #evidence = new Evidence();
  readonly #inputs: Input[] = [];

  /** Begins an input. `file` is the name that the answer's line references have. */
  input(file: string): InputReader {
    const decoder = new TextDecoder();
    const log = new LogReader(file, (fact) => this.#take(fact));
    return {
      write: (bytes) => log.write(decoder.decode(bytes, { stream: true })),
      end: () => {
        log.write(decoder.decode());
        this.#inputs.push(inputOf(file, log.finish()));
      },
    };
  }

  /** The answer. */
  explain(): Explanation {
    const findings = this.#groups.all.map((group) =>
      findingOf(group, decide(group.kind, this.#conclusions(group, RULES)), this.#evidence),
    );
    return {
      version: VERSION,
      inputs: this.#inputs,
      host: this.#host(),
      lost: this.#losses(),
      findings: inOrder(findings),
    };
  }

  /** What the rules conclude of all that was read, for documents and tests of single rules. */
  conclusions(rules: readonly Rule[]): Conclusion[] {
    return this.#groups.all.flatMap((group) => this.#conclusions(group, rules));
  }

  #conclusions(group: Group, rules: readonly Rule[]): Conclusion[] {
    return rules.filter(({ kinds }) => kinds.includes(group.kind)).flatMap((rule) => rule.apply(group, this.#evidence));
  }

  #take(fact: Fact): void {
    if (fact.kind === "host" || fact.kind === "event" || fact.kind === "loss" || fact.kind === "mapping")
      this.#evidence.add(fact);
    else this.#groups.add(fact);
  }

  #host(): Host {
    const [kernel] = this.#evidence.about("kernel");
    const iommus = [...new Set(this.#evidence.about("iommu").map(({ iommu }) => iommu))];
    const invalidation = this.#evidence.about("invalidation").at(-1)?.mode;
    return {
      ...(kernel === undefined ? {} : { kernel: kernel.version }),
      iommus,
      ...(invalidation === undefined ? {} : { invalidation }),
    };
  }

  #losses(): Loss[] {
    const kinds = ["faults", "messages", "events"] as const;
    return kinds.flatMap((what) => {
      const facts = this.#evidence.losses.filter((loss) => loss.what === what);
      if (facts.length === 0) return [];
      const count = facts.reduce((sum, loss) => sum + (loss.count ?? 0), 0);
      const proof = facts.flatMap(({ lines }) => lines).slice(0, 8);
      return [count === 0 ? { what, proof } : { what, count, proof }];
    });
  }
}

function inputOf(file: string, log: LogSummary): Input {
  return { file, holds: log.logLines > 0 ? ["kernel-log"] : [], lines: log.lines, unread: log.unread };
}
