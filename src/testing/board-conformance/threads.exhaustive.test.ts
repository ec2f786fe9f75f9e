/**
 * Real threads on every board: drivers that map, unmap and have the device do DMA at once, with canaries; and drivers that are killed
 * in the middle of it. Once a dead one is reclaimed nothing of it is mapped, the others never see anything but their own, and in
 * the end every entry can be had again.
 */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { BOARD_KINDS } from "../../machines/boards.ts";
import { Crew, DRIVERS, PATIENCE_MS } from "./crew.model.ts";
import { PIECES, REPORT } from "./driver.model.ts";
import type { Choice } from "./setting.ts";

const KILLS = 5;
const SEED = Number(process.env["IOVA_BOARD_KILLS_SEED"] ?? Date.now() % 2 ** 31);
const KINDS = BOARD_KINDS.filter(({ maxThreads = 32, name }) => maxThreads > DRIVERS + 1 && !name.includes("@"));

const MODES: readonly Partial<Choice>[] = [
  { invalidate: "strict" },
  { invalidate: "strict", cache: "fifo", pools: 2 },
  { invalidate: "lazy", cache: "fifo", entries: 2048 },
];

/** By kind: entries that killed drivers had left, and the others' requests that came to nothing. */
const found = new Map(KINDS.map(({ name }) => [name, { kills: 0, left: 0, busy: 0 }]));

after(() => {
  const lines = [...found].map(([name, { kills, left, busy }]) => {
    return `  ${name}: ${kills} kills, which left ${left} entries; ${busy} requests came to nothing`;
  });
  console.log(`seed ${SEED} (IOVA_BOARD_KILLS_SEED)\n${lines.join("\n")}`);
});

for (const kind of KINDS) {
  for (const choice of MODES) {
    const mode = `${choice.invalidate}${choice.cache === "fifo" ? " with cache" : ""}`;
    test(`${kind.name}, ${mode}: drivers on threads map, unmap and do DMA at once, are killed, and leave nothing`, async () => {
      const crew = new Crew(kind, choice);
      const { rig } = crew;
      try {
        let random = SEED;
        let left = 0;
        for (let kill = 0; kill < KILLS; kill++) {
          random = (Math.imul(random, 0x19660d) + 0x3c6ef35f) | 0;
          const place = kill % DRIVERS;
          await crew.untilRounds(place, 20 + ((random >>> 8) % 200));
          await sleep((random >>> 16) % 8);
          left += await crew.kill(place);
          await crew.untilRounds(1 - place, 200);
          crew.start(place);
          await crew.untilRounds(place, 1);
        }
        await crew.untilRounds(0, 2000);
        await crew.stop();
        const sums = found.get(kind.name) as { kills: number; left: number; busy: number };
        sums.kills += KILLS;
        sums.left += left;
        for (let place = 0; place < DRIVERS; place++) sums.busy += crew.get(place, REPORT.busy);
        assert.equal(crew.wrong, 0, `seed ${SEED}: drivers saw foreign data (see their output)`);
        rig.expectAtRest();
      } finally {
        await crew.stop();
        rig.close();
      }
    });
  }
}

test("with invalidations left out, drivers see foreign data on every machine with an IOTLB", async () => {
  for (const kind of KINDS.filter(({ hasIotlb }) => hasIotlb)) {
    const crew = new Crew(kind, {}, true);
    try {
      // Few entries are left, so that they come round while the IOTLB has them.
      const device = crew.rig.plainDevice();
      const taken: number[] = [];
      for (let entry = 0; entry >= 0 && taken.length < 100; ) {
        entry = device.mapPages(crew.rig.address(DRIVERS * PIECES), 8, 3);
        if (entry >= 0) taken.push(entry);
      }
      const began = performance.now();
      while (crew.wrong === 0 && performance.now() - began < PATIENCE_MS) await crew.untilRounds(0, 100);
      assert.ok(crew.wrong > 0, `${kind.name}: no driver saw a stale translation: the test shows nothing`);
    } finally {
      await crew.stop();
      crew.rig.close();
    }
  }
});
