/**
 * Writes kernel logs at random whose truth is known: messages of every shape, behind the prefix of a log daemon, damaged as mail programs, terminals
 * and web pages damage them. A seed gives the same log again.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { LINE, worthOf } from "./candidates.ts";
import type { Fact } from "./facts.ts";
import { factsOf } from "./facts-of.model.ts";
import { DAMAGES, type Damage, type Line } from "./generator/damages.model.ts";
import { PREFIXES, type Printed } from "./generator/prefixes.model.ts";
import { generator, pick, type Random } from "./generator/random.model.ts";
import { type Event, eventOf, type Kind, type Planted, VARIED } from "./generator/varied.model.ts";
import { WRITTEN } from "./generator/written.model.ts";

/** Messages with varied codes come more often: they are what most reports are about. */
const KINDS: readonly Kind[] = [...VARIED, ...Array.from({ length: 6 }, () => WRITTEN).flat()];

/** One printing of a message. */
export interface GeneratedMessage {
  readonly kind: string;
  readonly facts: readonly Fact[];
  readonly planted: readonly Planted[];
  /** True if the message is still readable: its beginning must be recognisable. */
  isReadable: boolean;
  /** The contents of the prefix of each of its lines. */
  readonly printed: readonly Printed[];
}

export interface GeneratedLog {
  readonly text: string;
  /** The same without any damage. */
  readonly plain: string;
  readonly messages: readonly GeneratedMessage[];
  readonly lines: readonly Line[];
  /** All messages are readable, and none goes on with another. */
  readonly isWhole: boolean;
  /** Times of wrapped messages: a line that holds nothing but a prefix and the speaker's name is no part of the message that follows. */
  readonly hasTimes: boolean;
  /** Kinds, prefix and damages, for the message of a test. */
  readonly how: string;
}

/** Lines of other programs. */
const NOISE = [
  "usb 1-1: new high-speed USB device number 2 using xhci_hcd",
  "EXT4-fs (sda1): mounted filesystem with ordered data mode. Opts: (null)",
  "random: crng init done",
  "ACPI: Power Button [PWRF]",
  "input: AT Translated Set 2 keyboard as /devices/platform/i8042/serio0/input/input0",
  'audit: type=1400 audit(1596012345.123:4): apparmor="STATUS" operation="profile_load" profile="unconfined"',
  "Bluetooth: hci0: Firmware revision 0.1 build 50 week 12 2019",
] as const;

/** Prefixes that are not found again in the middle of a line: the mark of an item, and a difference that would have to be added. */
const UNJOINED: ReadonlySet<string> = new Set(["item of a list", "dmesg --reltime"]);

/** Families whose messages complete each other: a log has messages of one of them. */
const TOGETHER = [
  ["xen", "intel", "amd", "qemu"],
  ["vfio", "dpdk", "driver-refusals"],
];
const groupOf = ({ family }: Kind): string => TOGETHER.find((group) => group.includes(family))?.[0] ?? family;

/** Kinds of different families. */
function kinds(random: Random): Kind[] {
  const chosen: Kind[] = [];
  for (let left = 1 + random(4); left > 0; left--) {
    const one = pick(KINDS, random);
    if (!chosen.some((kind) => groupOf(kind) === groupOf(one))) chosen.push(one);
  }
  return chosen;
}

/** Up to three damages that can happen to one text, in the order in which they happen. */
function damages(random: Random): Damage[] {
  const chosen: Damage[] = [];
  for (let left = random(4); left > 0; left--) {
    const one = pick(DAMAGES, random);
    if (!chosen.some(({ group }) => group === one.group)) chosen.push(one);
  }
  return DAMAGES.filter((one) => chosen.includes(one));
}

