/** The hypervisor's answers: every personality, every call, every situation, against a table written by hand from the specification. */
import assert from "node:assert/strict";
import { test } from "node:test";
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
/** In the tables below: the call went to KVM's user space. */
const TOO_HARD = "too hard";

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

interface Situation {
  readonly name: string;
  readonly number: number;
  readonly args: readonly bigint[];
  readonly list?: readonly bigint[];
  /** papr, kvm, qemu. */
  readonly codes: readonly [number | string, number | string, number | string];
  /** Entries that have changed afterwards. */
  readonly written: readonly [number, number, number];
}

const OK: Situation["codes"] = [H_SUCCESS, H_SUCCESS, H_SUCCESS];
const BAD: Situation["codes"] = [H_PARAMETER, H_PARAMETER, H_PARAMETER];
const NONE: Situation["written"] = [0, 0, 0];
const list = BigInt(LIST);
const badSecond = [tce(1), 0x1803n, tce(3)];

const SITUATIONS: readonly Situation[] = [
  { name: "get", number: H_GET_TCE, args: [LIOBN, ioba(5)], codes: OK, written: NONE },
  {
    name: "get, unknown liobn",
    number: H_GET_TCE,
    args: [1n, ioba(5)],
    codes: [H_PARAMETER, TOO_HARD, H_PARAMETER],
    written: NONE,
  },
  { name: "get, below", number: H_GET_TCE, args: [LIOBN, BASE - 1n], codes: BAD, written: NONE },
  { name: "get, beyond", number: H_GET_TCE, args: [LIOBN, ioba(ENTRIES)], codes: BAD, written: NONE },
  { name: "put", number: H_PUT_TCE, args: [LIOBN, ioba(5), tce(9)], codes: OK, written: [1, 1, 1] },
  {
    name: "put, unknown liobn",
    number: H_PUT_TCE,
    args: [LIOBN + 1n, ioba(5), tce(9)],
    codes: [H_PARAMETER, TOO_HARD, H_PARAMETER],
    written: NONE,
  },
  {
    name: "put, liobn of 33 bits",
    number: H_PUT_TCE,
    args: [LIOBN + (1n << 32n), ioba(5), tce(9)],
    codes: [H_PARAMETER, TOO_HARD, H_PARAMETER],
    written: NONE,
  },
  { name: "put, beyond", number: H_PUT_TCE, args: [LIOBN, ioba(ENTRIES), tce(9)], codes: BAD, written: NONE },
  {
    name: "put, misaligned page",
    number: H_PUT_TCE,
    args: [LIOBN, ioba(5), 0x1803n],
    codes: [H_PARAMETER, TOO_HARD, H_SUCCESS],
    written: [0, 0, 1],
  },
  {
    name: "put, page of the hypervisor",
    number: H_PUT_TCE,
    args: [LIOBN, ioba(5), BigInt(MEMORY_BYTES) + 3n],
    codes: [H_PARAMETER, TOO_HARD, H_PARAMETER],
    written: NONE,
  },
  {
    name: "put, page of nobody",
    number: H_PUT_TCE,
    args: [LIOBN, ioba(5), (1n << 50n) + 3n],
    codes: [H_PARAMETER, TOO_HARD, H_SUCCESS],
    written: [0, 0, 1],
  },
  {
    name: "put, register of a peer",
    number: H_PUT_TCE,
    args: [LIOBN, ioba(5), (1n << 40n) + 3n],
    codes: OK,
    written: [1, 1, 1],
  },
  { name: "put, no permissions", number: H_PUT_TCE, args: [LIOBN, ioba(5), 0x5550n], codes: OK, written: [1, 1, 1] },
  {
    name: "stuff 512",
    number: H_STUFF_TCE,
    args: [LIOBN, ioba(1), 0x7000n, 512n],
    codes: OK,
    written: [512, 512, 512],
  },
  {
    name: "stuff 513 (defect 17)",
    number: H_STUFF_TCE,
    args: [LIOBN, ioba(1), 0x7000n, 513n],
    codes: [H_PARAMETER, H_SUCCESS, H_SUCCESS],
    written: [0, 513, 513],
  },
  {
    name: "stuff more than the table",
    number: H_STUFF_TCE,
    args: [LIOBN, ioba(0), 0x7000n, 1025n],
    codes: BAD,
    written: NONE,
  },
  {
    name: "stuff, end beyond (defect 18)",
    number: H_STUFF_TCE,
    args: [LIOBN, ioba(1000), 0x7000n, 100n],
    codes: BAD,
    written: [0, 0, 24],
  },
  {
    name: "stuff, huge count",
    number: H_STUFF_TCE,
    args: [LIOBN, ioba(0), 0x7000n, 1n << 40n],
    codes: BAD,
    written: NONE,
  },
  {
    name: "stuff 0",
    number: H_STUFF_TCE,
    args: [LIOBN, ioba(0), 0n, 0n],
    codes: [H_SUCCESS, H_SUCCESS, H_PARAMETER],
    written: NONE,
  },
  {
    name: "stuff with permissions",
    number: H_STUFF_TCE,
    args: [LIOBN, ioba(0), tce(7), 4n],
    codes: [H_PARAMETER, H_PARAMETER, H_SUCCESS],
    written: [0, 0, 4],
  },
  {
    name: "stuff page of the hypervisor",
    number: H_STUFF_TCE,
    args: [LIOBN, ioba(0), BigInt(MEMORY_BYTES) + 1n, 4n],
    codes: BAD,
    written: NONE,
  },
  {
    name: "stuff, unknown liobn",
    number: H_STUFF_TCE,
    args: [7n, ioba(0), 0n, 4n],
    codes: [H_PARAMETER, TOO_HARD, H_PARAMETER],
    written: NONE,
  },
  {
    name: "indirect 512",
    number: H_PUT_TCE_INDIRECT,
    args: [LIOBN, ioba(0), list, 512n],
    list: pages(512),
    codes: OK,
    written: [512, 512, 512],
  },
  {
    name: "indirect 513",
    number: H_PUT_TCE_INDIRECT,
    args: [LIOBN, ioba(0), list, 513n],
    list: pages(513),
    codes: BAD,
    written: NONE,
  },
  {
    name: "indirect, misaligned list",
    number: H_PUT_TCE_INDIRECT,
    args: [LIOBN, ioba(0), list + 8n, 4n],
    list: pages(8),
    codes: BAD,
    written: NONE,
  },
  {
    name: "indirect, list outside of memory",
    number: H_PUT_TCE_INDIRECT,
    args: [LIOBN, ioba(0), BigInt(MEMORY_BYTES), 4n],
    codes: BAD,
    written: NONE,
  },
  {
    name: "indirect 0",
    number: H_PUT_TCE_INDIRECT,
    args: [LIOBN, ioba(0), list, 0n],
    codes: [H_SUCCESS, H_SUCCESS, H_PARAMETER],
    written: NONE,
  },
  {
    name: "indirect, end beyond (defect 18)",
    number: H_PUT_TCE_INDIRECT,
    args: [LIOBN, ioba(1020), list, 8n],
    list: pages(8),
    codes: BAD,
    written: [0, 0, 4],
  },
  {
    name: "indirect, bad second page",
    number: H_PUT_TCE_INDIRECT,
    args: [LIOBN, ioba(0), list, 3n],
    list: badSecond,
    codes: [H_PARAMETER, TOO_HARD, H_SUCCESS],
    written: [0, 0, 3],
  },
  {
    name: "indirect, second of the hypervisor",
    number: H_PUT_TCE_INDIRECT,
    args: [LIOBN, ioba(0), list, 3n],
    list: [tce(1), BigInt(MEMORY_BYTES) + 3n, tce(3)],
    codes: [H_PARAMETER, TOO_HARD, H_PARAMETER],
    written: [0, 0, 1],
  },
  {
    name: "indirect, unknown liobn",
    number: H_PUT_TCE_INDIRECT,
    args: [0x9000_0000n, ioba(0), list, 3n],
    list: pages(3),
    codes: [H_PARAMETER, TOO_HARD, H_PARAMETER],
    written: NONE,
  },
  { name: "another call", number: 0x44, args: [], codes: [H_FUNCTION, H_FUNCTION, H_FUNCTION], written: NONE },
];

