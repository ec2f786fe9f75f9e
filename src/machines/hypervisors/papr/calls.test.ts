/** The hypervisor's answers: every personality, every call, every situation, against the documented table of their differences. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import * as papr from "../../../platforms/pseries/papr.ts";
import {
  H_FUNCTION,
  H_GET_TCE,
  H_PARAMETER,
  H_PUT_TCE,
  H_PUT_TCE_INDIRECT,
  H_STUFF_TCE,
  H_SUCCESS,
} from "../../../platforms/pseries/papr.ts";
import { InvalidArgumentError, InvariantError } from "../../../units/errors.ts";
import { PaprHypervisor, type PaprHypervisorOptions } from "./hypervisor.ts";
import { PERSONALITIES, type PersonalityName } from "./personalities.ts";

const MEMORY_BYTES = 2 ** 20;
const ENTRIES = 1024;
const BASE = 0x8000_0000n;
const LIOBN = 0x8000_0000n;
const LIST = 0x4000;

function hypervisorOf(personality: PersonalityName, options: Partial<PaprHypervisorOptions> = {}): PaprHypervisor {
  return PaprHypervisor.create({
    memoryBytes: MEMORY_BYTES,
    personality,
    base: BASE,
    entries: ENTRIES,
    threads: 2,
    ...options,
  });
}

function call(hypervisor: PaprHypervisor, number: number, ...args: readonly bigint[]): number {
  return hypervisor.hypercall(number, BigUint64Array.from([...args, 0n, 0n, 0n, 0n].slice(0, 4)));
}

/** The whole table, as the guest reads it. */
function tces(hypervisor: PaprHypervisor): bigint[] {
  const args = new BigUint64Array(4);
  return Array.from({ length: ENTRIES }, (_, entry) => {
    args[0] = LIOBN;
    args[1] = ioba(entry);
    assert.equal(hypervisor.hypercall(H_GET_TCE, args), H_SUCCESS);
    return args[0];
  });
}

function writeList(hypervisor: PaprHypervisor, list: readonly bigint[], at: number = LIST): void {
  const bytes = new Uint8Array(list.length * 8);
  const view = new DataView(bytes.buffer);
  list.forEach((tce, index) => {
    view.setBigUint64(8 * index, tce);
  });
  hypervisor.memory.write(at, bytes);
}

const ioba = (entry: number): bigint => BASE + BigInt(entry) * 4096n;
const tce = (page: number): bigint => BigInt(page) * 4096n + 3n;
const pages = (count: number): bigint[] => Array.from({ length: count }, (_, i) => tce(i % 256));

/** A call as a row of docs/papr-personalities.md names it. */
interface Row {
  readonly number: number;
  readonly args: readonly bigint[];
  /** What stands at LIST before. */
  readonly list?: readonly bigint[];
}

const list = BigInt(LIST);
const OTHERS = BigInt(MEMORY_BYTES);
const get = (liobn: bigint, at: bigint): Row => ({ number: H_GET_TCE, args: [liobn, at] });
const put = (liobn: bigint, entry: number, value: bigint): Row => ({
  number: H_PUT_TCE,
  args: [liobn, ioba(entry), value],
});
const stuff = (entry: number, value: bigint, count: bigint, liobn = LIOBN): Row => ({
  number: H_STUFF_TCE,
  args: [liobn, ioba(entry), value, count],
});
const indirect = (entry: number, tces: readonly bigint[], at = list, liobn = LIOBN): Row => ({
  number: H_PUT_TCE_INDIRECT,
  args: [liobn, ioba(entry), at, BigInt(tces.length)],
  list: tces,
});