export function generatedLog(seed: number): GeneratedLog {
  const random = generator(seed);
  const chosen = kinds(random);
  const prefixKind = pick(PREFIXES, random);
  const prefix = prefixKind.begin();
  const isNoisy = random(2) === 0;
  const messages: GeneratedMessage[] = [];
  let lines: Line[] = [];
  let seconds = 100 + random(9000) + random(1000) / 1000;
  const print = (text: string, message?: number): Printed => {
    seconds += (1 + random(1000)) / 1e5;
    const before = prefix(seconds);
    lines.push({ prefix: before.text, text, messages: message === undefined ? [] : [message] });
    return before;
  };
  for (const [number, kind] of chosen.entries()) {
    const event = eventOf(number + 1, random);
    for (let at = 0, count = 1 + random(3); at < count; at++) {
      const message = printed(kind, { ...event, iova: event.iova + BigInt(at) * 0x1000n });
      if (at > 0 && !message.planted.some(({ property }) => property === "iova")) break;
      const times: Printed[] = [];
      for (const text of message.lines) {
        // Lines of lspci stand together.
        if (isNoisy && !kind.name.includes("lspci") && random(3) === 0) print(pick(NOISE, random));
        times.push(print(text, messages.length));
      }
      messages.push({
        kind: kind.name,
        facts: message.facts,
        planted: message.planted,
        isReadable: true,
        printed: times,
      });
    }
    seconds += 3 + random(100);
  }
  const plain = textOf(lines);
  const chosenDamages = damages(random);
  const isSpilled = chosenDamages.some(({ name }) => name.includes("without marks"));
  const isJoined = random(5) === 0 && lines.length > 1 && !isSpilled && !UNJOINED.has(prefixKind.name);
  const isBroken = chosenDamages.some(({ group }) => group === "broken");
  if (isJoined) lines = runTogether(lines, messages, isBroken, random);
  for (const damage of chosenDamages) lines = damage.apply(lines, random);
  if (isBroken)
    for (const [number, message] of messages.entries()) if (isHidden(lines, number)) message.isReadable = false;
  const names = [
    ...chosen.map(({ name }) => name),
    `prefix ${prefixKind.name}`,
    ...(isJoined ? ["run together"] : []),
    ...chosenDamages.map(({ name }) => name),
  ];
  return {
    text: textOf(lines),
    plain,
    messages,
    lines,
    isWhole: messages.every(({ isReadable }) => isReadable) && !isJoined,
    hasTimes: !isBroken,
    how: `${names.join("; ")}${isNoisy ? "; noise" : ""}`,
  };
}

/** One printing of a message: what its lines say, read alone and whole. */
function printed(kind: Kind, event: Event): { lines: readonly string[]; planted: readonly Planted[]; facts: Fact[] } {
  const { lines, planted } = kind.print(event);
  const facts = factsOf(lines.join("\n"));
  // The index of an interrupt and the address of a command are no IO addresses.
  const hasAddress = facts.some((fact) => fact.kind !== "interrupt" && fact.kind !== "invalidation-timeout");
  return { lines, planted: planted.filter(({ property }) => hasAddress || property !== "iova"), facts };
}

/**
 * A message whose line was broken before the first word that tells it from lines of other programs: nothing is sought in such a line.
 */
function isHidden(lines: readonly Line[], number: number): boolean {
  const first = lines.find(({ messages }) => messages.includes(number));
  return first !== undefined && (worthOf(first.prefix + first.text) & LINE.message) === 0;
}

const textOf = (lines: readonly Line[]): string => `${lines.map((line) => line.prefix + line.text).join("\n")}\n`;

/**
 * Joins two lines; the second may keep its prefix.
 * @param isBroken - the lines will be broken, and with them the prefix that shows where the second begins
 */
function runTogether(
  lines: readonly Line[],
  messages: readonly GeneratedMessage[],
  isBroken: boolean,
  random: Random,
): Line[] {
  const at = random(lines.length - 1);
  const [first, second] = [lines[at] as Line, lines[at + 1] as Line];
  const keepsPrefix = second.prefix.trim() !== "" && random(2) === 0;
  const text = `${first.text.trimEnd()}${pick([" ", "> "], random)}${keepsPrefix ? second.prefix : ""}${second.text}`;
  const joined = { prefix: first.prefix, text, messages: [...first.messages, ...second.messages] };
  for (const number of keepsPrefix && !isBroken ? [] : joined.messages) {
    const message = messages[number] as GeneratedMessage;
    // The end of a line that says something of the machine is no longer known.
    if (isBroken || second.messages.includes(number) || message.facts.every(({ kind }) => kind === "host"))
      message.isReadable = false;
  }
  return [...lines.slice(0, at), joined, ...lines.slice(at + 2)];
}

/** Errors in the reading of `count` logs, each with its seed and its text. */
function objectionsToLogs(seed: number, count: number): string[] {
  return Array.from({ length: count }, (_, at) => seed + at).flatMap((one) => {
    const log = generatedLog(one);
    const wrong = objectionsTo(log);
    return wrong.length === 0 ? [] : [`seed ${one} (${log.how}): ${wrong.join("; ")}\n${log.text}`];
  });
}

