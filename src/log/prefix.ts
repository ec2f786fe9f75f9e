/**
 * Prefixes that log daemons and consoles write before a kernel message: time, host, level, caller. All parts are removed; the time is kept.
 */
import type { Clock } from "./facts.ts";

export interface Prefixed {
  /** The message without its prefix. */
  readonly text: string;
  /** A prefix was there, so this line begins a message. */
  readonly hasPrefix: boolean;
  /** Seconds. */
  readonly time?: number;
  readonly clock?: Clock;
}

const MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

interface Part {
  /** Characters that it may begin with. */
  readonly begins: string;
  /** The named groups say which time it holds. */
  readonly pattern: RegExp;
}

const LEVEL = "emerg|alert|crit|err|warn|warning|notice|info|debug";

/** Each kind of prefix; they can follow each other in any order. */
const PARTS: readonly Part[] = [
  // [   12.345678] is read by `uptimeAt`; the caller may follow it: [    T1234].
  { begins: "[", pattern: /\[\s*(?:T|C)\s*\d+\]\s?/y },
  // dmesg --ctime: [Thu Oct 22 08:54:51 2020]; newer: with fractions.
  {
    begins: "[",
    pattern: /\[\w{3} (?<month>\w{3})\s+(?<day>\d{1,2}) (?<clock>\d\d:\d\d:\d\d(?:[.,]\d+)?) (?<year>\d{4})\]\s?/y,
  },
  // dmesg --reltime: [  +0.001779], and [Oct22 08:54] when a minute has passed. The reader adds them up.
  { begins: "[", pattern: /\[\s*(?:\+\d+\.\d+|[A-Z][a-z]{2}\s?\d{1,2} \d\d:\d\d)\]\s?/y },
  // Jul 28 16:14:53 host kernel: …; the host is a word without a colon, the program may have a number.
  {
    begins: "JFMASOND",
    pattern:
      /(?<month>Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)\s+(?<day>\d{1,2}) (?<clock>\d\d:\d\d:\d\d(?:\.\d+)?) (?:[^\s:[\]]+ )?(?:[\w./-]+(?:\[\d+\])?: ?)?/y,
  },
  // 2024-02-06T04:26:01.376941Z WARNING kernel: …, with or without a host.
  {
    begins: "0123456789",
    pattern:
      /(?<iso>\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?)(?: (?:EMERG|ALERT|CRIT|CRITICAL|ERR|ERROR|WARN|WARNING|NOTICE|INFO|DEBUG))?\s(?:[^\s:[\]|]+ (?=\w+(?:\[\d+\])?: ))?(?:kernel: )?/y,
  },
  // OVS and DPDK: 2022-11-25T01:10:52.810Z|00093|dpdk|ERR|
  {
    begins: "0123456789",
    pattern: /(?<iso>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z?)\|\d+\|[\w()-]+\|[A-Z]+\|/y,
  },
  { begins: "<", pattern: /<\d{1,3}>\s?/y },
  { begins: "k", pattern: new RegExp(String.raw`kern(?:el)?\s*[.:]\s*(?:${LEVEL})\s*:\s`, "y") },
  { begins: "eacwnid", pattern: new RegExp(String.raw`(?:${LEVEL})\s*:\s(?=\[)`, "y") },
  { begins: "k", pattern: /kernel:\s?/y },
  { begins: "(", pattern: /\((?:XEN|qemu)\)\s?/y },
  // An item of a list.
  { begins: "-*+", pattern: /[-*+]\s+(?=\[\s*\d)/y },
  // A dump of RAM: 0x000000000277BBFA |   1263.468579:
  { begins: "0", pattern: /0x[0-9A-Fa-f]{8,16}\s*\|\s+(?<uptime>\d+\.\d+):\s+/y },
];
/** journalctl -o short-monotonic: the host follows the time. */
const HOST = /(?<=\]\s)[\w.-]+ (?=kernel: )/y;
/** The parts that may begin with each ASCII character. */
const PARTS_OF: readonly (readonly RegExp[])[] = Array.from({ length: 128 }, (_, code) =>
  PARTS.filter(({ begins }) => begins.includes(String.fromCharCode(code))).map(({ pattern }) => pattern),
);

/** The beginning of a prefix in the middle of a line: a time, and what may stand before it. */
const INNER = new RegExp(
  [
    String.raw`(?:(?:<\d{1,3}>|\((?:XEN|qemu)\)|kernel:|kern[\s\w.:]{1,16}:)\s?)?\[\s{0,9}\+?\d{1,9}\.\d{6}\]`,
    String.raw`\[\w{3} \w{3}\s{1,2}\d{1,2} \d\d:\d\d:\d\d(?:[.,]\d+)? \d{4}\]`,
    String.raw`(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)\s{1,2}\d{1,2} \d\d:\d\d:\d\d(?:\.\d+)? [^\s:[\]]+ kernel:`,
    String.raw`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.,]\d+(?:Z|[+-]\d\d:?\d\d)?[\s|]`,
    String.raw`0x[0-9A-F]{16}\s\|\s+\d+\.\d+:\s`,
    String.raw`\(XEN\)\s`,
  ].join("|"),
);