const ROWS: Readonly<Record<string, Row>> = {
  "GET_TCE of an unknown liobn": get(1n, ioba(5)),
  "PUT_TCE, unknown liobn": put(LIOBN + 1n, 5, tce(9)),
  "PUT_TCE, liobn of 33 bits": put(LIOBN + (1n << 32n), 5, tce(9)),
  "PUT_TCE of a misaligned page": put(LIOBN, 5, 0x1803n),
  "PUT_TCE of a page of the hypervisor": put(LIOBN, 5, OTHERS + 3n),
  "PUT_TCE of a page outside of memory": put(LIOBN, 5, (1n << 50n) + 3n),
  "STUFF_TCE of 513": stuff(1, 0x7000n, 513n),
  "STUFF_TCE over the window's end": stuff(1000, 0x7000n, 100n),
  "STUFF_TCE of 0": stuff(0, 0n, 0n),
  "STUFF_TCE with permissions": stuff(0, tce(7), 4n),
  "STUFF_TCE, unknown liobn": stuff(0, 0n, 4n, 7n),
  "PUT_TCE_INDIRECT of 0": indirect(0, []),
  "PUT_TCE_INDIRECT over the window's end": indirect(1020, pages(8)),
  "PUT_TCE_INDIRECT, second of 3 pages misaligned": indirect(0, [tce(1), 0x1803n, tce(3)]),
  "PUT_TCE_INDIRECT, second of 3 pages the hypervisor's": indirect(0, [tce(1), OTHERS + 3n, tce(3)]),
  "PUT_TCE_INDIRECT, unknown liobn": indirect(0, pages(3), list, 0x9000_0000n),

  GET_TCE: get(LIOBN, ioba(5)),
  "GET_TCE below the window": get(LIOBN, BASE - 1n),
  "GET_TCE beyond the window": get(LIOBN, ioba(ENTRIES)),
  PUT_TCE: put(LIOBN, 5, tce(9)),
  "PUT_TCE beyond the window": put(LIOBN, ENTRIES, tce(9)),
  "PUT_TCE of a peer's register": put(LIOBN, 5, (1n << 40n) + 3n),
  "PUT_TCE without permissions": put(LIOBN, 5, 0x5550n),
  "STUFF_TCE of 512": stuff(1, 0x7000n, 512n),
  "STUFF_TCE of more than the table": stuff(0, 0x7000n, 1025n),
  "STUFF_TCE of 2^40": stuff(0, 0x7000n, 1n << 40n),
  "STUFF_TCE of a page of the hypervisor": stuff(0, OTHERS + 1n, 4n),
  "PUT_TCE_INDIRECT of 512": indirect(0, pages(512)),
  "PUT_TCE_INDIRECT of 513": indirect(0, pages(513)),
  "PUT_TCE_INDIRECT, list misaligned": indirect(0, pages(4), list + 8n),
  "PUT_TCE_INDIRECT, list outside of memory": indirect(0, pages(4), 1n << 40n),
  "PUT_TCE_INDIRECT, list in the hypervisor's memory": indirect(0, pages(4), OTHERS),
  "another call": { number: 0x44, args: [] },
};

