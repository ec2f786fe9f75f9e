/**
 * Reads the text of a log, in pieces of any size, and hands on the facts that it states. Memory does not grow with the log.
 *
 * The way of a line: *prefilter* (a word that some shape needs?) → *mail* and *patch* (headers, encodings, hunks) → *window* (cleaned, without
 * prefix, with the lines it was wrapped into) → *shapes* whose words are there → *assembly* (parts of one message) → fact.
 * A line that repeats an earlier one goes from its bytes to the assembly at once (known-lines.ts, repeats.ts).
 */
import { Assembly } from "./assembly.ts";
import { LINE, worthOf, worthOfBytes } from "./candidates.ts";
import { cleanLine } from "./clean.ts";
import { fieldsOf } from "./cut-lines.ts";
import type { Fact, LineRef } from "./facts.ts";
import { type KnownLine, KnownLines, type Reading } from "./known-lines.ts";
import { Mail, SUBJECT } from "./mail.ts";
import { betterJoin, type Match, matchesIn } from "./matches.ts";
import { type Stamp, Windows } from "./messages.ts";
import { holdsPrefix, splitMessages, splitPrefix } from "./prefix.ts";
import { Repeats, Watched } from "./repeats.ts";
import { type Sink, Values } from "./shape.ts";
import { Hunks } from "./source-code.ts";
import { Subjects } from "./subjects.ts";
import { beginsWithTime, UptimeReader } from "./uptime.ts";
import type { Place, Window } from "./window.ts";

/** A line that names an IOMMU and a failure: reported when no shape reads it. */
const NAMES_IOMMU = /AMD-Vi|DMAR|iommu\b|smmu|IO_PAGE_FAULT|swiotlb|DMA-API|\bdart\b/i;
/** `default` is no fault. */
const NAMES_FAILURE =
  /\b(?:fault|error|fail|time-?out|timed out|refus|reject|unable|exceed|blocked|illegal|invalid\b|unhandled|event logged)|_FAULT|_ERROR|_TIMEOUT/i;
/** Lines of a boot that name an IOMMU and something that is missing, on machines without any problem. */
const HARMLESS =
  /perf counter|handle for ACPI object|No ATSR found|not available on this system|ioapic \d+ has no mapping|No southbridge IOAPIC|No firmware reserved region/;
const MOST_UNREAD_SHOWN = 5;
/** Most lines from a candidate to the end of its wrapped message. */
const FOLLOWERS = 6;
/** Longer lines are read in pieces; the kernel prints at most about 1000 characters. */
const PIECE_CHARACTERS = 1024;
/** Lines that quoted-printable broke, kept until it is known whether they hold a message. */
const MOST_HELD = 8;
/** Where a page or a terminal ends a line without a line feed. */
const INNER_BREAK = /\r|<br\s{0,4}\/?>|<\/(?:p|div|li|tr|pre)>/i;
/** The text behind the last line break is not a line. */
const LAST_BREAK = /(?:\r+|<br\s{0,4}\/?>|<\/(?:p|div|li|tr|pre)>)\s*$/i;
const DELTA = /^\s{0,20}\[\s{0,8}\+(\d{1,9}\.\d{1,9})\]/;
/**
 * A line break that quoted-printable put in (RFC 2045, 6.7): such lines have at most 76 characters, and no
 * other "=" of their own.
 */
const SOFT_BREAK = /^(?:[^=]|=[0-9A-F]{2}){1,75}=\r?$/;
const FULL_COLUMNS = 72;
/** A message may have been wrapped behind its `address = `. */
const OWN_EQUALS = /\s=\r?$/;
const EQUALS = 0x3d;
const RETURN = 0x0d;
const LINE_FEED = 0x0a;

/** Part of every runtime (WHATWG Encoding); the library is compiled without the types of any of them. */
declare class TextDecoder {
  decode(bytes?: Uint8Array): string;
}

/** Counts of the input that was read. */
export interface LogSummary {
  readonly lines: number;
  /** A line has the prefix of a log, or holds a message that a shape reads. */
  readonly isLog: boolean;
  /** Lines that look like messages of an IOMMU and that no shape reads. */
  readonly unread: { readonly count: number; readonly first: readonly LineRef[] };
}

