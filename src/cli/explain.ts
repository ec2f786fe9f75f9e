/** `iova explain`: reads kernel logs and traces, says what happened and what follows from it. */
import type { Explanation, Finding } from "../explain/contract.ts";
import { Explainer } from "../explain/explainer.ts";
import { IovaError } from "../units/errors.ts";
import { askedText, isAsked } from "./asked.ts";
import { bugReportOf, quotedLines } from "./bug-report.ts";
import { reflowed } from "./columns.ts";
import { citedLines, printReport } from "./explain-report.ts";
import { type Moment, momentOf } from "./moment.ts";
import { integer } from "./options.ts";
import { jsonOption, STANDARD_OUTPUT, writeJson } from "./output-file.ts";
import { Quoter } from "./quotes.ts";
import type { Terminal } from "./terminal.ts";
import { Command, Option } from "./vendor.ts";

const MANUAL = `
Reads what people have: a kernel log or a piece of one, quoted or wrapped by a mail program, or an ftrace recording. Says what the lines prove, which explanations remain, and which commands decide.

Examples:
  $ dmesg | iova explain -
  $ iova explain mail.txt
  $ iova explain trace.txt.gz --dmesg dmesg.txt --device 0000:01:00.0

Exit codes:
  0 nothing found
  1 something found
  2 wrong use, or input that holds neither a log nor a trace
  3 the command itself failed`;

interface ExplainFlags {
  readonly dmesg?: string;
  readonly device?: string;
  readonly at?: Moment;
  readonly context?: number;
  readonly json?: string;
  readonly bugReport?: true;
}

/** The verb; `finish` takes the exit code. */
export function explainCommand(terminal: Terminal, finish: (code: number) => void): Command {
  return new Command("explain")
    .summary("explain a kernel log or a trace: what happened, and what to do next")
    .description(
      "Explains DMA problems from a kernel log or a trace: what happened, what follows from it, what to do next.",
    )
    .argument("<FILE...>", "kernel logs, traces, archives of iova capture; plain, gz or zst; - is standard input")
    .option("--dmesg <FILE>", "a kernel log of the same machine and time as the trace")
    .option(
      "-d, --device <DEVICE>",
      "only findings of this device: 0000:01:00.0, 01:00.0, a driver, a stream id, or as printed",
    )
    .addOption(
      new Option(
        "--at <TIME>",
        "only findings within a second of this time of the log: seconds, or as the log prints it",
      ).argParser(momentOf),
    )
    .addOption(
      new Option("-C, --context <N>", "quote the lines of each finding, with N lines around them").argParser(
        integer(0, 1000),
      ),
    )
    .addOption(jsonOption())
    .option("--bug-report", "print a block to paste into a bug report or a mail")
    .addHelpText("after", () => reflowed(MANUAL, terminal.width))
    .action(async (files: string[], flags: ExplainFlags) => finish(await explain(files, flags, terminal)));
}

async function explain(files: readonly string[], flags: ExplainFlags, terminal: Terminal): Promise<number> {
  // A file that is named twice holds each message once.
  const inputs = [...new Set(flags.dmesg === undefined ? files : [...files, flags.dmesg])];
  const isQuoted = flags.json !== STANDARD_OUTPUT && (flags.bugReport === true || flags.context !== undefined);
  const quoter = new Quoter(terminal, isQuoted ? undefined : 0);
  const explainer = new Explainer();
  for (const file of inputs) await quoter.read(file, (name, bytes) => explainer.input(name, bytes));
  const whole = explainer.explain();
  if (whole.inputs.every(({ lines }) => lines === 0)) {
    throw new IovaError("no-input", `${inputs.map(nameOf).join(", ")}: empty; expected a kernel log or a trace`);
  }
  if (whole.inputs.every(({ holds }) => holds.length === 0)) {
    throw new IovaError(
      "no-input",
      `${inputs.map(nameOf).join(", ")}: no line is one of a kernel log or of a trace; expected lines like ` +
        "`[   12.345678] DMAR: [DMA Read] …` or `task-1 [000] ..... 7.172004: map: IOMMU: …`",
    );
  }
  const explanation = { ...whole, findings: whole.findings.filter((finding) => isAsked(finding, flags)) };
  if (flags.json !== STANDARD_OUTPUT) await say(explanation, whole.findings, flags, quoter, terminal);
  // Last: when the file can't be written, the report is there all the same.
  if (flags.json !== undefined) writeJson(flags.json, explanation, terminal);
  return explanation.findings.length > 0 ? 1 : 0;
}

function nameOf(input: string): string {
  return input === "-" ? "standard input" : input;
}

async function say(
  explanation: Explanation,
  all: readonly Finding[],
  flags: ExplainFlags,
  quoter: Quoter,
  terminal: Terminal,
): Promise<void> {
  if (flags.bugReport === true) {
    await quoter.gather(quotedLines(explanation), 0);
    terminal.out(bugReportOf(explanation, (line) => quoter.textOf(line)));
    return;
  }
  const around = flags.context;
  if (around !== undefined) await quoter.gather(explanation.findings.flatMap(citedLines), around);
  const text = askedText(flags);
  printReport(
    explanation,
    terminal,
    (finding) => (around === undefined ? [] : quoter.quote(citedLines(finding), around)),
    text === undefined ? undefined : { text, all },
  );
}