/** The document's tables: each call's name, with its cells for papr, kvm and qemu. */
function documented(): ReadonlyMap<string, readonly string[]> {
  const text = readFileSync(new URL("../../../../../docs/papr-personalities.md", import.meta.url), "utf8");
  const [, differing = "", agreeing = ""] = text.split(/^## .*$/m);
  // Behind the head and the line under it.
  const rowsOf = (section: string): string[][] =>
    [...section.matchAll(/^\| (.*) \|$/gm)].slice(2).map(([, row = ""]) => row.split(" | "));
  for (const [name, ...cells] of rowsOf(differing)) assert.ok(new Set(cells).size > 1, `${name}: they agree`);
  const all = [
    ...rowsOf(differing),
    ...rowsOf(agreeing).map(([name = "", answer = ""]) => [name, answer, answer, answer]),
  ];
  return new Map(all.map(([name = "", ...cells]) => [name, cells]));
}

const CODES: ReadonlyMap<number, string> = new Map([
  [H_SUCCESS, "SUCCESS"],
  [H_PARAMETER, "PARAMETER"],
  [H_FUNCTION, "FUNCTION"],
]);

/** Makes the call on a fresh hypervisor: the cell that it deserves. */
function answerOf(personality: PersonalityName, { number, args, list: tcesThere = [] }: Row): string {
  const hypervisor = hypervisorOf(personality);
  let exits = 0;
  hypervisor.userSpace = (): number => {
    exits++;
    return H_PARAMETER;
  };
  writeList(hypervisor, tcesThere);
  // Other values before, so that every write shows.
  for (let entry = 0; entry < ENTRIES; entry += 256) call(hypervisor, H_STUFF_TCE, LIOBN, ioba(entry), 0xf000n, 256n);
  const code = call(hypervisor, number, ...args);
  if (exits > 0) assert.equal(code, H_PARAMETER, "user space's answer");
  const changed = tces(hypervisor).filter((value) => value !== 0xf000n).length;
  hypervisor.close();
  const found = exits > 0 ? "TOO_HARD" : (CODES.get(code) ?? `${code}`);
  return changed > 0 ? `${found}, ${changed}` : found;
}

const NAMES = Object.keys(PERSONALITIES) as PersonalityName[];

test("defects 17, 18: every personality answers every call as docs/papr-personalities.md says, and writes no more", () => {
  const rows = documented();
  assert.deepEqual([...rows.keys()], Object.keys(ROWS));
  for (const [name, cells] of rows) {
    assert.deepEqual(
      NAMES.map((personality) => answerOf(personality, ROWS[name] as Row)),
      cells,
      name,
    );
  }
});

test("calls and codes have the specification's numbers", () => {
  assert.deepEqual([H_GET_TCE, H_PUT_TCE, H_STUFF_TCE, H_PUT_TCE_INDIRECT], [0x1c, 0x20, 0x138, 0x13c]);
  const { H_HARDWARE, H_PRIVILEGE, H_RESOURCE, H_NOT_ENOUGH_RESOURCES, H_LONG_BUSY_FIRST, H_TOO_HARD } = papr;
  assert.deepEqual([H_SUCCESS, H_HARDWARE, H_FUNCTION, H_PRIVILEGE, H_PARAMETER], [0, -1, -2, -3, -4]);
  assert.deepEqual([H_RESOURCE, H_NOT_ENOUGH_RESOURCES, H_LONG_BUSY_FIRST, H_TOO_HARD], [-16, -44, 9900, 9999]);
  const waits = [9899, 9900, 9901, 9902, 9903, 9904, 9905, 9906].map(papr.longBusyMilliseconds);
  assert.deepEqual(waits, [0, 1, 10, 100, 1000, 10_000, 100_000, 0]);
});

test("a value without permissions unmaps, is stored as given and read back", () => {
  for (const personality of NAMES) {
    const hypervisor = hypervisorOf(personality);
    hypervisor.memory.write(0x9000, Uint8Array.of(42));
    assert.equal(call(hypervisor, H_PUT_TCE, LIOBN, ioba(5), tce(9)), H_SUCCESS);
    const seen = new Uint8Array(1);
    assert.ok(hypervisor.device(0).dmaRead(ioba(5), seen));
    assert.equal(seen[0], 42);
    assert.equal(call(hypervisor, H_PUT_TCE, LIOBN, ioba(5), 0xabc_d000n), H_SUCCESS);
    assert.equal(tces(hypervisor)[5], 0xabc_d000n);
    assert.ok(!hypervisor.device(0).dmaRead(ioba(5), seen), "the IOTLB has forgotten it");
  }
});

test("an entry that changes from page to page is the new one to the device at once", () => {
  const hypervisor = hypervisorOf("papr");
  const seen = new Uint8Array(1);
  for (const page of [9, 10, 11]) {
    hypervisor.memory.write(page * 4096, Uint8Array.of(page));
    writeList(hypervisor, [tce(page), tce(page)]);
    assert.equal(call(hypervisor, H_PUT_TCE_INDIRECT, LIOBN, ioba(4), list, 2n), H_SUCCESS);
    assert.ok(hypervisor.device(0).dmaRead(ioba(5), seen));
    assert.equal(seen[0], page);
  }
});

test("of a list over entries of which one led somewhere, the device sees the new page there, wherever in the list", () => {
  for (const count of [1, 2, 3, 511, 512]) {
    for (const at of new Set([0, 1, count >> 1, count - 1].filter((index) => index < count))) {
      const hypervisor = hypervisorOf("papr");
      hypervisor.memory.write(9 * 4096, Uint8Array.of(9));
      hypervisor.memory.write(10 * 4096, Uint8Array.of(10));
      call(hypervisor, H_PUT_TCE, LIOBN, ioba(at), tce(9));
      const seen = (): number | undefined => {
        const byte = new Uint8Array(1);
        return hypervisor.device(0).dmaRead(ioba(at), byte) ? byte[0] : undefined;
      };
      assert.equal(seen(), 9);
      writeList(
        hypervisor,
        Array.from({ length: count }, () => tce(10)),
      );
      assert.equal(call(hypervisor, H_PUT_TCE_INDIRECT, LIOBN, ioba(0), list, BigInt(count)), H_SUCCESS);
      assert.equal(seen(), 10, `entry ${at} of ${count}: stale`);
    }
  }
});

test("a device that looks in the middle of a call sees the old page, the new one or none, never halves of both", () => {
  const hypervisor = hypervisorOf("papr");
  const { memory } = hypervisor.machine;
  const [old, next] = [(1n << 40n) + 0x9003n, (2n << 40n) + 0xa003n];
  const seen = new Set<bigint>();
  const { store32, storeWords } = memory;
  const look = () => {
    const bytes = new Uint8Array(8);
    memory.read(hypervisor.handle.setup.defaultTables[0] as number, bytes);
    const found = new DataView(bytes.buffer).getBigUint64(0);
    if ((found & 3n) !== 0n) seen.add(found);
  };
  memory.store32 = (at, value) => {
    store32.call(memory, at, value);
    look();
  };
  memory.storeWords = (at, from, count, last) => {
    // As it is specified: of each pair the word `last` comes after the other.
    for (const word of [1 - last, last])
      for (let i = word; i < count; i += 2) memory.store32(at + 4 * i, from[i] as number);
  };
  for (const value of [old, next, 0n, old, 0xabc_d000n, next]) {
    assert.equal(call(hypervisor, H_PUT_TCE, LIOBN, ioba(0), value), H_SUCCESS);
    writeList(hypervisor, [value === old ? next : old, tce(1)]);
    assert.equal(call(hypervisor, H_PUT_TCE_INDIRECT, LIOBN, ioba(0), list, 2n), H_SUCCESS);
    assert.equal(call(hypervisor, H_STUFF_TCE, LIOBN, ioba(0), 0xf_0000_0000n, 2n), H_SUCCESS);
  }
  Object.assign(memory, { store32, storeWords });
  assert.deepEqual(seen, new Set([old, next]));
});

test("pages of every size are of their own alignment: papr refuses others, qemu stores them without the bits below", () => {
  // A peer's: no memory is as large as some of the pages.
  const page = 2n ** 35n;
  for (const pageShift of [12, 16, 21, 24, 25, 26, 27, 28, 34]) {
    const size = { pageShift, entries: 2, base: 2n ** 34n };
    const at = 2n ** 34n + 2n ** BigInt(pageShift);
    const stored = (hypervisor: PaprHypervisor, value: bigint): readonly [number, bigint] => {
      const code = call(hypervisor, H_PUT_TCE, LIOBN, at, value);
      const args = BigUint64Array.of(LIOBN, at, 0n, 0n);
      assert.equal(hypervisor.hypercall(H_GET_TCE, args), H_SUCCESS);
      return [code, args[0] as bigint];
    };
    for (const below of [2n ** BigInt(pageShift - 1), pageShift > 12 ? 4096n : 4n]) {
      const value = page + below + 3n;
      assert.deepEqual(stored(hypervisorOf("papr", size), value), [H_PARAMETER, 0n], `${pageShift}, ${below}`);
      assert.deepEqual(stored(hypervisorOf("qemu", size), value), [H_SUCCESS, page + 3n], `${pageShift}, ${below}`);
    }
    const hypervisor = hypervisorOf("papr", size);
    assert.deepEqual(stored(hypervisor, page + 3n), [H_SUCCESS, page + 3n]);
    assert.equal(call(hypervisor, H_PUT_TCE, LIOBN, at + 2n ** BigInt(pageShift), page + 3n), H_PARAMETER, "beyond");
  }
});

test("without multi-TCE the calls for many are unknown", () => {
  const hypervisor = hypervisorOf("papr", { multiTce: false });
  assert.equal(hypervisor.properties(0).multiTce, false);
  assert.equal(call(hypervisor, H_STUFF_TCE, LIOBN, ioba(0), 0n, 4n), H_FUNCTION);
  assert.equal(call(hypervisor, H_PUT_TCE_INDIRECT, LIOBN, ioba(0), list, 4n), H_FUNCTION);
  assert.equal(call(hypervisor, H_PUT_TCE, LIOBN, ioba(0), tce(1)), H_SUCCESS);
});

test("every code can be injected, on a schedule, also in the middle of a call", () => {
  const hypervisor = hypervisorOf("kvm");
  writeList(hypervisor, pages(8));
  for (const answer of [-1, -2, -3, -4, -16, -44, 1, 9900, 9901, 9902, 9903, 9904, 9905]) {
    hypervisor.inject([{ call: H_PUT_TCE_INDIRECT, answer, after: 1, interval: 2, times: 1, written: 3 }]);
    const codes = [1, 2, 3, 4, 5].map(() => {
      call(hypervisor, H_STUFF_TCE, LIOBN, ioba(0), 0n, 512n);
      return call(hypervisor, H_PUT_TCE_INDIRECT, LIOBN, ioba(0), list, 8n);
    });
    assert.deepEqual(codes, [0, 0, answer, 0, 0]);
    hypervisor.inject([{ answer, written: 3 }]);
    assert.equal(call(hypervisor, H_PUT_TCE_INDIRECT, LIOBN, ioba(100), list, 8n), answer);
    hypervisor.inject([]);
    assert.equal(
      tces(hypervisor)
        .slice(100, 108)
        .filter((value) => value !== 0n).length,
      3,
    );
  }
  assert.throws(() => hypervisor.inject([{ answer: -1, interval: 0 }]), InvalidArgumentError);
});

test("TOO_HARD goes to user space, which may answer anything but that", () => {
  const hypervisor = hypervisorOf("kvm");
  hypervisor.userSpace = ({ number, args }) => (number === H_PUT_TCE && args[0] === 7n ? H_SUCCESS : 9999);
  assert.equal(call(hypervisor, H_PUT_TCE, 7n, 0n, 0n), H_SUCCESS);
  assert.throws(() => call(hypervisor, H_PUT_TCE, 8n, 0n, 0n), InvariantError);
});

/** A page that a device knows at entry 1; calls that empty it are below. */
function knownPage(personality: PersonalityName): { hypervisor: PaprHypervisor; reaches: () => boolean } {
  const hypervisor = hypervisorOf(personality);
  assert.equal(call(hypervisor, H_PUT_TCE, LIOBN, ioba(1), tce(1)), H_SUCCESS);
  const reaches = () => hypervisor.device(0).dmaRead(ioba(1), new Uint8Array(1));
  assert.ok(reaches(), "the IOTLB knows the page");
  return { hypervisor, reaches };
}

const EMPTYING: readonly Row[] = [
  put(LIOBN, 1, 0n),
  stuff(0, 0n, 512n),
  indirect(0, [0n, 0n]),
  // The first leads somewhere.
  indirect(0, [tce(2), 0n]),
];

test("a DMA that does not end makes a call that empties long-busy; made again, it leaves nothing in the IOTLB", () => {
  for (const personality of NAMES) {
    for (const { number, args, list: tcesThere = [] } of EMPTYING) {
      const { hypervisor, reaches } = knownPage(personality);
      writeList(hypervisor, tcesThere);
      const { translation } = hypervisor.machine;
      const { invalidate } = translation;
      // What a DMA in flight for longer than the machine waits comes down to: the entry is empty, the translation is there.
      translation.invalidate = () => 1;
      assert.equal(call(hypervisor, number, ...args), 9900);
      assert.deepEqual([tces(hypervisor)[1], reaches()], [0n, true]);
      translation.invalidate = invalidate;
      assert.equal(call(hypervisor, number, ...args), H_SUCCESS);
      assert.equal(reaches(), false, `${personality}, call ${number}: a stale translation`);
    }
  }
});

test("a thread that dies in a call between emptying and invalidating leaves nothing in the IOTLB once its entries are emptied again", () => {
  for (const [dies, again] of EMPTYING.flatMap((one) => EMPTYING.map((other) => [one, other] as const))) {
    const { hypervisor, reaches } = knownPage("papr");
    const dying = PaprHypervisor.attach(hypervisor.handle);
    dying.machine.translation.invalidate = () => {
      throw new Error("killed");
    };
    writeList(hypervisor, dies.list ?? []);
    assert.throws(() => call(dying, dies.number, ...dies.args), /killed/);
    assert.deepEqual([tces(hypervisor)[1], reaches()], [0n, true]);
    hypervisor.crew.reclaim(dying.thread, "in-flight");
    writeList(hypervisor, again.list ?? []);
    assert.equal(call(hypervisor, again.number, ...again.args), H_SUCCESS);
    assert.equal(reaches(), false, `call ${dies.number}, then ${again.number}: a stale translation`);
  }
});

test("options and handles that can't be are refused with the numbers", () => {
  assert.throws(() => hypervisorOf("xen" as PersonalityName), /personality is "xen"; expected one of papr, kvm, qemu/);
  assert.throws(
    () => hypervisorOf("papr", { entries: 1000 }),
    /entries of the default window is 1000; expected a power of two/,
  );
  assert.throws(() => hypervisorOf("papr", { pageShift: 13 }), /page shift of a window is 13/);
  assert.throws(() => hypervisorOf("papr", { bootMemoryBytes: 2 * MEMORY_BYTES }), /memory at boot/);
  assert.throws(() => PaprHypervisor.attach({} as never), { name: "FormatError" });
});
