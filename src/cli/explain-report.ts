/** The answer of `iova explain` for people: the most important finding on one screen, the others in a line each. */
import type { Explanation, Finding, LineRef, Loss, Statement } from "../explain/contract.ts";
import { UNDECIDED } from "../explain/contract.ts";
import { wordsIn } from "../explain/glossary.ts";
import { LOST_OF_FINDING } from "../explain/losses.ts";
import { headlineOf, linesOf, meaningOf, outlookOf, timeOf } from "../explain/words.ts";
import { counted } from "../units/counts.ts";
import { wrapped } from "./columns.ts";
import { commandLines, partsOfRecord } from "./commands.ts";
import type { Style, Terminal } from "./terminal.ts";

/** Lines of one screen: findings after the first are shown whole while there is room. */
const SCREEN_LINES = 40;
/** Findings of which there is a line when they are not shown whole. */
const MOST_OTHERS = 8;
/** Statements of one section. */
const MOST_STATEMENTS = 4;
const MOST_COMMANDS = 3;
const LABEL_COLUMNS = 15;
const COMMAND_INDENT = "    ";
const COMMAND = /^ {4}\S/;
/** Stands for a blank at which no line is broken. */
const FIXED_BLANK = "\u00a0";
/** `[lines 1, 2 and 3]`, `86 ms`: not to be torn apart. Between two files of a citation a line may end. */
const TOGETHER = /\[[^\]]{1,60}\]|\d (?:s|ms|µs|bytes|bits|slots|times|KiB|MiB|GiB)\b/g;

/** The request, if not for all findings. */
export interface Asked {
  /** For a sentence: `of 03:00.0`, `within 1 s of 100 s`. */
  readonly text: string;
  /** All findings of the input. */
  readonly all: readonly Finding[];
}

/** Prints the answer; `quote` gives the lines of a proof with their surroundings. */
export function printReport(
  explanation: Explanation,
  terminal: Terminal,
  quote: (finding: Finding) => readonly string[],
  asked?: Asked,
): void {
  const report = new Report(explanation, terminal);
  const { findings } = explanation;
  if (findings.length === 0) report.nothing(asked);
  else report.findings(quote);
  report.losses();
  report.unread();
  report.words();
}

/** The lines that the answer rests on: those of the finding itself first, then those of its sentences. */
export function citedLines({ proof, consequenceOf, follows, candidates }: Finding): LineRef[] {
  const statements = [
    ...(consequenceOf === undefined ? [] : [consequenceOf]),
    ...follows.slice(0, MOST_STATEMENTS),
    ...candidates.slice(0, MOST_STATEMENTS).flatMap(({ because }) => because),
  ];
  return [...proof, ...statements.flatMap((one) => one.proof)];
}

class Report {
  readonly #explanation: Explanation;
  readonly #terminal: Terminal;
  readonly #files: number;
  /** Sentences that were printed. */
  #said = "";
  /** Commands that were printed, which a later finding need not repeat. */
  readonly #commandsShown = new Set<string>();

  constructor(explanation: Explanation, terminal: Terminal) {
    this.#explanation = explanation;
    this.#terminal = terminal;
    this.#files = explanation.inputs.length;
  }

