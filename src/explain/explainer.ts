/**
 * The analysis: texts in, an explanation out. No file is opened and nothing is printed here, so that a page can run it.
 */
import type { Fact } from "../log/facts.ts";
import { PlainText } from "../log/plain-text.ts";
import { LogReader, type LogSummary } from "../log/reader.ts";
import type { Trace } from "../trace/events.ts";
import { TraceParser } from "../trace/parser.ts";
import { type Explanation, type Host, type Input, VERSION } from "./contract.ts";
import { decide } from "./decide.ts";
import { Evidence } from "./evidence.ts";
import { findingOf, inOrder } from "./findings/finding.ts";
import { type Group, Groups } from "./groups.ts";
import { RULES } from "./rules/index.ts";
import type { Conclusion, Rule } from "./rules/rule.ts";
import type { ClockRelation } from "./trace/clocks.ts";
import { DebugLines } from "./trace/debug-lines.ts";
import { lossesOf } from "./trace/losses.ts";
import { PendingFacts } from "./trace/pending.ts";
import { Recordings } from "./trace/recordings.ts";

/** One input while it is read: `write` its bytes, then `end` it. */
export interface InputReader {
  /** Reads the next bytes of the input. Pieces may have any size, and may end inside a line or a character. */
  write(bytes: Uint8Array): void;
  /** Ends the input. Call it once, before `explain`. */
  end(): void;
}

/**
 * Explains inputs that are read in pieces: files or streams of any size. Write each input, end it, then call `explain` once.
 *
 * @example
 * ```ts
 * import { Explainer } from "iova/explain";
 *
 * const explainer = new Explainer();
 * const input = explainer.input("dmesg");
 * const line = "[   93.1] DMAR: [DMA Write NO_PASID] Request device [02:00.0] fault addr 0xfe7f8000 [fault reason 0x05] PTE Write access is not set";
 * input.write(new TextEncoder().encode(line.slice(0, 50)));
 * input.write(new TextEncoder().encode(line.slice(50)));
 * input.end();
 * const [finding] = explainer.explain().findings;
 * console.log(finding?.device, finding?.access, finding?.iova, finding?.certainty);
 * ```
 * ```text output
 * 0000:02:00.0 write 0xfe7f8000 undecided
 * ```
 */
export class Explainer {
  readonly #groups = new Groups();
  readonly #evidence = new Evidence();
  readonly #inputs: Input[] = [];
  readonly #pending = new PendingFacts();
  /** Facts for which no room was to wait: they come after those that wait. */
  readonly #late = new Groups();
  readonly #recordings = new Recordings();

  /**
   * Begins an input: a kernel log, a trace, or a log with lines of a trace in it.
   *
   * @param file - name of the input, for references to its lines
   * @param expectedBytes - expected length in bytes; 0: unknown. It saves time and memory, and does not change the answer
   */
  input(file: string, expectedBytes = 0): InputReader {
    const debugLines = new DebugLines();
    const log = new LogReader(file, (fact) => {
      debugLines.add(fact);
      this.#take(fact);
    });
    const sink = {
      text: (bytes: Uint8Array, first: number, end: number) => log.write(bytes, first, end),
      // Lines of the trace count in the numbers of the log's lines.
      skip: (lines: number) => log.skip(lines),
      console: (message: string, seconds: number) => log.message(message, seconds),
    };
    const trace = new TraceParser(sink);
    trace.expectedBytes = expectedBytes;
    const text = new PlainText(file, (bytes) => trace.write(bytes));
    return {
      write: (bytes) => text.write(bytes),
      end: () => {
        text.finish();
        const recording = trace.finish();
        this.#inputs.push(inputOf(file, log.finish(), recording, text.cutLines));
        this.#recordings.add(file, recording);
        this.#recordings.addLog(file, debugLines.trace);
        for (const loss of lossesOf(file, recording)) this.#evidence.add(loss);
      },
    };
  }

  /** Explains all inputs together. Call it once, after the last input has ended. */
  explain(): Explanation {
    const relation = this.#group();
    const findings = this.#groups.all.map((group) =>
      findingOf(group, decide(group.kind, this.#conclusions(group, RULES)), this.#evidence),
    );
    return {
      version: VERSION,
      inputs: this.#inputs,
      host: this.#host(relation),
      lost: this.#evidence.losses.all(this.#groups.unexplained),
      findings: inOrder([...findings, ...this.#recordings.findings(this.#evidence)]),
    };
  }

  /**
   * The rules' conclusions from all inputs, for documents and tests of single rules.
   *
   * @internal
   */
  conclusions(rules: readonly Rule[]): Conclusion[] {
    this.#group();
    return this.#groups.all.flatMap((group) => this.#conclusions(group, rules));
  }

  #conclusions(group: Group, rules: readonly Rule[]): Conclusion[] {
    return rules.filter(({ kinds }) => kinds.includes(group.kind)).flatMap((rule) => rule.apply(group, this.#evidence));
  }

  #take(fact: Fact): void {
    if (fact.kind === "mapping") return;
    if (fact.kind === "host" || fact.kind === "event" || fact.kind === "loss") {
      this.#evidence.add(fact);
      return;
    }
    this.#evidence.keepNear();
    if (!this.#pending.add(fact)) this.#late.add(fact);
  }

  /** All inputs are read: asks the traces about each fault, and groups what waits. */
  #group(): ClockRelation | undefined {
    const pending = this.#pending;
    pending.mergeConsoles();
    for (const recording of this.#recordings.all) pending.mergeTraceFaults(recording);
    const relation = this.#recordings.relate(pending, this.#evidence);
    const answers = this.#recordings.answers(pending.waiting, relation, this.#evidence);
    for (const one of pending.waiting) {
      const answer = answers.get(one);
      if (answer !== undefined) this.#evidence.answer(one.fact, answer);
      this.#groups.add(one.fact, answer?.part);
    }
    this.#groups.absorb(this.#late);
    pending.clear();
    return relation;
  }

  #host(relation: ClockRelation | undefined): Host {
    const [kernel] = this.#evidence.about("kernel");
    const iommus = [...new Set(this.#evidence.about("iommu").map(({ iommu }) => iommu))];
    const invalidation = this.#evidence.about("invalidation").at(-1)?.mode;
    return {
      ...(kernel === undefined ? {} : { kernel: kernel.version }),
      iommus,
      ...(invalidation === undefined ? {} : { invalidation }),
      ...(relation === undefined ? {} : { clockOffsetSeconds: relation.offsetSeconds }),
    };
  }
}

function inputOf(file: string, log: LogSummary, trace: Trace, cutLines: number): Input {
  const { events, otherEvents, malformed } = trace.classes;
  const holds: ("kernel-log" | "trace")[] = [];
  if (log.isLog) holds.push("kernel-log");
  const { headless } = trace;
  if (events.count > 0 || otherEvents.count > 0 || trace.entriesInBuffer >= 0 || headless.count > 0)
    holds.push("trace");
  const first = [malformed, headless].flatMap(({ count, firstLine }) =>
    count === 0 ? [] : [{ file, line: firstLine }],
  );
  const unread = {
    count: log.unread.count + malformed.count + headless.count + cutLines,
    first: [...log.unread.first, ...first],
  };
  return { file, holds, lines: trace.lines, unread };
}
