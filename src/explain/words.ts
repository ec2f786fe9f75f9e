/**
 * Findings in words: sentences that need no knowledge of the field. The first sentence that uses a word of the field explains it.
 */
import type { Finding, Kind, LineRef } from "./contract.ts";
import { UNDECIDED } from "./contract.ts";
import { VERDICT_WORDS } from "./verdict-words.ts";

/**
 * Returns the meaning of a verdict in words, as the end of a sentence. `verdict`: of `VERDICTS[kind]`, or `undecided`; another text is returned
 * unchanged.
 */
export function meaningOf(kind: Kind, verdict: string): string {
  if (verdict === UNDECIDED) return "these lines do not decide the cause";
  return VERDICT_WORDS[kind][verdict]?.meaning ?? verdict;
}

/** The next step when the verdict is the cause, as an order without a full stop. */
export function nextStepOf(kind: Kind, verdict: string): string {
  return VERDICT_WORDS[kind][verdict]?.next ?? "run the commands below: each says what it decides";
}

/** Returns one sentence that says what happened, with the device and the address of the finding. */
export function headlineOf(finding: Finding): string {
  const who = nameOf(finding);
  const at = finding.iova === undefined ? "" : ` (address ${finding.iova})`;
  switch (finding.kind) {
    case "dma-fault":
      return `${who} tried to ${verbOf(finding)}, and the IOMMU refused it.`;
    case "no-table":
      return `${who} tried to ${verbOf(finding)}, and the IOMMU refused it: it has no translations for this device at all.`;
    case "table-error":
      return finding.verdict === "illegal-command"
        ? "The IOMMU refused a command of its own driver."
        : `The IOMMU could not use its own tables for a request of ${lower(who)}.`;
    case "interrupt":
      return `${who} sent an interrupt, and the IOMMU refused it; no access to memory was refused.`;
    case "invalidation-timeout":
      return `The kernel ordered the IOMMU to forget old translations${finding.device === undefined ? "" : ` of ${lower(who)}`}, and the confirmation did not come in time.`;
    case "conflicting-entry":
      return `A page was mapped at ${finding.iova ?? "an address"} where another mapping already was.`;
    case "map-refused":
      return `A request to map memory for a device, a guest or a user-space driver was refused${at}.`;
    case "assignment-refused":
      return `${who} could not be given to a guest or a user-space driver.`;
    case "bounce-refused":
      return `${who} needed a bounce buffer (memory that it can reach, to copy through) and got none.`;
    case "exhausted":
      return `${who} asked for addresses, and no free range was found.`;
    case "dma-api-misuse":
      return `A check of the kernel objects to how ${finding.device === undefined ? "a driver" : `the driver of ${lower(who)}`} maps memory for its device.`;
    case "frozen":
      return `${who} was cut off from the bus after an error (EEH).`;
    case "leak":
      return `The driver of ${lower(who)} maps memory that it does not unmap.`;
    case "slow":
      if (finding.device !== undefined)
        return `Most unmaps of ${lower(who)} take a millisecond or longer; microseconds are usual.`;
      return "A processor spent seconds in the code that hands out or forgets IO addresses.";
  }
}

/** How sure the cause is, and what to do next: the sentences after the headline. */
export function outlookOf(finding: Finding, files: number): string {
  const { kind, verdict, certainty, record, consequenceOf } = finding;
  const cause =
    certainty === UNDECIDED
      ? "These lines do not decide why."
      : `${certainty === "certain" ? "Certain" : "Most likely"} (${verdict}): ${meaningOf(kind, verdict)}.`;
  const first =
    consequenceOf === undefined
      ? ""
      : `look first at what happened before it [${linesOf(consequenceOf.proof, files, 1)}]; then `;
  const step = certainty === UNDECIDED ? nextOfUndecided(finding) : nextOf(finding);
  const check = certainty === "strong" && record.length > 0 ? ` The commands below help to make sure.` : "";
  return `${cause} Do next: ${first}${step}.${check}`;
}

