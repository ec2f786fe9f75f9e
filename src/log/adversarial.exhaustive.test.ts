/**
 * No input is slow to read: the time of a text grows with its length. Times are of the processor, the best of several, and only those count that are
 * far beyond what the clock and other programs can cause.
 */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type Attack, MESSAGES, RUNS } from "./adversarial.model.ts";
import { factsOf } from "./facts-of.model.ts";
import { matchesIn } from "./matches.ts";

const MOST_MILLISECONDS_PER_KIB = 50;
/** Shorter times are not compared: they may be the clock's resolution. */
const LEAST_MILLISECONDS = 10;
/** Twice the length may take this much longer. */
const MOST_GROWTH = 3;
const TRIES = 3;
function millisecondsOf(work: () => void, tries = 1): number {
  let least = Number.POSITIVE_INFINITY;
  for (let left = tries; left > 0; left--) {
    const begin = process.cpuUsage();
    work();
    least = Math.min(least, process.cpuUsage(begin).user / 1000);
  }
  return least;
}

/** The objection to the time of an attack; undefined: it is in proportion. */
function objection({ name, text }: Attack, read: (text: string) => void, length: number): string | undefined {
  const whole = text(length);
  if (millisecondsOf(() => read(whole)) < LEAST_MILLISECONDS) return undefined;
  const half = text(length / 2);
  const longer = millisecondsOf(() => read(whole), TRIES);
  const shorter = millisecondsOf(() => read(half), TRIES);
  if (longer > (MOST_MILLISECONDS_PER_KIB * length) / 1024) return `${name}: ${longer} ms for ${length} characters`;
  if (longer < LEAST_MILLISECONDS || longer <= MOST_GROWTH * shorter) return undefined;
  // Once more: a collection of garbage in all of a few tries is rare, growth is not.
  const longest = millisecondsOf(() => read(text(2 * length)), TRIES);
  if (longest <= MOST_GROWTH * longer) return undefined;
  return `${name}: ${shorter} ms for ${length / 2} characters, ${longer} ms for ${length}`;
}

function objections(attacks: readonly Attack[], read: (text: string) => void, length: number): string[] {
  return attacks.map((one) => objection(one, read, length)).filter((one) => one !== undefined);
}

describe("the time of a text grows with its length", () => {
  test("patterns of messages, on messages with a piece repeated", () => {
    assert.deepEqual(
      objections(MESSAGES, (text) => matchesIn(text, 0), 4096),
      [],
    );
  });

  test("patterns of messages, on long runs", () => {
    assert.deepEqual(
      objections(RUNS, (text) => matchesIn(text, 0), 4096),
      [],
    );
  });

  test("prefixes, markup, mails and windows, on long runs in one line", () => {
    const message = "[    1.000000] DMAR: DRHD: handling fault status reg 2 ";
    const mail = "Content-Transfer-Encoding: quoted-printable\n\n";
    for (const before of ["", message, `> ${message}`, `${mail}${message}`]) {
      const attacks = RUNS.map(({ name, text }) => ({
        name: `${before}${name}`,
        text: (n: number) => before + text(n),
      }));
      assert.deepEqual(objections(attacks, factsOf, 32_768), []);
    }
  });

  test("prefixes, markup, mails and windows, on many lines of one run", () => {
    const lines = RUNS.map(({ name, text }) => {
      const line = `DMAR: fault ${text(150).replaceAll("\n", " ")}\n`;
      return { name, text: (n: number) => line.repeat(Math.ceil(n / line.length)) };
    });
    assert.deepEqual(objections(lines, factsOf, 32_768), []);
  });
});