interface Line {
  readonly raw: string;
  /** Its numbers in the input: several where quoted-printable broke it. */
  readonly first: number;
  readonly last: number;
  /** Bits of `LINE`. */
  readonly worth: number;
}

export class LogReader {
  readonly #file: string;
  readonly #remembers: boolean;
  readonly #assembly: Assembly;
  readonly #watched: Watched;
  readonly #uptime = new UptimeReader();
  readonly #repeats = new Repeats();
  readonly #known = new KnownLines();
  readonly #windows: Windows;
  readonly #mail = new Mail();
  readonly #subjects = new Subjects();
  readonly #hunks = new Hunks();
  readonly #decoder = new TextDecoder();
  #line = 0;
  #followers = 0;
  /** Lines that quoted-printable broke and that go on. */
  #held: Line[] = [];
  /** Sum of the differences of `dmesg --reltime` at each depth of quotes: a quoted copy has a sum of its own. */
  readonly #elapsed = new Map<number, number>();
  #isLog = false;
  #unread = 0;
  readonly #firstUnread: LineRef[] = [];

  /**
   * @param file - the name that line references get
   * @param remembers - false: each line is read as if it came for the first time, which takes longer and gives the same facts
   */
  constructor(file: string, onFact: (fact: Fact) => void, remembers = true) {
    this.#file = file;
    this.#remembers = remembers;
    this.#assembly = new Assembly((fact) => {
      if (this.#subjects.isMail) this.#subjects.seen(fact);
      onFact(fact);
    });
    this.#watched = new Watched(this.#assembly);
    this.#windows = new Windows((window, from, before) => this.#search(window, from, before));
  }

  /** Reads whole lines of UTF-8 text: the bytes [first, end), which may be reused afterwards. */
  write(bytes: Uint8Array, first = 0, end: number = bytes.length): void {
    for (let at = first; at < end; ) {
      const feed = bytes.indexOf(LINE_FEED, at);
      const lineEnd = feed < 0 || feed > end ? end : feed;
      this.#read(bytes, at, lineEnd);
      at = lineEnd + 1;
    }
  }

  /** So many lines of the input are no text of a log. */
  skip(lines: number): void {
    this.#line += lines;
  }

  /** The next line is a message of the log that a trace has recorded (`printk:console`), at a time of the trace's clock. */
  message(text: string, traceSeconds: number): void {
    this.#line++;
    const line = { raw: text, first: this.#line, last: this.#line, worth: worthOf(text) };
    this.#follow(line, { time: traceSeconds, clock: "trace" });
  }

  /** Ends the reading. */
  finish(): LogSummary {
    for (const line of this.#mail.finish()) this.#hold(line, worthOf(line));
    this.#endSubject(this.#line + 1);
    this.#release();
    this.#windows.flush();
    this.#assembly.finish();
    for (const line of this.#subjects.unread()) this.#countUnread(line);
    return {
      lines: this.#line,
      isLog: this.#isLog,
      unread: { count: this.#unread, first: this.#firstUnread },
    };
  }

  /** Reads the line [first, end). Most lines of a log are worth nothing, so no string is made of them. */
  #read(bytes: Uint8Array, first: number, end: number): void {
    this.#line++;
    if (this.#readRepeated(bytes, first, end)) return;
    const worth = worthOfBytes(bytes, first, end);
    if (worth === 0 && this.#isIdle() && !endsInEquals(bytes, first, end)) {
      if (!this.#isLog) this.#lookForPrefix(this.#decoder.decode(bytes.subarray(first, end)));
      return;
    }
    // A string of its own: one that is cut from a longer one would keep that in memory.
    const raw = this.#decoder.decode(bytes.subarray(first, end));
    const wasHeader = this.#mail.isOpen;
    const decoded = (worth & LINE.header) !== 0 || wasHeader ? this.#mail.read(raw) : undefined;
    if (wasHeader) this.#endSubject(this.#line);
    if (decoded === undefined) this.#hold(raw, worth);
    else for (const line of decoded) this.#hold(line, worthOf(line));
  }

  /**
   * Reads a line that repeats an earlier one, and whose next line begins with a time, so that it is whole. No string is made of it, nothing in it
   * has to be cleaned, and no pattern is tried. False: the line must go the long way.
   */
  #readRepeated(bytes: Uint8Array, first: number, end: number): boolean {
    if (!this.#isPlain() || !beginsWithTime(bytes, end + 1) || !this.#uptime.read(bytes, first)) return false;
    const { seconds, messageFirst } = this.#uptime;
    const repeated = this.#repeats.readMessage(bytes, messageFirst, end, seconds);
    const known = repeated === undefined ? this.#known.ofBytes(bytes, messageFirst, end) : undefined;
    if (repeated === undefined && known === undefined) return false;
    const lines = [{ file: this.#file, line: this.#line }];
    this.#windows.pass(end - first);
    this.#assembly.at(lines, seconds, "uptime", 0);
    this.#followers = FOLLOWERS;
    this.#isLog = true;
    if (known !== undefined) this.#say(known, { lines, text: known.text, time: seconds, clock: "uptime" });
    else if (repeated !== undefined) {
      repeated.fact.lines.push(...lines);
      this.#assembly.add(repeated.fact, repeated.key);
    }
    return true;
  }

  /** A line with a time stands for itself now: it goes on with no line before it, and is part of no mail's header or encoded text. */
  #isPlain(): boolean {
    return this.#held.length === 0 && !this.#mail.isOpen && !this.#mail.isQuotedPrintable;
  }

  #lookForPrefix(raw: string): void {
    if (splitPrefix(raw).hasPrefix) this.#isLog = true;
  }

  /** @param next - the number of the line after the Subject */
  #endSubject(next: number): void {
    const subject = this.#mail.takeSubject();
    if (subject !== undefined) this.#subjects.note(subject.text, { file: this.#file, line: next - subject.lines });
  }

  #isIdle(): boolean {
    return (
      this.#followers === 0 &&
      this.#held.length === 0 &&
      this.#elapsed.size === 0 &&
      !this.#hunks.isOpen &&
      !this.#mail.isOpen &&
      !this.#windows.isOpen
    );
  }

  /** Puts together what quoted-printable broke. */
  #hold(raw: string, worth: number): void {
    const hasBreak = hasSoftBreak(raw);
    const before = this.#held.at(-1);
    // A line that was cut behind a "=" does not go on; quoted-printable fills its lines.
    if (before !== undefined && before.raw.length < FULL_COLUMNS && splitPrefix(raw).hasPrefix) this.#release();
    const line = { raw, first: this.#line, last: this.#line, worth };
    if (!hasBreak && this.#held.length === 0) {
      this.#split(line);
      return;
    }
    this.#held.push(line);
    if (!hasBreak || this.#held.length === MOST_HELD) this.#release(hasBreak);
  }

  /** @param goesOn - the next line goes on with the last one that is held */
  #release(goesOn = false): void {
    const held = this.#held;
    const [begin, end] = [held[0], held.at(-1)];
    if (begin === undefined || end === undefined) return;
    this.#held = [];
    const raw = unbroken(held.map((line) => line.raw));
    const rest = this.#split({ raw, first: begin.first, last: end.last, worth: worthOf(raw) }, goesOn);
    if (rest !== undefined) this.#held.push({ ...end, raw: rest, first: end.last });
  }

  /**
   * Splits what a page or a terminal shows as several lines.
   * @returns the last of several, when the next line of the input goes on with it
   */
  #split(line: Line, goesOn = false): string | undefined {
    const { raw } = line;
    const lines = raw.includes("\r") || raw.includes("<") ? raw.replace(LAST_BREAK, "").split(INNER_BREAK) : [raw];
    const rest = goesOn && lines.length > 1 ? lines.pop() : undefined;
    if (lines.length === 1) this.#follow({ ...line, raw: lines[0] ?? "" });
    else for (const one of lines) this.#follow({ ...line, raw: one, worth: worthOf(one) });
    return rest;
  }

  /** Gives a line to the windows, unless it has nothing to do with a message. */
  #follow(line: Line, stamp?: Stamp): void {
    const { raw, worth } = line;
    const mayBegin = (worth & LINE.message) !== 0;
    const isDelta = (worth & LINE.delta) !== 0 || this.#elapsed.size > 0;
    const time = stamp ?? (isDelta ? this.#elapsedAt(raw) : undefined);
    if (mayBegin) this.#followers = FOLLOWERS;
    else if (this.#followers > 0) this.#followers--;
    const isHunk = (worth & LINE.hunk) !== 0 || this.#hunks.isOpen;
    if (!mayBegin && this.#followers === 0 && !isHunk) {
      if (this.#windows.isOpen) this.#windows.flush();
      if (!this.#isLog) this.#lookForPrefix(raw);
      return;
    }
    if (raw.length <= PIECE_CHARACTERS) this.#take(line, mayBegin, time);
    else for (const piece of piecesOf(raw)) this.#take({ ...line, raw: piece }, mayBegin, time);
  }

  /** The time of a line of `dmesg --reltime`: the sum of all differences so far. */
  #elapsedAt(raw: string): Stamp | undefined {
    const { text, depth } = cleanLine(raw);
    const delta = DELTA.exec(text)?.[1];
    if (delta === undefined) return undefined;
    const elapsed = Number(((this.#elapsed.get(depth) ?? 0) + Number(delta)).toFixed(6));
    this.#elapsed.set(depth, elapsed);
    // The first line's difference counts from another line, so the sum is no uptime.
    return { time: elapsed, clock: "wall" };
  }

  #take(line: Line, begins: boolean, stamp: Stamp | undefined): void {
    const clean = cleanLine(line.raw, this.#mail.isQuotedPrintable);
    if (this.#hunks.takes(clean.text)) {
      this.#windows.flush();
      return;
    }
    if (clean.depth > 0 && SUBJECT.test(clean.text)) {
      // The header of a mail that was quoted.
      this.#windows.flush();
      this.#subjects.note(clean.text.replace(SUBJECT, ""), { file: this.#file, line: line.first });
      return;
    }
    const prefixed = splitPrefix(clean.text);
    const { raw, first, last } = line;
    if (!holdsPrefix(prefixed.text)) {
      this.#windows.take({ raw, first, last, clean, prefixed, begins, stamp });
      return;
    }
    const messages = splitMessages(clean.text);
    messages.forEach((text, at) => {
      const own = {
        raw: at === messages.length - 1 ? raw : text,
        clean: { text, depth: clean.depth },
        prefixed: splitPrefix(text),
      };
      this.#windows.take({ ...own, first, last, begins, stamp });
    });
  }

  #search(window: Window, from: number, before: number): number {
    const whole = window.place(this.#file, from);
    this.#assembly.at(whole.lines, whole.time, whole.clock, window.depth);
    if (window.hasPrefix) this.#isLog = true;
    if (window.isLine) {
      this.#searchLine(window, whole);
      return whole.text.length;
    }
    const matches = matchesIn(window.text, from).filter(({ first }) => first < before);
    let searched = from;
    for (const { shape, match, first, end } of matches) {
      this.#isLog = true;
      // Shapes that begin with a line match the line feed before it.
      const place = window.place(this.#file, first + match[0].search(/\S/), end, searched);
      const values = new Values(fieldsOf({ shape, match, first, end }, window), shape.fields);
      shape.read(values, { base: { shape: shape.name, ...place } }, this.#assembly);
      searched = end;
    }
    if (matches.length === 0) this.#noteUnread(window, from, before);
    return searched;
  }

  #searchLine(window: Window, place: Place): void {
    const repeated = this.#repeats.read(place);
    if (repeated !== undefined) {
      this.#assembly.add(repeated.fact, repeated.key);
      return;
    }
    const known = this.#known.ofText(place.text);
    if (known !== undefined) this.#say(known, place);
    else this.#learn(window, place);
  }

  /** Reads the messages of a line, and remembers them. */
  #learn(window: Window, place: Place): void {
    const { text } = place;
    const matches = matchesIn(window.text, 0);
    if (matches.length > 0) this.#isLog = true;
    const readings = matches.map((one) => ({
      shape: one.shape,
      values: new Values(fieldsOf(one, window), one.shape.fields),
    }));
    let isSaidOnce = true;
    for (const reading of readings) {
      this.#watched.begin();
      readAt(reading, readings.length > 1 ? copyOf(place) : place, this.#watched);
      isSaidOnce &&= this.#watched.isSaidOnce;
    }
    const line = { text, readings: isSaidOnce ? [] : readings, isUnread: matches.length === 0 && isUnread(text) };
    if (line.isUnread) this.#countUnread(place.lines[0]);
    if (this.#remembers && !this.#learnForm(window, matches, text)) this.#known.learn(window.raw, line);
  }

  #learnForm({ doubts }: Window, matches: readonly Match[], text: string): boolean {
    const [only] = matches;
    if (only === undefined || matches.length > 1 || doubts.length > 0) return false;
    return this.#repeats.learn(text, only, this.#watched);
  }

  #say({ readings, isUnread }: KnownLine, place: Place): void {
    for (const reading of readings) readAt(reading, readings.length > 1 ? copyOf(place) : place, this.#assembly);
    if (isUnread) this.#countUnread(place.lines[0]);
  }

  /** Counts a window that looks like a message of an IOMMU. */
  #noteUnread(window: Window, from: number, before: number): void {
    let first = from;
    for (const text of window.text.slice(from, before).split("\n")) {
      if (isUnread(text)) {
        this.#countUnread(window.place(this.#file, first, first + 1).lines[0]);
        return;
      }
      first += text.length + 1;
    }
  }

  #countUnread(line: LineRef | undefined): void {
    this.#unread++;
    if (line !== undefined && this.#firstUnread.length < MOST_UNREAD_SHOWN) this.#firstUnread.push(line);
  }
}

/** Each of several facts of a line gets an array of lines of its own, to which lines that complete it may be added. */
function copyOf(place: Place): Place {
  return { ...place, lines: place.lines.slice() };
}

/** Reads a message of the line that stands at `place`. */
function readAt({ shape, values }: Reading, { lines, text, time, clock }: Place, sink: Sink): void {
  const base =
    time === undefined || clock === undefined
      ? { shape: shape.name, lines, text }
      : { shape: shape.name, lines, text, time, clock };
  shape.read(values, { base }, sink);
}

/** Quoted-printable may have broken the line. */
function endsInEquals(bytes: Uint8Array, first: number, end: number): boolean {
  const last = bytes[end - 1] === RETURN ? end - 2 : end - 1;
  return last >= first && bytes[last] === EQUALS;
}

/** True if quoted-printable continues this line in the next one. */
function hasSoftBreak(raw: string): boolean {
  const end = raw.charCodeAt(raw.length - 1) === RETURN ? raw.length - 2 : raw.length - 1;
  return raw.charCodeAt(end) === EQUALS && SOFT_BREAK.test(raw);
}

/** Lines that end in "=" as one: quoted-printable broke them, or they were wrapped behind a "=" of their own. */
function unbroken(lines: readonly string[]): string {
  const encoded = lines.map((line) => line.replace(/=\r?$/, "")).join("");
  if (!lines.some((line) => OWN_EQUALS.test(line))) return encoded;
  const wrapped = lines.map((line) => (OWN_EQUALS.test(line) ? `${line.trimEnd()} ` : line.replace(/=\r?$/, "")));
  const whole = wrapped.join("");
  return betterJoin(cleanLine(whole).text, cleanLine(encoded).text, 0) === "cut" ? whole : encoded;
}

/** Pieces of a long line, broken before a time stamp or at a blank where there is one. */
function piecesOf(raw: string): string[] {
  const pieces: string[] = [];
  let first = 0;
  while (raw.length - first > PIECE_CHARACTERS) {
    const piece = raw.slice(first, first + PIECE_CHARACTERS);
    const stamp = piece.search(/(?<=\S\s{0,8})\[\s{0,8}\d{1,9}\.\d{6}\]/);
    const blank = piece.lastIndexOf(" ");
    const length = stamp > 0 ? stamp : blank > 0 ? blank + 1 : PIECE_CHARACTERS;
    pieces.push(raw.slice(first, first + length));
    first += length;
  }
  pieces.push(raw.slice(first));
  return pieces;
}

function isUnread(text: string): boolean {
  const at = text.search(NAMES_IOMMU);
  return at >= 0 && NAMES_FAILURE.test(text.slice(at)) && !HARMLESS.test(text);
}
