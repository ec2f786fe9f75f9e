/** `--bug-report`: a block to paste into a mail or a tracker, with what maintainers ask for first. */
import { type Explanation, type Finding, type LineRef, UNDECIDED } from "../explain/contract.ts";
import { headlineOf, meaningOf, timeOf } from "../explain/words.ts";
import { partsOfRecord } from "./commands.ts";
import { citedLines, lossOf } from "./explain-report.ts";

/** Lines of the log that one finding quotes. */
const MOST_LINES = 12;

/** The lines that the block quotes: of each finding, and of what happened before it. */
export function quotedLines({ findings }: Explanation): LineRef[] {
  return findings.flatMap(linesOf);
}

/** @param textOf - the text of a line of an input */
export function bugReportOf(explanation: Explanation, textOf: (line: LineRef) => string | undefined): string {
  const { host, findings, lost } = explanation;
  const lines = [
    "DMA problem",
    "",
    `Kernel: ${host.kernel ?? "(please add: uname -r)"}`,
    `IOMMU: ${host.iommus.join(", ") || "(please add: dmesg | grep -iE 'iommu|dmar|amd-vi|smmu')"}`,
    `Invalidation: ${host.invalidation ?? "(please add: cat /sys/kernel/iommu_groups/*/type)"}`,
    ...(findings.length === 0 ? ["", "No finding."] : []),
    ...findings.flatMap((finding, at) => ["", ...sectionOf(finding, at + 1, textOf)]),
    ...(lost.length === 0 ? [] : ["", ...lost.map((loss) => `Lost: ${lossOf(loss)}`)]),
    "",
    "Since which kernel, and what was tried: (please add)",
  ];
  return `${lines.join("\n")}\n`;
}

function sectionOf(finding: Finding, number: number, textOf: (line: LineRef) => string | undefined): string[] {
  const { follows, consequenceOf, record, candidates, verdict } = finding;
  const quoted = linesOf(finding).flatMap((line) => textOf(line) ?? []);
  const reasons = candidates.find((one) => one.verdict === verdict)?.because ?? [];
  const sentences = [...(consequenceOf === undefined ? [] : [consequenceOf]), ...follows, ...reasons].map(
    ({ text }) => text,
  );
  return [
    `${number}. ${headlineOf(finding)}`,
    `${countOf(finding)}:`,
    "",
    ...quoted.map((text) => `    ${text.trim()}`),
    "",
    ...sentences,
    ...causeOf(finding),
    ...(record.length === 0 ? [] : ["Would decide:", ...record.flatMap(commandOf)]),
  ];
}

/** `3 times, the first at 40.18257 s after the boot; the first 12 lines`. */
function countOf(finding: Finding): string {
  const { count, proof } = finding;
  const time = timeOf(finding);
  const times = count === 1 ? "Once" : `${count} times`;
  const when = time === "" ? "" : count === 1 ? ` ${time}` : `, the first ${time}`;
  return `${times}${when}${proof.length > MOST_LINES ? `; the first ${MOST_LINES} lines` : ""}`;
}

function causeOf({ kind, verdict, certainty, candidates }: Finding): string[] {
  if (verdict !== UNDECIDED)
    return [
      `Cause (${certainty === "certain" ? "certain" : "most likely"}): ${meaningOf(kind, verdict)} (${verdict}).`,
    ];
  return [
    "Cause: these lines do not decide it. It may be:",
    ...candidates.slice(0, 3).map((one) => `- ${meaningOf(kind, one.verdict)} (${one.verdict})`),
  ];
}

function commandOf(line: string): string[] {
  const { command, decides } = partsOfRecord(line);
  return [`- ${decides}`, `    ${command}`];
}

/** The first lines of the finding and those that its sentences name, in the order of the input. */
function linesOf(finding: Finding): LineRef[] {
  const cited = citedLines({ ...finding, proof: finding.proof.slice(0, MOST_LINES) });
  const files = [...new Set(cited.map(({ file }) => file))];
  return [...new Map(cited.map((line) => [`${line.file}:${line.line}`, line])).values()].sort(
    (a, b) => files.indexOf(a.file) - files.indexOf(b.file) || a.line - b.line,
  );
}
