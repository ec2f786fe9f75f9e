/** `--bug-report`: a block to paste into a mail or a tracker, with what maintainers ask for first. */
import { type Explanation, type Finding, type LineRef, UNDECIDED } from "../explain/contract.ts";
import { headlineOf, meaningOf } from "../explain/words.ts";

/** Lines of the log that one finding quotes. */
const MOST_LINES = 12;

/** @param textOf - the text of a line of an input */
export function bugReportOf(explanation: Explanation, textOf: (line: LineRef) => string | undefined): string {
  const { host, findings, lost } = explanation;
  const lines = [
    "DMA problem",
    "",
    `Kernel: ${host.kernel ?? "(please add: uname -r)"}`,
    `IOMMU: ${host.iommus.join(", ") || "(please add: dmesg | grep -iE 'iommu|dmar|amd-vi|smmu')"}`,
    `Invalidation: ${host.invalidation ?? "(please add: cat /sys/kernel/iommu_groups/*/type)"}`,
    ...findings.flatMap((finding, at) => ["", ...sectionOf(finding, at + 1, textOf)]),
    ...(lost.length === 0
      ? []
      : ["", `Lost: ${lost.map(({ what, count }) => `${count ?? "some"} ${what}`).join(", ")}`]),
    "",
    "Not tried yet: (please add what you changed, and since which kernel it happens)",
  ];
  return `${lines.join("\n")}\n`;
}

function sectionOf(finding: Finding, number: number, textOf: (line: LineRef) => string | undefined): string[] {
  const { kind, verdict, certainty, follows, candidates, consequenceOf, record } = finding;
  const quoted = finding.proof.slice(0, MOST_LINES).flatMap((line) => textOf(line) ?? []);
  const cause =
    verdict === UNDECIDED
      ? `Cause: not decided by these lines; ${candidates
          .slice(0, 2)
          .map((one) => one.verdict)
          .join(" or ")}`
      : `Cause (${certainty}): ${verdict}, ${meaningOf(kind, verdict)}`;
  return [
    `${number}. ${headlineOf(finding)}`,
    ...quoted.map((text) => `    ${text.trim()}`),
    ...(consequenceOf === undefined ? [] : [consequenceOf.text]),
    ...follows.map(({ text }) => text),
    cause,
    ...(record.length === 0 ? [] : ["Would decide:", ...record.map((command) => `    ${command}`)]),
  ];
}