  nothing(asked: Asked | undefined): void {
    const { inputs } = this.#explanation;
    if (asked !== undefined && asked.all.length > 0) {
      const names = [...new Set(asked.all.map(placeOf))];
      const more = names.length > MOST_OTHERS ? " and others" : "";
      this.#print(
        this.#paragraph(
          `No finding ${asked.text}. The input has ${counted(asked.all.length, "finding")}: ${names.slice(0, MOST_OTHERS).join("; ")}${more}.`,
        ),
      );
      return;
    }
    const lines = inputs.reduce((sum, input) => sum + input.lines, 0);
    const isLog = inputs.some(({ holds }) => holds.includes("kernel-log"));
    const isTrace = inputs.some(({ holds }) => holds.includes("trace"));
    const parts = [
      ...(isLog ? ["no message of an IOMMU or of the DMA API says that something went wrong"] : []),
      ...(isTrace ? ["the recording shows no fault, no failed request and no leak"] : []),
    ];
    const whole = isTrace ? "" : " Is it the whole log? dmesg prints it; journalctl -k -b -1 that of the boot before.";
    this.#print(this.#paragraph(`Nothing found: ${counted(lines, "line")}; ${parts.join(", and ")}.${whole}`));
  }

  /** The first one whole; the next ones whole while there is room, else a line each. */
  findings(quote: (finding: Finding) => readonly string[]): void {
    const { findings } = this.#explanation;
    if (findings.length > 1)
      this.#print(this.#paragraph(`${counted(findings.length, "finding")}, the most important first.`));
    let room = SCREEN_LINES - Math.min(findings.length, MOST_OTHERS) * 2;
    let whole = 0;
    for (const [at, finding] of findings.entries()) {
      const lines = this.#finding(finding, at);
      if (at > 0 && lines.length > room) break;
      room -= lines.length;
      whole++;
      this.#print(lines);
      for (const command of finding.record) this.#commandsShown.add(command);
      for (const line of quote(finding)) this.#terminal.out(`${line}\n`);
    }
    this.#others(findings.slice(whole));
  }

  #finding(finding: Finding, at: number): string[] {
    const isOne = this.#explanation.findings.length === 1;
    const headline = `${isOne ? "" : `${at + 1}. `}${headlineOf(finding)}`;
    return [
      ...(isOne ? [] : [""]),
      ...this.#paragraph(headline).map((line) => this.#terminal.paint("bold", line)),
      ...this.#paragraph(outlookOf(finding, this.#files)),
      // The one word that no newcomer can do without is explained at once, the others below.
      ...(at === 0
        ? wordsIn(headline)
            .slice(0, 1)
            .flatMap((word) => this.#paragraph(`  (${word})`))
        : []),
      ...this.#section("what happened", [this.#happened(finding)]),
      ...(finding.consequenceOf === undefined
        ? []
        : this.#section("look first at", [this.#cited(finding.consequenceOf)], "yellow")),
      ...this.#section(
        "what follows",
        distinct(finding.follows.filter(({ text }) => text !== LOST_OF_FINDING).map((one) => this.#cited(one))).slice(
          0,
          MOST_STATEMENTS,
        ),
      ),
      ...this.#candidates(finding),
      ...this.#section("not", this.#exclusions(finding)),
      ...this.#commands(finding),
    ];
  }

  #happened(finding: Finding): string {
    const { count, firstTime, lastTime, reason, proof } = finding;
    const times = count === 1 ? "once" : `${count} times`;
    const time = timeOf(finding);
    const seconds = firstTime === undefined || lastTime === undefined ? 0 : lastTime - firstTime;
    const span = seconds > 0 ? ` in ${spanText(seconds)}, the first ${time}` : time === "" ? "" : ` ${time}`;
    const others = finding.otherAddresses?.length ?? 0;
    const most = others === 64 ? "at least " : "";
    const addresses = others === 0 ? "" : `, ${most}${counted(others + 1, "different address", "different addresses")}`;
    const code =
      reason === undefined ? "" : `; the IOMMU's code: ${reason.code}${reason.text === "" ? "" : ` (${reason.text})`}`;
    return `${times}${span}${this.#onTrace(finding)}${addresses}${code} ${this.#citation(proof)}`;
  }

  /** The time of a fault of the log by the clock of the trace, which the sentences about its mapping use. */
  #onTrace({ mapping, firstTime, clock }: Finding): string {
    const offset = this.#explanation.host.clockOffsetSeconds;
    if (mapping === undefined || offset === undefined || firstTime === undefined || clock !== "uptime") return "";
    return ` (${(firstTime - offset).toFixed(6)} s of the recording)`;
  }

  #candidates(finding: Finding): string[] {
    const { kind, verdict, certainty, candidates } = finding;
    if (certainty === "certain") return [];
    const most = verdict === UNDECIDED ? MOST_STATEMENTS : MOST_STATEMENTS - 1;
    const texts = candidates.slice(0, most).map((one) => {
      const why = distinct(one.because.slice(0, 2).map((because) => this.#cited(because))).join(" ");
      // The sentence after the headline has said what the leader means.
      const meaning = one.verdict === verdict && why !== "" ? "" : `${meaningOf(kind, one.verdict)}.`;
      return [`${one.verdict}:`, meaning, why].filter((part) => part !== "").join(" ");
    });
    return verdict === UNDECIDED
      ? this.#section("may be", texts, "yellow")
      : [...this.#section("most likely", texts.slice(0, 1), "green"), ...this.#section("or", texts.slice(1), "yellow")];
  }

  /** Verdicts that are excluded by the same sentences stand together. */
  #exclusions({ excluded }: Finding): string[] {
    const byReason = new Map<string, string[]>();
    for (const { verdict, because } of excluded.slice(0, MOST_STATEMENTS)) {
      const reason = because
        .slice(0, 2)
        .map((one) => this.#cited(one))
        .join(" ");
      byReason.set(reason, [...(byReason.get(reason) ?? []), verdict]);
    }
    return [...byReason].map(([reason, verdicts]) => `${verdicts.join(", ")}: ${reason}`);
  }

  #commands({ record }: Finding): string[] {
    const fresh = record.slice(0, MOST_COMMANDS).filter((line) => !this.#commandsShown.has(line));
    if (fresh.length === 0 && record.length > 0) return this.#section("record this", ["with the commands above"]);
    return fresh.flatMap((line, at) => {
      const { command, decides } = partsOfRecord(line);
      const head = this.#section(at === 0 ? "record this" : "", [decides]);
      const lines = commandLines(command, this.#terminal.width - COMMAND_INDENT.length);
      return [...head, ...lines.map((part) => `${COMMAND_INDENT}${part}`)];
    });
  }

  #others(findings: readonly Finding[]): void {
    if (findings.length === 0) return;
    const lines = [`${counted(findings.length, "further finding")}; --device or --at shows one whole, --json all:`];
    for (const finding of findings.slice(0, MOST_OTHERS)) {
      const cause =
        finding.certainty === UNDECIDED
          ? ""
          : ` ${finding.certainty === "certain" ? "Certain" : "Most likely"}: ${finding.verdict}.`;
      lines.push(`- ${headlineOf(finding)}${cause} ${this.#citation(finding.proof, 1)}`);
    }
    if (findings.length > MOST_OTHERS) lines.push(`- and ${findings.length - MOST_OTHERS} more`);
    this.#print(["", ...lines.flatMap((line) => this.#paragraph(line))]);
  }

  losses(): void {
    this.#print(
      this.#section(
        "lost",
        this.#explanation.lost.map((loss) => `${lossOf(loss)} ${this.#citation(loss.proof)}`),
        "yellow",
      ),
    );
  }

  unread(): void {
    for (const { unread } of this.#explanation.inputs) {
      if (unread.count === 0) continue;
      const text = `${counted(unread.count, "line")} that may be of an IOMMU could not be read, such as ${this.#citation(unread.first)}`;
      this.#print(this.#section("not read", [text], "yellow"));
    }
  }

  /** Explanations of the technical terms that the report uses. */
  words(): void {
    const [first] = this.#explanation.findings;
    if (first === undefined) return;
    const known = wordsIn(headlineOf(first)).slice(0, 1).join("");
    this.#print(
      this.#section(
        "words",
        wordsIn(this.#said).filter((word) => word !== known),
        "dim",
      ),
    );
  }

  #cited({ text, proof }: Statement): string {
    return proof.length === 0 ? text : `${text} ${this.#citation(proof)}`;
  }

  #citation(proof: Statement["proof"], most?: number): string {
    return `[${linesOf(proof, this.#files, most)}]`;
  }

  #paragraph(text: string): string[] {
    return wrapped(together(text), this.#terminal.width, "  ");
  }

  /** A label at the left, texts beside it, each from a line of its own. */
  #section(label: string, texts: readonly string[], style: Style = "cyan"): string[] {
    const blank = " ".repeat(LABEL_COLUMNS);
    const head = this.#terminal.paint(style, label.padEnd(LABEL_COLUMNS));
    return texts
      .flatMap((text) => wrapped(together(text), this.#terminal.width - LABEL_COLUMNS))
      .map((line, at) => `${at === 0 ? head : blank}${line}`.trimEnd());
  }

  #print(lines: readonly string[]): void {
    for (const line of lines) {
      const text = line.replaceAll(FIXED_BLANK, " ");
      if (!COMMAND.test(text)) this.#said += ` ${text.trim()}`;
      this.#terminal.out(`${text}\n`);
    }
  }
}