/** The next step; of a refused access, with the direction that the device needs. */
function nextOf({ kind, verdict, access }: Finding): string {
  if (verdict !== "permission" || access === undefined) return nextStepOf(kind, verdict);
  return access === "write"
    ? "find the code that maps the buffer: the device writes to it, so its direction must be DMA_FROM_DEVICE or DMA_BIDIRECTIONAL"
    : "find the code that maps the buffer: the device reads it, so its direction must be DMA_TO_DEVICE or DMA_BIDIRECTIONAL";
}

function nextOfUndecided({ kind, record }: Finding): string {
  if (record.some((command) => command.includes("events/iommu/enable")))
    return "record it when it happens again (commands below, or iova capture), and let iova explain read the recording";
  return kind === "dma-fault" && record.length === 0
    ? "record it with iova capture when it happens again"
    : "run the commands below: each says what it decides";
}

/** When it happened, by the clock of the input: `at 12.5 s after the boot`, `2 times in 86 µs, the first …` is said with the count. */
export function timeOf({ firstTime, clock }: Finding): string {
  if (firstTime === undefined) return "";
  if (clock === "trace") return `at ${firstTime} s of the recording`;
  return clock === "wall" ? `on ${dateOf(firstTime)}` : `at ${firstTime} s after the boot`;
}

/** Times before this one come from logs that name no year. */
const FIRST_YEAR_SECONDS = 366 * 86_400;

function dateOf(seconds: number): string {
  const [date = "", time = ""] = new Date(seconds * 1000).toISOString().split(/[TZ]/);
  return `${seconds < FIRST_YEAR_SECONDS ? date.slice(5) : date} at ${time.replace(/\.?0+$/, "")}`;
}

/** The device with its driver, at the beginning of a sentence. */
function nameOf({ device, driver, streamId, iommu }: Finding): string {
  if (device !== undefined) return driver === undefined ? `Device ${device}` : `Device ${device} (${driver})`;
  const at = iommu === undefined ? "" : ` behind the IOMMU ${iommu}`;
  return streamId === undefined
    ? `A device${at || " that the lines do not name"}`
    : `The device of stream ${streamId}${at}`;
}

function lower(text: string): string {
  return text.startsWith("Device ")
    ? text.slice("Device ".length)
    : `${text.slice(0, 1).toLowerCase()}${text.slice(1)}`;
}

function verbOf({ access, iova, granule }: Finding): string {
  const place = iova === undefined ? "memory" : granule === 4096 ? `page ${iova}` : `address ${iova}`;
  const verbs = { read: `read ${place}`, write: `write to ${place}`, execute: `execute at ${place}` };
  return access === undefined ? `access ${place}` : verbs[access];
}

/** `line 12`, `lines 12, 14 and 15`; with the files' names where there are several inputs: `trace.txt 15, 19; dmesg.txt 400`. */
export function linesOf(proof: readonly LineRef[], files: number, most = 3): string {
  const shown = [...new Map(proof.map((line) => [`${line.file}:${line.line}`, line])).values()]
    .slice(0, most)
    .sort((a, b) => (a.file === b.file ? a.line - b.line : 0));
  if (shown.length === 0) return "";
  if (files > 1) {
    const names = [...new Set(shown.map(({ file }) => file))];
    const numbersIn = (name: string): string =>
      shown.flatMap(({ file, line }) => (file === name ? [line] : [])).join(", ");
    return names.map((name) => `${shortName(name)} ${numbersIn(name)}`).join("; ");
  }
  const numbers = shown.map(({ line }) => String(line));
  return numbers.length === 1 ? `line ${numbers[0]}` : `lines ${numbers.slice(0, -1).join(", ")} and ${numbers.at(-1)}`;
}

/** The last part of a path. */
function shortName(file: string): string {
  return file.split("/").at(-1) ?? file;
}