const NAMES = Object.keys(PERSONALITIES) as PersonalityName[];

test("every personality answers every call in every situation as its table says, and writes no more", (t) => {
  t.diagnostic(`${"".padEnd(36)}${NAMES.map((name) => name.padEnd(14)).join("")}`);
  for (const { name, number, args, list: entries = [], codes, written } of SITUATIONS) {
    const cells = NAMES.map((personality, index) => {
      const hypervisor = hypervisorOf(personality);
      let exits = 0;
      hypervisor.userSpace = (): number => {
        exits++;
        return H_PARAMETER;
      };
      writeList(hypervisor, entries);
      // Other values before, so that every write shows.
      for (let entry = 0; entry < ENTRIES; entry += 256)
        call(hypervisor, H_STUFF_TCE, LIOBN, ioba(entry), 0xf000n, 256n);
      const code = call(hypervisor, number, ...args);
      const found = exits > 0 ? TOO_HARD : code;
      assert.equal(found, codes[index], `${personality}: ${name}`);
      if (exits > 0) assert.equal(code, H_PARAMETER, "user space's answer");
      const changed = tces(hypervisor).filter((value) => value !== 0xf000n).length;
      assert.equal(changed, written[index], `${personality}: ${name}: entries written`);
      hypervisor.close();
      return `${found}${changed > 0 ? ` (${changed})` : ""}`.padEnd(14);
    });
    t.diagnostic(`${name.padEnd(36)}${cells.join("")}`);
  }
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

test("larger pages are of their own alignment", () => {
  const hypervisor = hypervisorOf("papr", { pageShift: 16, entries: 16 });
  assert.equal(call(hypervisor, H_PUT_TCE, LIOBN, BASE + 0x10000n, 0x20003n), H_SUCCESS);
  assert.equal(call(hypervisor, H_PUT_TCE, LIOBN, BASE + 0x10000n, 0x21003n), H_PARAMETER);
  assert.equal(call(hypervisor, H_PUT_TCE, LIOBN, BASE + 0x100000n, 0x20003n), H_PARAMETER);
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

test("a DMA that does not end makes the call long-busy: the entry is empty, and the call can be made again", () => {
  const hypervisor = hypervisorOf("papr");
  call(hypervisor, H_PUT_TCE, LIOBN, ioba(1), tce(1));
  // What a DMA in flight for longer than the machine waits comes down to.
  const { translation } = hypervisor.machine;
  const invalidate = translation.invalidate.bind(translation);
  translation.invalidate = () => 1;
  assert.equal(call(hypervisor, H_PUT_TCE, LIOBN, ioba(1), 0n), 9900);
  translation.invalidate = invalidate;
  assert.equal(call(hypervisor, H_PUT_TCE, LIOBN, ioba(1), 0n), H_SUCCESS);
});

test("options and handles that can't be are refused with the numbers", () => {
  assert.throws(() => hypervisorOf("xen" as PersonalityName), /personality is xen; expected one of papr, kvm, qemu/);
  assert.throws(
    () => hypervisorOf("papr", { entries: 1000 }),
    /entries of the default window is 1000; expected a power of two/,
  );
  assert.throws(() => hypervisorOf("papr", { pageShift: 13 }), /page shift of a window is 13/);
  assert.throws(() => hypervisorOf("papr", { bootMemoryBytes: 2 * MEMORY_BYTES }), /memory at boot/);
  assert.throws(() => PaprHypervisor.attach({} as never), { name: "FormatError" });
});
