/**
 * The prefilter: which lines are worth a closer look. It is tried on every line of a log, so it is one search for plain words. A word that a shape's
 * message always begins with must stand here; the test of the families holds it.
 */
import { requiredWords, wordOf } from "./required-words.ts";
import { WordSearch } from "./word-search.ts";

/** Plain text. */
const WORDS: readonly string[] = [
  // IOMMUs and their faults.
  "AMD-Vi",
  "DMAR",
  "DRHD",
  "INTR-REMAP",
  "MMU",
  "iommu",
  "smmu",
  "Smmu",
  "fault",
  "FAULT",
  "_TABLE_ENTRY",
  "_HARDWARE_ERROR",
  "IOTLB_INV",
  "INVALID_DEV",
  "INVALID_PPR",
  "ILLEGAL_COMMAND",
  "RMP_HW",
  "Completion-Wait",
  "DTE[",
  "FSR",
  "FSYNR",
  "vtd_",
  "PSYCHO",
  "SCHIZO",
  "SABRE",
  "TOMATILLO",
  "amdvi_",
  "l1[",
  "l2[",
  "l3[",
  "l4[",
  "l5[",
  "l6[",
  "EEH",
  "DMA",
  "dma",
  "swiotlb",
  "SWIOTLB",
  "vfio",
  "VFIO",
  "EAL:",
  "suppressed",
  "printk messages",
  "***",
  "journald[",
  "WARN",
  "lockup",
  "LOCKUP",
  "blocked for more",
  "detected stall",
  "iova",
  "IOVA",
  "DmaMap",
  "cmdq",
  "qi_submit",
  "qi_flush",
  "fq_flush",
  "fq_ring",
  "viable",
  "MEMLOCK",
  "interrupt remapping",
  "RMRR",
  "Please ensure all",
  "printk:",
  "tegra-mc",
  "leaked",
  // The machine.
  "Linux version",
  "ommand line",
  "Comm:",
  "systemd[1]",
  "init as init",
  "unused kernel",
  "sched_clock",
  "elfcorehdr",
  "kexec",
  "BIOS-e820",
  " : System",
  "System RAM",
  "framebuffer",
  "ITS [",
  "Memory at",
  "Kernel driver",
  // Events of devices.
  "reset",
  "Reset",
  "RESET",
  "Restart",
  "recover",
  "timeout",
  "Timeout",
  "time out",
  "Time out",
  "time-out",
  "Time-out",
  "timed out",
  "Timed out",
  "timed-out",
  "Timed-out",
  "timedout",
  "hung",
  "HANG",
  "Hang",
  "not responding",
  "assume dead",
  "firmware",
  "Firmware crash",
  "SYS_ERR",
  "Microcode",
  "ink down",
  "ink Down",
  "ink is down",
  "ink is Down",
  "PCIe link",
  "AER:",
  "D3cold",
  "power state",
  "PM: ",
  "Freezing",
  "Waking up",
  "reboot:",
  "systemd-shutdown",
  "nbind",
  "nbound",
  "Removing",
  "hutting down",
  "shutdown",
  "disabling translation",
  "bypass window",
  "Out of memory",
  "oom-kill",
  "NETDEV",
  "[drm",
];

/** Messages that a search for plain text cannot find. */
const PATTERNS: readonly string[] = [
  // Words of events: 0x and 16 digits, and those that a mail program broke after 8.
  "0x[0-9a-f]{8}(?:[0-9a-f]{8}| [0-9a-f]{8})",
  // Dumps of registers.
  ":\\s+(?:0x)?[0-9a-f]{8} [0-9a-f]{8}",
  // PCI devices.
  ":[0-9a-f]{2}\\.[0-7]",
  // uname -a
  "Linux \\S+ \\d",
];

/** Uses of a line, as bits; a line may have several. */
export const LINE = { message: 1, hunk: 2, header: 4, delta: 8 } as const;

/** Lines that say how others are to be read: hunks of patches, headers of mails, times as differences (`dmesg --reltime`). */
const OTHERS: readonly (readonly [pattern: RegExp, worth: number])[] = [
  [/@@ -\d/, LINE.hunk],
  [/-encoding:|subject:|content-type:/i, LINE.header],
  [/\[ {2}\+\d|\[ \+\d|\[\+\d/, LINE.delta],
];

/** As Markdown text has it: `IO\\_PAGE\\_FAULT`. */
function withEscapes(word: string): string {
  return word.replace(/[_[\]*#]/g, "\\$&");
}

/** A line without one of the words begins no message of any shape. */
const SEARCH = new WordSearch([
  ...[...WORDS, ...WORDS.map(withEscapes)].map((word) => ({
    word: wordOf(word),
    number: LINE.message,
  })),
  ...[...PATTERNS.map((pattern) => [new RegExp(pattern), LINE.message] as const), ...OTHERS].flatMap(
    ([pattern, number]) => (requiredWords(pattern) ?? []).map((word) => ({ word, number })),
  ),
]);
let found = 0;
const note = (worth: number): void => {
  found |= worth;
};

/** Uses of a line, as bits of `LINE`; 0: the line is of no use. */
export function worthOf(line: string): number {
  found = 0;
  SEARCH.search(line, 0, line.length, note);
  return found;
}

/** The same of the line [first, end) of UTF-8 text. */
export function worthOfBytes(bytes: Uint8Array, first: number, end: number): number {
  found = 0;
  SEARCH.searchBytes(bytes, first, end, note);
  return found;
}