/** `86 µs`, `12.3 ms`, `7 s`. */
function spanText(seconds: number): string {
  if (seconds < 0.001) return `${Math.round(seconds * 1e6)} µs`;
  return seconds < 1
    ? `${(seconds * 1000).toFixed(1)} ms`
    : `${seconds.toFixed(seconds < 60 ? 1 : 0).replace(/\.0$/, "")} s`;
}

/** Device and time of a finding, for the list of findings that were not selected. */
function placeOf(finding: Finding): string {
  const { device, driver, streamId } = finding;
  const who =
    device === undefined
      ? streamId === undefined
        ? "a device without a name"
        : `stream ${streamId}`
      : `${device}${driver === undefined ? "" : ` (${driver})`}`;
  const time = timeOf(finding);
  return time === "" ? who : `${who} ${time}`;
}

/** Losses, and their effect on the answer. */
export function lossOf({ what, count, effect }: Loss): string {
  const amount = count === undefined ? `Some ${what}` : counted(count, what.slice(0, -1));
  return `${amount} ${count === 1 ? "is" : "are"} missing in the answer. ${effect}`;
}

function together(text: string): string {
  return text.replace(TOGETHER, (part) => part.replaceAll(" ", FIXED_BLANK).replaceAll(`;${FIXED_BLANK}`, "; "));
}

function distinct(texts: readonly string[]): string[] {
  return [...new Set(texts)];
}