/** True if a prefix follows a message in a line without a prefix of its own: two messages may have been run together. */
export function holdsPrefix(text: string): boolean {
  return INNER.test(text);
}

/** Splits a cleaned line before each prefix that stands behind a message. */
export function splitMessages(line: string): readonly string[] {
  const messages: string[] = [];
  let first = 0;
  for (const { index } of line.matchAll(new RegExp(INNER, "g"))) {
    const rest = line.slice(first);
    if (index < line.length - splitPrefix(rest).text.length) continue;
    messages.push(line.slice(first, index).replace(/>\s*$/, ""));
    first = index;
  }
  messages.push(line.slice(first));
  return messages;
}

/** Splits a line that has been cleaned. */
export function splitPrefix(line: string): Prefixed {
  let at = skipBlanks(line, 0);
  let hasPrefix = false;
  let time: number | undefined;
  let clock: Clock | undefined;
  for (let part = partAt(line, at); part !== undefined; part = partAt(line, at)) {
    at += part.length;
    hasPrefix = true;
    if (part.time === undefined || clock === "uptime") continue;
    time = part.time;
    clock = part.clock;
    at = skipBlanks(line, at);
  }
  const text = line.slice(at);
  return time === undefined || clock === undefined ? { text, hasPrefix } : { text, hasPrefix, time, clock };
}

function skipBlanks(line: string, from: number): number {
  let at = from;
  while (line[at] === " " || line[at] === "\t") at++;
  return at;
}

/** A piece of a prefix. */
interface Piece {
  readonly length: number;
  /** Seconds. */
  readonly time?: number;
  readonly clock?: Clock;
}

function partAt(line: string, at: number): Piece | undefined {
  const uptime = uptimeAt(line, at);
  if (uptime !== undefined) return uptime;
  for (const part of PARTS_OF[line.charCodeAt(at)] ?? []) {
    part.lastIndex = at;
    const match = part.exec(line);
    if (match !== null) return timed(match);
  }
  if (at === 0 || line[at - 1] !== " " || !line.startsWith("kernel: ", line.indexOf(" ", at) + 1)) return undefined;
  HOST.lastIndex = at;
  const host = HOST.exec(line);
  return host === null ? undefined : { length: host[0].length };
}

/** `[   12.345678] `, with 3 to 9 digits behind the point. By hand: most lines of a log begin so. */
function uptimeAt(line: string, first: number): Piece | undefined {
  if (line[first] !== "[") return undefined;
  const seconds = skipBlanks(line, first + 1);
  const point = skipDigits(line, seconds);
  const end = skipDigits(line, point + 1);
  if (point === seconds || point - seconds > 9 || end - point < 4 || end - point > 10) return undefined;
  if (line[point] !== "." || line[end] !== "]") return undefined;
  const time = Number(line.slice(seconds, end));
  const next = line[end + 1];
  const length = end + 1 - first;
  return { length: next === " " || next === "\t" ? length + 1 : length, time, clock: "uptime" };
}

function skipDigits(line: string, from: number): number {
  let at = from;
  for (let code = line.charCodeAt(at); code >= 48 && code <= 57; code = line.charCodeAt(at)) at++;
  return at;
}

function timed(match: RegExpExecArray): Piece {
  const length = match[0].length;
  if (match.groups === undefined) return { length };
  const { uptime, iso, month, clock, day, year } = match.groups;
  if (uptime !== undefined) return { length, time: Number(uptime), clock: "uptime" };
  const wall =
    iso !== undefined ? Date.parse(iso.replace(",", ".").replace(" ", "T")) / 1000 : wallTime(month, day, clock, year);
  return wall === undefined || Number.isNaN(wall) ? { length } : { length, time: wall, clock: "wall" };
}

/** Seconds since 1970; without a year, seconds since the beginning of a year: only differences are used. */
function wallTime(month?: string, day?: string, clock?: string, year?: string): number | undefined {
  if (month === undefined || day === undefined || clock === undefined) return undefined;
  const [hours, minutes, seconds] = clock.replace(",", ".").split(":").map(Number);
  const number = MONTHS.indexOf(month.toLowerCase());
  const days = Date.UTC(Number(year ?? 1970), number, Number(day)) / 1000;
  return number < 0 ? undefined : days + (hours ?? 0) * 3600 + (minutes ?? 0) * 60 + (seconds ?? 0);
}
