/**
 * Random calls of containers against plain models: 100,000 each, good and bad arguments; answers, mappings, pins and charges must be equal, and at the
 * end nothing may be left.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { type Errno, isErrno } from "../units/errno.ts";
import { IoAddressSpace } from "./iommufd.ts";
import {
  ABSENT,
  deviceReads,
  numberPages,
  PAGE,
  type Scene,
  sceneOf,
  USER_BASE,
  USER_PAGE_COUNT,
  userAddress,
  WINDOW,
} from "./set-up.model.ts";
import { Type1Container } from "./type1.ts";

const seed = Date.now() & 0x7fffffff;
const ENTRIES = 40;
const CALLS = 200;
const RUNS = 500;
const LIMIT_PAGES = 60;
const LIMIT_MAPPINGS = 9;
/** Entry 13 of the window is reserved. */
const HOLE = 13;
const reserved = [{ first: WINDOW.base + BigInt(HOLE) * PAGE, last: WINDOW.base + BigInt(HOLE + 1) * PAGE - 1n }];

/** A mapping of the models: entries of the window, the first page of the process, and which memory keeps it pinned. */
interface Mapping {
  readonly entry: number;
  readonly pages: number;
  readonly page: number;
  readonly access: number;
  readonly memory: { readonly pages: number; uses: number };
}

/** Common part of both models: mappings in a plain list. Entries and pages may be negative or beyond the end, as in the calls. */
class PlainSpace {
  mappings: Mapping[] = [];
  charged = 0;

  overlapping(entry: number, pages: number): Mapping[] {
    return this.mappings.filter((one) => one.entry < entry + pages && entry < one.entry + one.pages);
  }
  isAllowed(entry: number, pages: number): boolean {
    return entry >= 0 && entry + pages <= WINDOW.entries && (entry + pages <= HOLE || entry > HOLE);
  }
  pin(page: number, pages: number): Errno | { pages: number; uses: number } {
    if (this.charged + pages > LIMIT_PAGES) return "ENOMEM";
    for (let one = page; one < page + pages; one++) {
      if (one < 0 || one >= USER_PAGE_COUNT || ABSENT.has(USER_BASE + one)) return "EFAULT";
    }
    this.charged += pages;
    return { pages, uses: 1 };
  }
  drop(mapping: Mapping): number {
    this.mappings = this.mappings.filter((one) => one !== mapping);
    mapping.memory.uses--;
    if (mapping.memory.uses === 0) this.charged -= mapping.memory.pages;
    return mapping.pages;
  }
  dropEach(mappings: readonly Mapping[]): bigint {
    return mappings.reduce((sum, one) => sum + BigInt(this.drop(one)) * PAGE, 0n);
  }
}

class PlainType1 extends PlainSpace {
  readonly #splits: boolean;
  constructor(version: 1 | 2) {
    super();
    this.#splits = version === 1;
  }

  map(entry: number, page: number, pages: number, access: number): Errno | undefined {
    if (pages <= 0 || access === 0) return "EINVAL";
    if (this.overlapping(entry, pages).length > 0) return "EEXIST";
    if (this.mappings.length >= LIMIT_MAPPINGS) return "ENOSPC";
    if (!this.isAllowed(entry, pages)) return "EINVAL";
    const memory = this.pin(page, pages);
    if (typeof memory === "string") return memory;
    this.mappings.push({ entry, pages, page, access, memory });
    return undefined;
  }

  unmap(entry: number, pages: number): bigint | Errno {
    if (pages <= 0) return "EINVAL";
    const cut = [entry, entry + pages].flatMap((edge) =>
      this.mappings.filter((one) => one.entry < edge && edge < one.entry + one.pages).map((one) => ({ one, edge })),
    );
    if (cut.length > 0 && !this.#splits) return "EINVAL";
    for (const edge of [entry, entry + pages]) this.#split(edge);
    return this.dropEach(this.overlapping(entry, pages));
  }

  #split(edge: number): void {
    for (const one of this.overlapping(edge, 1)) {
      if (one.entry === edge) continue;
      const before = edge - one.entry;
      one.memory.uses++;
      this.mappings = this.mappings.filter((other) => other !== one);
      this.mappings.push(
        { ...one, pages: before },
        { ...one, entry: edge, page: one.page + before, pages: one.pages - before },
      );
    }
  }
}