/** Errors in the facts that are read of a log; empty when all are right. */
function objectionsTo({ text, messages, lines, hasTimes }: GeneratedLog): string[] {
  const left = factsOf(text);
  const wrong: string[] = [];
  for (const [number, message] of messages.entries()) {
    for (const { property, value } of message.planted) {
      if (
        message.facts.length > 0 &&
        !message.facts.some((fact) => (fact as unknown as Record<string, unknown>)[property] === value)
      )
        wrong.push(`${message.kind} does not say ${property} ${value}`);
    }
    for (const fact of message.facts) {
      const at = left.findIndex((found) => isSame(comparable(found), comparable(fact)));
      if (at < 0) {
        if (message.isReadable && (hasTimes || !MAY_BREAK.has(fact.kind))) wrong.push(`missing ${show(fact)}`);
        continue;
      }
      const [found] = left.splice(at, 1) as [Fact];
      const strange = found.lines.filter(({ line }) => lines[line - 1]?.messages.includes(number) !== true);
      if (strange.length > 0) wrong.push(`${found.shape} is said to stand in line ${strange[0]?.line}`);
      const times = !message.isReadable || (!hasTimes && found.time === undefined) ? [found] : message.printed;
      if (!times.some(({ time, clock }) => found.time === time && found.clock === clock))
        wrong.push(`${found.shape} has the time ${found.time} (${found.clock}), not ${times[0]?.time}`);
    }
  }
  const wanted = messages.flatMap(({ facts }) => facts);
  const isOfUnreadable = ({ lines: [first] }: Fact): boolean =>
    lines[(first?.line ?? 0) - 1]?.messages.some((number) => messages[number]?.isReadable === false) === true;
  const isKnown = (found: Fact): boolean =>
    isOfUnreadable(found) ||
    (found.kind === "host" && wanted.some((fact) => isSame(comparable(found), comparable(fact))));
  // A quoted copy that was broken elsewhere may say the same of the machine again.
  return [...wrong, ...left.filter((fact) => !isKnown(fact)).map((fact) => `finds ${show(fact)}`)];
}

/** Texts of several words may end where the line was broken, or go on with what was run together with them. */
function isSame(found: unknown, wanted: unknown): boolean {
  if (typeof found === "string" && typeof wanted === "string") {
    const [shown, whole] = [found, wanted].map((text) => text.replace(/\s+/g, ""));
    const isPart = whole?.startsWith(shown ?? "") === true || shown?.startsWith(whole ?? "") === true;
    return shown === whole || (wanted.includes(" ") && found !== "" && isPart);
  }
  if (typeof found !== "object" || typeof wanted !== "object" || found === null || wanted === null)
    return found === wanted;
  const keys = Object.keys(wanted);
  if (keys.length !== Object.keys(found).length) return false;
  return keys.every((key) => isSame(found[key as keyof typeof found], wanted[key as keyof typeof wanted]));
}

/**
 * The word that makes a line worth reading may stand at the end of such a message: it is lost when the line is broken before that. The lines of the
 * log around a fault, not the fault.
 */
const MAY_BREAK: ReadonlySet<Fact["kind"]> = new Set(["event", "host"]);

/** A fact without its place in the text. */
function comparable(fact: Fact): object {
  const { lines: _lines, text: _text, time: _time, clock: _clock, ...rest } = fact;
  return rest;
}

const show = (fact: Fact): string =>
  JSON.stringify(comparable(fact), (_, value: unknown) =>
    typeof value === "bigint" ? `0x${value.toString(16)}` : value,
  );

/** The test of a run of `logs` logs. SEED and IOVA_LOGS, when they are set, say another run. */
export function testLogs(usual: { readonly seed: number; readonly logs: number }): void {
  const { SEED, IOVA_LOGS } = process.env;
  const { seed, logs } = SEED === undefined ? usual : { seed: Number(SEED), logs: Number(IOVA_LOGS ?? usual.logs) };
  test(`${logs} generated logs are read as they were meant, seed ${seed}`, () => {
    const wrong = objectionsToLogs(seed, logs);
    const first = wrong.slice(0, 3).join("\n");
    assert.equal(wrong.length, 0, `${wrong.length} logs; SEED=… IOVA_LOGS=1 repeats one:\n${first}`);
  });
}
