/** The answer of `iova explain` for people: the most important finding on one screen, the others in a line each. */
import type { Explanation, Finding, Loss, Statement } from "../explain/contract.ts";
import { UNDECIDED } from "../explain/contract.ts";
import { headlineOf, linesOf, meaningOf } from "../explain/words.ts";
import { wrapped } from "./columns.ts";
import { counted } from "./numbers.ts";
import type { Style, Terminal } from "./terminal.ts";

/** Findings shown whole; the others have a line each. */
const WHOLE = 2;
/** Statements of one section. */
const MOST_STATEMENTS = 4;
const MOST_COMMANDS = 3;
const LABEL_COLUMNS = 15;

/** Explained once, where the first finding uses the word. */
const IOMMU = "(IOMMU: the unit that checks and translates every address that a device uses.)";

/** Prints the answer; `quote` gives the lines of a proof with their surroundings. */
export function printReport(
  explanation: Explanation,
  terminal: Terminal,
  quote: (finding: Finding) => readonly string[],
): void {
  const { findings } = explanation;
  const report = new Report(explanation, terminal);
  report.summary();
  findings.slice(0, WHOLE).forEach((finding, at) => {
    report.finding(finding, at);
    for (const line of quote(finding)) report.raw(line);
  });
  report.others(findings.slice(WHOLE));
  report.losses();
  report.unread();
}

class Report {
  readonly #explanation: Explanation;
  readonly #terminal: Terminal;
  readonly #files: number;

  constructor(explanation: Explanation, terminal: Terminal) {
    this.#explanation = explanation;
    this.#terminal = terminal;
    this.#files = explanation.inputs.length;
  }

  /** First what was read, when it holds nothing or more than one thing. */
  summary(): void {
    const { findings, inputs } = this.#explanation;
    const lines = inputs.reduce((sum, input) => sum + input.lines, 0);
    if (findings.length === 0)
      this.#say(
        `Nothing found: ${counted(lines, "line")}, no message of an IOMMU among them says that something went wrong.`,
      );
    else if (findings.length > 1) this.#say(`${counted(findings.length, "finding")}, the most important first.`);
  }

  finding(finding: Finding, at: number): void {
    if (this.#explanation.findings.length > 1) this.raw("");
    const number = this.#explanation.findings.length > 1 ? `${at + 1}. ` : "";
    const headline = headlineOf(finding);
    this.#say(`${number}${headline}${at === 0 && headline.includes("IOMMU") ? ` ${IOMMU}` : ""}`, "bold");
    this.#section("what happened", [this.#happened(finding)]);
    if (finding.consequenceOf !== undefined)
      this.#section("look first at", [this.#cited(finding.consequenceOf)], "yellow");
    this.#section(
      "what follows",
      finding.follows.slice(0, MOST_STATEMENTS).map((one) => this.#cited(one)),
    );
    this.#verdict(finding);
    this.#section(
      "not",
      finding.excluded.slice(0, MOST_STATEMENTS).map(({ verdict, because }) => `${verdict}: ${this.#because(because)}`),
    );
    this.#commands(finding);
  }

  #happened(finding: Finding): string {
    const { count, firstTime, lastTime, reason, proof } = finding;
    const times = count === 1 ? "once" : `${count} times`;
    const span =
      firstTime === undefined || lastTime === undefined
        ? ""
        : firstTime === lastTime
          ? `, at ${firstTime} s`
          : `, from ${firstTime} s to ${lastTime} s`;
    const code =
      reason === undefined ? "" : `; the IOMMU's code: ${reason.code}${reason.text === "" ? "" : ` (${reason.text})`}`;
    const others = finding.otherAddresses?.length ?? 0;
    const addresses = others === 0 ? "" : `, ${counted(others + 1, "different address", "different addresses")}`;
    return `${times}${span}${addresses}${code} [${linesOf(proof, this.#files)}]`;
  }

  #verdict(finding: Finding): void {
    const { kind, verdict, certainty, candidates } = finding;
    if (certainty === "certain") this.#section("certain", [`${verdict}: ${meaningOf(kind, verdict)}.`], "green");
    const shown = candidates.slice(0, MOST_STATEMENTS - 1).map((one) => {
      const why = this.#because(one.because);
      return `${one.verdict}: ${meaningOf(kind, one.verdict)}.${why === "" ? "" : ` ${why}`}`;
    });
    const label = verdict === UNDECIDED ? "may be" : "most likely";
    if (shown.length > 0 && certainty !== "certain")
      this.#section(label, shown, verdict === UNDECIDED ? "yellow" : "green");
  }

  /** A command is never broken: it is there to be copied. */
  #commands({ record }: Finding): void {
    for (const [at, line] of record.slice(0, MOST_COMMANDS).entries()) {
      const [command = "", decides = ""] = line.split(/ {2,}# /);
      const head =
        at === 0 ? this.#terminal.paint("cyan", "record this".padEnd(LABEL_COLUMNS)) : " ".repeat(LABEL_COLUMNS);
      if (decides === "" && at === 0) this.raw(head.trimEnd());
      wrapped(decides, this.#terminal.width - LABEL_COLUMNS).forEach((text, row) => {
        this.raw((row === 0 ? head : " ".repeat(LABEL_COLUMNS)) + text);
      });
      this.raw(`    ${command}`);
    }
  }

  #because(statements: readonly Statement[]): string {
    return statements
      .slice(0, 2)
      .map((one) => this.#cited(one))
      .join(" ");
  }

  #cited({ text, proof }: Statement): string {
    const lines = linesOf(proof, this.#files);
    return lines === "" ? text : `${text} [${lines}]`;
  }

  /** A label at the left, texts beside it, each from a line of its own. */
  #section(label: string, texts: readonly string[], style: Style = "cyan"): void {
    texts.forEach((text, at) => {
      const width = this.#terminal.width - LABEL_COLUMNS;
      wrapped(text, width).forEach((line, row) => {
        const head =
          at === 0 && row === 0 ? this.#terminal.paint(style, label.padEnd(LABEL_COLUMNS)) : " ".repeat(LABEL_COLUMNS);
        this.raw(head + line);
      });
    });
  }

  others(findings: readonly Finding[]): void {
    if (findings.length === 0) return;
    this.raw("");
    this.#say(`${counted(findings.length, "further finding")} (--device and --json show them whole):`);
    for (const finding of findings) {
      this.#say(
        `- ${headlineOf(finding)} ${finding.certainty === UNDECIDED ? "" : `${meaningOf(finding.kind, finding.verdict)}. `}[${linesOf(finding.proof, this.#files, 1)}]`,
      );
    }
  }

  losses(): void {
    for (const loss of this.#explanation.lost) this.#section("lost", [this.#lossOf(loss)], "yellow");
  }

  #lossOf({ what, count, proof, effect }: Loss): string {
    const amount = count === undefined ? `some ${what}` : counted(count, what.slice(0, -1));
    return `${amount}. ${effect} [${linesOf(proof, this.#files)}]`;
  }

  unread(): void {
    for (const { unread } of this.#explanation.inputs) {
      if (unread.count === 0) continue;
      const text = `${counted(unread.count, "line")} that may be of an IOMMU could not be read. [${linesOf(unread.first, this.#files)}]`;
      this.#section("not read", [text], "yellow");
    }
  }

  #say(text: string, style?: Style): void {
    for (const line of wrapped(text, this.#terminal.width, "  "))
      this.raw(style === undefined ? line : this.#terminal.paint(style, line));
  }

  raw(line: string): void {
    this.#terminal.out(`${line}\n`);
  }
}