class PlainIoas extends PlainSpace {
  map(entry: number | undefined, page: number, pages: number, access: number): number | Errno {
    const placed = this.#placed(entry, pages, access);
    if (typeof placed === "string") return placed;
    const memory = this.pin(page, pages);
    if (typeof memory === "string") return memory;
    this.mappings.push({ entry: placed, pages, page, access, memory });
    return placed;
  }

  copy(entry: number | undefined, source: number, pages: number, access: number): number | Errno {
    if (pages <= 0) return "EINVAL";
    const found = this.mappings.find((one) => one.entry <= source && source + pages <= one.entry + one.pages);
    if (found === undefined) return "ENOENT";
    const placed = this.#placed(entry, pages, access);
    if (typeof placed === "string") return placed;
    if ((access & ~found.access) !== 0) return "EPERM";
    found.memory.uses++;
    this.mappings.push({ entry: placed, pages, page: found.page + source - found.entry, access, memory: found.memory });
    return placed;
  }

  unmap(entry: number, pages: number): bigint | Errno {
    if (pages <= 0) return "EINVAL";
    const found = this.overlapping(entry, pages);
    const isWhole = found.every((one) => one.entry >= entry && one.entry + one.pages <= entry + pages);
    return found.length > 0 && isWhole ? this.dropEach(found) : "ENOENT";
  }

  #placed(entry: number | undefined, pages: number, access: number): number | Errno {
    if (pages <= 0 || access === 0) return "EINVAL";
    if (entry !== undefined) {
      if (!this.isAllowed(entry, pages)) return "EINVAL";
      return this.overlapping(entry, pages).length > 0 ? "EEXIST" : entry;
    }
    for (let from = 0; from + pages <= WINDOW.entries; from++) {
      if (this.isAllowed(from, pages) && this.overlapping(from, pages).length === 0) return from;
    }
    return "ENOSPC";
  }
}

interface Call {
  readonly what: number;
  readonly entry: number;
  readonly page: number;
  readonly pages: number;
  readonly access: 0 | 1 | 2 | 3;
  readonly source: number;
  readonly isChosen: boolean;
}

const call: fc.Arbitrary<Call> = fc.record({
  what: fc.nat(9),
  entry: fc.integer({ min: -2, max: ENTRIES }),
  page: fc.oneof({ arbitrary: fc.nat(90), weight: 9 }, { arbitrary: fc.integer({ min: -3, max: 1030 }), weight: 1 }),
  pages: fc.oneof({ arbitrary: fc.integer({ min: 1, max: 9 }), weight: 15 }, fc.constantFrom(0, 61, 520)),
  access: fc.constantFrom(3, 1, 2, 3, 1, 2, 3, 0),
  source: fc.integer({ min: -1, max: ENTRIES }),
  isChosen: fc.boolean(),
});
const runs = fc.array(call, { minLength: CALLS, maxLength: CALLS });

const iovaOf = (entry: number): bigint => WINDOW.base + BigInt(entry) * PAGE;
const rangeOf = (entry: number, pages: number) => ({ iova: iovaOf(entry), bytes: BigInt(pages) * PAGE });

function assertAlike(
  { pinned, owner, machine }: Scene,
  plain: PlainSpace,
  found: readonly {
    readonly busPage: number;
    readonly pages: number;
    readonly userPage: number;
    readonly access: number;
  }[],
): void {
  const wanted = plain.mappings.toSorted((a, b) => a.entry - b.entry);
  assert.deepEqual(
    found.map(({ busPage, pages, userPage, access }) => [busPage - 256, pages, userPage - USER_BASE, access]),
    wanted.map(({ entry, pages, page, access }) => [entry, pages, page, access]),
  );
  assert.deepEqual([pinned.chargedPages(owner), pinned.pins], [plain.charged, plain.charged]);
  for (let entry = 0; entry < ENTRIES + 10; entry += 7) {
    const mapping = plain.overlapping(entry, 1)[0];
    // On powernv an entry that lets the device write also lets it read.
    assert.equal(
      deviceReads(machine, iovaOf(entry)),
      mapping && mapping.page + entry - mapping.entry,
      `entry ${entry}`,
    );
  }
}

for (const version of [1, 2] as const) {
  test(`type 1, version ${version}: ${RUNS * CALLS} random calls answer as a plain model, seed ${seed}`, () => {
    const scene = sceneOf({ limitPages: LIMIT_PAGES, reserved });
    numberPages(scene.machine);
    const answers = new Set<string>();
    fc.assert(
      fc.property(runs, (calls) => {
        const { pinned, owner, domain } = scene;
        const container = Type1Container.open({ version, pinned, owner, mappings: LIMIT_MAPPINGS });
        assert.ok(!isErrno(container));
        assert.equal(container.attachGroup({ number: 1, domain }), undefined);
        const plain = new PlainType1(version);
        for (const { what, entry, page, pages, access } of calls) {
          const isMap = what < 6;
          const found: unknown = isMap
            ? container.map({ ...rangeOf(entry, pages), userAddress: userAddress(page), flags: access })
            : container.unmap(rangeOf(entry, pages));
          const wanted = isMap ? plain.map(entry, page, pages, access) : plain.unmap(entry, pages);
          assert.equal(found, wanted);
          answers.add(String(found));
        }
        assertAlike(scene, plain, container.mappings());
        assert.equal(container.close(), undefined);
        assertAlike(scene, new PlainSpace(), []);
      }),
      { seed, numRuns: RUNS },
    );
    for (const errno of ["EINVAL", "EEXIST", "ENOSPC", "ENOMEM", "EFAULT", "undefined", "0"]) {
      assert.ok(answers.has(errno), `${errno} was never the answer`);
    }
  });
}

test(`IO address space: ${RUNS * CALLS} random calls answer as a plain model, seed ${seed}`, () => {
  const scene = sceneOf({ limitPages: LIMIT_PAGES, reserved });
  numberPages(scene.machine);
  const answers = new Set<string>();
  fc.assert(
    fc.property(runs, (calls) => {
      const { pinned, owner, domain } = scene;
      const space = IoAddressSpace.create({ pinned, owner });
      assert.ok(!isErrno(space));
      assert.equal(space.attach(domain), undefined);
      const plain = new PlainIoas();
      for (const one of calls) {
        const [found, wanted] = callIoas(space, plain, one);
        assert.equal(found, wanted);
        answers.add(String(isErrno(found) ? found : typeof found));
      }
      assertAlike(scene, plain, space.mappings());
      assert.equal(space.close(), undefined);
      assertAlike(scene, new PlainSpace(), []);
    }),
    { seed, numRuns: RUNS },
  );
  for (const errno of ["EINVAL", "EEXIST", "ENOSPC", "ENOMEM", "EFAULT", "ENOENT", "EPERM", "number", "bigint"]) {
    assert.ok(answers.has(errno), `${errno} was never the answer`);
  }
});

/** The answers of both; a bus address as an entry. */
function callIoas(space: IoAddressSpace, plain: PlainIoas, one: Call): readonly [unknown, unknown] {
  const { what, entry, page, pages, access, source, isChosen } = one;
  const bytes = BigInt(pages) * PAGE;
  const placed = isChosen ? undefined : entry;
  const fixed = isChosen ? {} : { iova: iovaOf(entry) };
  const entryOf = (answer: { readonly iova: bigint } | Errno): number | Errno =>
    isErrno(answer) ? answer : Number((answer.iova - WINDOW.base) / PAGE);
  if (what < 4) {
    const answer = space.map({ userAddress: userAddress(page), bytes, access, ...fixed });
    return [entryOf(answer), plain.map(placed, page, pages, access)];
  }
  if (what < 6) {
    const answer = space.copy({ source: space, sourceIova: iovaOf(source), bytes, access, ...fixed });
    return [entryOf(answer), plain.copy(placed, source, pages, access)];
  }
  return [space.unmap(rangeOf(entry, pages)), plain.unmap(entry, pages)];
}
