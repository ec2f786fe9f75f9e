/** Dynamic DMA windows: which device gets one, of what kind, and that a failure at any step leaves things as they were. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { DmaDevice } from "../../dma/device.ts";
import { createDevice } from "../../dma/windows.ts";
import { TOKENS } from "../../machines/hypervisors/papr/firmware.ts";
import type { DynamicWindowOptions, PaprHypervisorOptions } from "../../machines/hypervisors/papr/hypervisor.ts";
import { PaprHypervisor } from "../../machines/hypervisors/papr/hypervisor.ts";
import { callsIn, type Guest, guestOf, MEMORY_BYTES, tableOf, viewBetweenCalls } from "./guest.model.ts";
import { H_GET_TCE, H_PUT_TCE_INDIRECT, H_RTAS, H_STUFF_TCE } from "./papr.ts";
import { PseriesPlatform } from "./platform.ts";
import type { PseriesWindow, TableWindow } from "./window-view.ts";

/** The model's first dynamic window, in the second slot of the first partition. */
const DYNAMIC_LIOBN = 0x80000002;
const MASK_64 = 2n ** 64n - 1n;

function guestWith(dynamicWindows: DynamicWindowOptions, options: Partial<PaprHypervisorOptions> = {}): Guest {
  return guestOf({ dynamicWindows: { largestWindow: 4096, ...dynamicWindows }, ...options });
}

function made(result: PseriesWindow | string): PseriesWindow {
  assert.ok(typeof result !== "string", `no window: ${String(result)}`);
  return result;
}

/** The TCE of a dynamic window at this offset, as the hypervisor gives it. */
function tceAt({ hypervisor }: Guest, { window }: PseriesWindow, offset: number): bigint {
  const args = BigUint64Array.of(BigInt(DYNAMIC_LIOBN), window.base + BigInt(offset), 0n, 0n);
  assert.equal(hypervisor.hypercall(H_GET_TCE, args), 0);
  return args[0] as bigint;
}

/** Windows of the guest's partition that devices see now. */
function openWindows({ hypervisor }: Guest): number {
  const { translation } = hypervisor.machine;
  let open = 0;
  for (let window = 0; window < translation.windows; window++) open += translation.isOpen(0, window) ? 1 : 0;
  return open;
}

test("all memory is mapped in advance when one window covers it: base + address is the bus address, at the hypervisor's base", () => {
  for (const base of [undefined, 2n ** 60n]) {
    const guest = guestWith(base === undefined ? {} : { base });
    const window = made(guest.platform.makeDynamicWindow({ mask: MASK_64 }));
    assert.ok(window.kind === "direct");
    assert.equal(window.base, base ?? 2n ** 59n);
    assert.equal(window.bytes, MEMORY_BYTES);
    assert.equal(window.window.pageShift, 21, "the largest that divides memory");
    for (const address of [0, 0x12345, MEMORY_BYTES - 1]) {
      guest.hypervisor.memory.write(address, Uint8Array.of(77));
      const seen = new Uint8Array(1);
      assert.ok(guest.hypervisor.device(0).dmaRead(window.base + BigInt(address), seen));
      assert.equal(seen[0], 77);
    }
    assert.ok(!guest.hypervisor.device(0).dmaRead(window.base + BigInt(MEMORY_BYTES), new Uint8Array(1)));
    assert.deepEqual(
      guest.platform.windows.map(({ kind }) => kind),
      ["translated", "direct"],
    );
  }
});

test("the largest page size that fits wins: it divides all memory, the firmware has it, and the window is not too long", () => {
  const shiftFor = (dynamic: DynamicWindowOptions, memory?: { address: number; bytes: number }[]): number => {
    const request = { mask: MASK_64, ...(memory === undefined ? {} : { memory }) };
    return made(guestWith(dynamic).platform.makeDynamicWindow(request)).window.pageShift;
  };
  assert.equal(shiftFor({ pageShifts: [12, 16, 24] }), 16);
  assert.equal(shiftFor({ pageShifts: [12] }), 12);
  assert.equal(shiftFor({}, [{ address: 0, bytes: 0x30000 }]), 16);
  assert.equal(shiftFor({}, [{ address: 0x1000, bytes: 0x30000 }]), 12);
});

test("every page size of the specification, 16 GiB too, is asked for, made and mapped, directly and as a table", () => {
  // Registers of a peer stand for memory: no memory here is as large as some of the pages.
  const address = 2 ** 35;
  for (const pageShift of [12, 16, 24, 25, 26, 27, 28, 34, 21]) {
    const bytes = 2 * 2 ** pageShift;
    const whole = guestWith({ pageShifts: [pageShift], largestWindow: 2 ** 20 });
    // Pages of 4 KiB would need more entries than a window has.
    const direct = made(whole.platform.makeDynamicWindow({ mask: MASK_64, memory: [{ address, bytes }] }));
    assert.deepEqual([direct.kind, direct.window.pageShift], [pageShift > 12 ? "direct" : "translated", pageShift]);
    if (direct.kind === "direct") assert.equal(tceAt(whole, direct, address), BigInt(address) + 3n);

    const guest = guestWith({ pageShifts: [pageShift] });
    const request = { mask: MASK_64, direct: false, largestPageShift: 34, largestWindow: 16 };
    const window = made(guest.platform.makeDynamicWindow(request));
    assert.ok(window.kind === "translated");
    assert.deepEqual([window.window.pageShift, window.window.entries], [pageShift, 16]);
    const mapping = new DmaDevice(window.table, { mask: MASK_64, maxSegmentBytes: 2 ** 31 }).map(
      BigInt(address + bytes / 2 + 5),
      10,
      3,
    );
    assert.ok(typeof mapping !== "string", String(mapping));
    assert.equal(tceAt(guest, window, Number(mapping.iova - window.window.base)), BigInt(address + bytes / 2) + 3n);
  }
});

test("of all page sizes the largest that divides memory is chosen, up to 16 GiB", () => {
  for (const [unit, pageShift] of [
    [2 ** 34, 34],
    [2 ** 33, 28],
    [2 ** 27, 27],
    [2 ** 26, 26],
    [2 ** 25, 25],
    [2 ** 24, 24],
    [2 ** 23, 21],
    [2 ** 21, 21],
  ] as const) {
    const guest = guestWith({ largestWindow: 2 ** 16 });
    const memory = [{ address: 2 ** 35, bytes: unit }];
    const window = made(guest.platform.makeDynamicWindow({ mask: MASK_64, memory }));
    assert.deepEqual([window.kind, window.window.pageShift], ["direct", pageShift], `memory in units of ${unit}`);
  }
});

test("a window that can't cover all memory, or is not wanted direct, is a table of its own", () => {
  for (const direct of [true, false]) {
    const guest = guestWith({ largestWindow: direct ? 512 : 4096, pageShifts: [12, 16] });
    const memory = [
      { address: 0, bytes: MEMORY_BYTES },
      { address: 2 ** 36, bytes: 4096 },
    ];
    const window = made(
      guest.platform.makeDynamicWindow({ mask: MASK_64, direct, memory: direct ? memory : memory.slice(0, 1) }),
    );
    assert.ok(window.kind === "translated");
    assert.deepEqual([window.window.pageShift, window.window.entries], [16, direct ? 512 : 4096]);
    const device = new DmaDevice(window.table, { mask: MASK_64 });
    guest.hypervisor.memory.write(0x54321, Uint8Array.of(5));
    const mapping = device.map(0x54321n, 10, 1);
    assert.ok(typeof mapping !== "string" && mapping.iova >= 2n ** 59n);
    const seen = new Uint8Array(1);
    assert.ok(guest.hypervisor.device(0).dmaRead(mapping.iova, seen) && seen[0] === 5);

    assert.equal(guest.platform.removeDynamicWindow(), "in-use", "defect 22: not with live mappings");
    assert.ok(guest.hypervisor.device(0).dmaRead(mapping.iova, seen), "and they live on");
    assert.equal(device.unmap(mapping), undefined);
    assert.equal(guest.platform.removeDynamicWindow(), undefined);
    assert.deepEqual([guest.platform.windows.length, openWindows(guest)], [1, 1]);
    made(guest.platform.makeDynamicWindow({ mask: MASK_64 }));
  }
});

test("masks of 32 bits or less get none; below 64 bits only with the limited-addressing extension, and only what they reach", () => {
  const without = guestWith({});
  assert.equal(without.platform.makeDynamicWindow({ mask: 0xffff_ffffn }), "mask-needs-none");
  assert.equal(without.platform.makeDynamicWindow({ mask: 2n ** 40n - 1n }), "mask-needs-none");
  const limited = guestWith({ limitedAddressing: true });
  assert.equal(limited.platform.makeDynamicWindow({ mask: 0xffff_ffffn }), "mask-needs-none");
  const window = made(limited.platform.makeDynamicWindow({ mask: 2n ** 40n - 1n }));
  assert.equal(window.window.base, 2n ** 32n);
  const short = guestWith({ limitedAddressing: true });
  assert.equal(short.platform.makeDynamicWindow({ mask: 2n ** 32n + 5n }), "mask-too-low");
  assert.equal(openWindows(short), 1);
  assert.equal(guestOf().platform.makeDynamicWindow({ mask: MASK_64 }), "not-offered");
});

test("without a free slot the unused default window is removed, and restored when the dynamic one is removed", () => {
  const guest = guestWith({ slots: 1 });
  const window = made(guest.platform.makeDynamicWindow({ mask: MASK_64 }));
  assert.deepEqual([guest.platform.windows.length, openWindows(guest)], [1, 1]);
  assert.equal(
    new DmaDevice(guest.platform.generic).map(0x5000n, 1, 1),
    "platform-refused",
    "the default window is gone",
  );
  assert.ok(guest.hypervisor.device(0).dmaRead(window.window.base, new Uint8Array(16)));
  assert.equal(guest.platform.removeDynamicWindow(), undefined);
  guest.platform.generic.allocator.flushIotlb();
  assert.ok(typeof new DmaDevice(guest.platform.generic).map(0x5000n, 1, 1) !== "string");
});

test("a default window that is in use, or that could not be restored, stays", () => {
  const used = guestWith({ slots: 1 });
  const device = new DmaDevice(used.platform.generic);
  const mapping = device.map(0x5000n, 1, 1);
  assert.equal(used.platform.makeDynamicWindow({ mask: MASK_64 }), "default-window-in-use");
  assert.ok(typeof mapping !== "string" && used.hypervisor.device(0).dmaRead(mapping.iova, new Uint8Array(1)));
  assert.equal(used.platform.makeDynamicWindow({ mask: MASK_64 }), "tried-before", "a device is not tried twice");
  const lasting = guestWith({ slots: 1, reset: false });
  assert.equal(lasting.platform.makeDynamicWindow({ mask: MASK_64 }), "not-offered");
  const reserved = guestWith({ slots: 1 }, { base: 0n });
  made(reserved.platform.makeDynamicWindow({ mask: MASK_64 }));
});

test("a failure at any step, by any call: the reason is returned, the windows are as before, and no other creation is tried", () => {
  const steps: number[] = [];
  for (const slots of [1, 2]) {
    for (const call of [H_RTAS, H_PUT_TCE_INDIRECT]) {
      for (let after = 0; ; after++) {
        // 4 KiB pages: 1024 entries, so two calls map them.
        const guest = guestWith({ slots, pageShifts: [12] });
        const answer = call === H_RTAS ? -1 : -16;
        guest.hypervisor.inject([{ call, answer, after, times: 1, written: call === H_RTAS ? 0 : 100 }]);
        const before = tableOf(guest);
        const result = guest.platform.makeDynamicWindow({ mask: MASK_64 });
        if (typeof result !== "string") {
          steps.push(after);
          break;
        }
        assert.equal(result, call === H_RTAS ? "platform-refused" : "platform-busy");
        assert.equal(openWindows(guest), 1, `slots ${slots}, call ${after}`);
        assert.deepEqual(tableOf(guest), before);
        assert.deepEqual(
          guest.platform.windows.map(({ kind }) => kind),
          ["translated"],
        );
        const mapping = new DmaDevice(guest.platform.generic).map(0x5000n, 1, 1);
        assert.ok(typeof mapping !== "string", "the default window works");
        assert.ok(guest.hypervisor.device(0).dmaRead(mapping.iova, new Uint8Array(1)));
        assert.equal(guest.platform.makeDynamicWindow({ mask: MASK_64 }), "tried-before");
      }
    }
  }
  assert.deepEqual(steps, [4, 2, 2, 2], "query, remove, query, create; two calls that map; query, create; two");
});

test("a slow firmware is waited for, up to the guest's patience", () => {
  const slow = guestWith({});
  slow.hypervisor.inject([
    { call: H_RTAS, token: TOKENS.create, answer: 9901, times: 3 },
    { call: H_RTAS, answer: -2, times: 1 },
  ]);
  made(slow.platform.makeDynamicWindow({ mask: MASK_64 }));
  assert.deepEqual(slow.pauses, [1, 10, 10, 10]);
  const stuck = guestWith({});
  stuck.hypervisor.inject([{ call: H_RTAS, token: TOKENS.create, answer: 9903 }]);
  assert.equal(stuck.platform.makeDynamicWindow({ mask: MASK_64 }), "platform-busy");
  assert.deepEqual(stuck.pauses, [1000]);
});

test("the firmware can run out of memory for tables, and gets it back with a window", () => {
  const guest = guestWith({ slots: 4, pageShifts: [12], memoryBytes: 8192 });
  made(guest.platform.makeDynamicWindow({ mask: MASK_64 }));
  const other = PseriesPlatform.create(guest.hypervisor, {
    properties: guest.hypervisor.properties(0),
    region: { address: 0, bytes: 40 * 4096 },
  });
  assert.equal(other.makeDynamicWindow({ mask: MASK_64 }), "platform-refused");
  assert.equal(guest.platform.removeDynamicWindow(), undefined);
  made(guest.platform.makeDynamicWindow({ mask: MASK_64 }));
});

test("added memory is mapped in a direct window, and in no other; a failure leaves none of it; removed memory is not reached", () => {
  const half = MEMORY_BYTES / 2;
  const memory = [
    { address: 0, bytes: half },
    { address: half + 0x10000, bytes: 0x10000 },
  ];
  const added = { address: half + 0x40000, bytes: 0x80000 };
  const guest = guestWith({ pageShifts: [12, 16] });
  const { platform, hypervisor } = guest;
  assert.equal(platform.addMemory(added), undefined, "no dynamic window: nothing to do");
  const window = made(platform.makeDynamicWindow({ mask: MASK_64, memory }));
  assert.equal(window.window.pageShift, 16);
  const reaches = (address: number) =>
    hypervisor.device(0).dmaRead(window.window.base + BigInt(address), new Uint8Array(1));
  assert.deepEqual([reaches(half - 1), reaches(added.address)], [true, false]);
  hypervisor.inject([{ call: H_PUT_TCE_INDIRECT, answer: -16, times: 1, written: 3 }]);
  assert.equal(platform.addMemory(added), "platform-busy");
  assert.equal(reaches(added.address), false);
  assert.equal(platform.addMemory(added), undefined);
  assert.deepEqual([reaches(added.address), reaches(added.address + added.bytes - 1)], [true, true]);
  hypervisor.inject([{ call: H_STUFF_TCE, answer: -1, times: 1 }]);
  assert.equal(platform.removeMemory(added), "platform-refused");
  assert.equal(platform.removeMemory(added), undefined);
  assert.equal(reaches(added.address), false);
  assert.equal(platform.addMemory({ address: MEMORY_BYTES, bytes: 0x10000 }), "platform-refused", "beyond the window");
  assert.throws(() => platform.addMemory({ address: 5, bytes: 4096 }), /range of memory is 4096 bytes at 5/);
});

// Review of 2026-11-30, platforms, defect 1.
test("a dynamic window that begins at bus address 0 does not hand out IOVA 0, whether beside the default window or in its place", () => {
  for (const slots of [1, 2]) {
    const guest = guestWith({ base: 0n, pageShifts: [12], largestWindow: 16, slots });
    const window = made(guest.platform.makeDynamicWindow({ mask: MASK_64, direct: false }));
    assert.ok(window.kind === "translated");
    assert.equal(window.window.base, 0n);
    const device = new DmaDevice(window.table);
    const mappings = Array.from({ length: 15 }, () => device.map(0x1000n, 4096, 1));
    const iovas = mappings.map((mapping) => (typeof mapping === "string" ? mapping : Number(mapping.iova / 4096n)));
    assert.deepEqual(
      iovas.toSorted((a, b) => Number(a) - Number(b)),
      Array.from({ length: 15 }, (_, i) => i + 1),
    );
    assert.equal(device.map(0x1000n, 4096, 1), "table-full");
    for (const mapping of mappings)
      assert.equal(typeof mapping === "string" ? mapping : device.unmap(mapping), undefined);
    assert.equal(guest.platform.removeDynamicWindow(), undefined, "the reserved entry holds no removal up");
    made(guest.platform.makeDynamicWindow({ mask: MASK_64, direct: false }));
  }
});

// Review of 2026-11-30, platforms, defect 2.
test("defect 22: a view of a window that was removed and made anew removes and changes nothing of the new one", () => {
  for (const direct of [false, true]) {
    const guest = guestWith({ pageShifts: [12] });
    const { platform, hypervisor } = guest;
    const memory = [{ address: 0, bytes: MEMORY_BYTES / 2 }];
    const request = { mask: MASK_64, direct, memory };
    made(platform.makeDynamicWindow(request));
    const stale = PseriesPlatform.attach(PaprHypervisor.attach(hypervisor.handle), structuredClone(platform.handle));
    assert.equal(platform.removeDynamicWindow(), undefined);
    assert.throws(() => stale.removeDynamicWindow(), { code: "window-gone" });
    const window = made(platform.makeDynamicWindow(request));
    const device = createDevice([window], { mask: MASK_64 });
    const mapping = device.map(0x1000n, 4096, 3);
    assert.ok(typeof mapping !== "string");
    const isReached = (): boolean => hypervisor.device(0).dmaRead(mapping.iova, new Uint8Array(4));
    const calls = hypervisor.callsOf(H_RTAS);
    assert.throws(() => stale.removeDynamicWindow(), { code: "window-gone" });
    assert.equal(hypervisor.callsOf(H_RTAS), calls, "the firmware was not called");
    if (direct) {
      assert.throws(() => stale.removeMemory({ address: 0, bytes: 0x10000 }), { code: "window-gone" });
      assert.throws(() => stale.addMemory({ address: MEMORY_BYTES / 2, bytes: 4096 }), { code: "window-gone" });
    } else {
      const old = stale.windows[1] as TableWindow;
      assert.equal(
        new DmaDevice(old.table).map(0x2000n, 4096, 3),
        "table-full",
        "its old table writes no entry of the new window",
      );
    }
    assert.ok(isReached());
    assert.equal(device.unmap(mapping), undefined);
    stale.close();
    assert.equal(platform.removeDynamicWindow(), undefined);
  }
});

test("a window that another view removes at this moment is busy to all others, and a failed removal leaves it unchanged", () => {
  const guest = guestWith({});
  made(guest.platform.makeDynamicWindow({ mask: MASK_64 }));
  const results: unknown[] = [];
  const remover = viewBetweenCalls(guest.hypervisor, guest.platform.handle, () => {
    results.push(guest.platform.removeDynamicWindow(), guest.platform.addMemory({ address: 0, bytes: MEMORY_BYTES }));
  });
  guest.hypervisor.inject([{ call: H_RTAS, token: TOKENS.remove, answer: -1, times: 1 }]);
  assert.equal(remover.removeDynamicWindow(), "platform-refused");
  assert.deepEqual(results, ["platform-busy", "platform-busy"]);
  assert.equal(guest.platform.removeDynamicWindow(), undefined);
  assert.throws(() => remover.removeDynamicWindow(), { code: "window-gone" });
});

test("a handle of a platform's older layout is refused", () => {
  const { hypervisor, platform } = guestWith({});
  const older = { ...platform.handle, state: new SharedArrayBuffer(12) };
  assert.throws(
    () => PseriesPlatform.attach(PaprHypervisor.attach(hypervisor.handle), older),
    /of version unknown; this library has version 4/,
  );
  const zeros = { ...platform.handle, state: new SharedArrayBuffer(platform.handle.state.byteLength) };
  assert.throws(
    () => PseriesPlatform.attach(PaprHypervisor.attach(hypervisor.handle), zeros),
    /of version 0; this library has version 4/,
  );
});

/** A direct window over the first half of memory, in pages of 4 KiB; and which bytes a device reaches in it. */
function halfMapped(): { readonly guest: Guest; readonly reaches: (address: number) => boolean } {
  const guest = guestWith({ pageShifts: [12] });
  const memory = [
    { address: 0, bytes: MEMORY_BYTES / 2 },
    { address: MEMORY_BYTES - 4096, bytes: 4096 },
  ];
  const { window } = made(guest.platform.makeDynamicWindow({ mask: MASK_64, memory }));
  const reaches = (address: number): boolean =>
    guest.hypervisor.device(0).dmaRead(window.base + BigInt(address), new Uint8Array(1));
  return { guest, reaches };
}

// Review of 2026-11-30, platforms, defect 3.
test("added memory that the hypervisor refuses to take back is an error that names the range and the cure", () => {
  const { guest, reaches } = halfMapped();
  const range = { address: MEMORY_BYTES / 2, bytes: 2 ** 18 };
  guest.hypervisor.inject([
    { call: H_PUT_TCE_INDIRECT, answer: -44, written: 7 },
    { call: H_STUFF_TCE, answer: -1 },
  ]);
  assert.throws(() => guest.platform.addMemory(range), {
    code: "still-reachable",
    message: /memory \[0x200000, 0x240000\) .*platform-busy.*platform-refused.*until removeMemory of the range/,
  });
  assert.deepEqual([reaches(range.address), reaches(range.address + 7 * 4096)], [true, false]);
  guest.hypervisor.inject([]);
  assert.equal(guest.platform.removeMemory(range), undefined);
  assert.equal(reaches(range.address), false);
  assert.equal(guest.platform.addMemory(range), undefined);
});

// Review of 2026-11-30, platforms, defect 3.
test("adding memory that is mapped already, wholly or in part, takes nothing of it away, also when it fails", () => {
  const { guest, reaches } = halfMapped();
  const half = MEMORY_BYTES / 2;
  const whole = { address: 0, bytes: half };
  const across = { address: half - 0x4000, bytes: 0x8000 };
  guest.hypervisor.inject([{ call: H_PUT_TCE_INDIRECT, answer: -44, times: 1 }]);
  assert.equal(guest.platform.addMemory(whole), undefined, "no entry has to be put");
  assert.equal(guest.platform.addMemory(across), "platform-busy");
  assert.deepEqual([reaches(0), reaches(half - 0x4000), reaches(half)], [true, true, false]);
  guest.hypervisor.inject([]);
  assert.equal(guest.platform.addMemory(across), undefined);
  assert.deepEqual([reaches(half), reaches(half + 0x3fff), reaches(half + 0x4000)], [true, true, false]);
  guest.hypervisor.inject([{ call: H_GET_TCE, answer: -1, times: 1 }]);
  assert.equal(guest.platform.addMemory({ address: half, bytes: 0x10000 }), "platform-refused");
  assert.deepEqual([reaches(half), reaches(half + 0x4000)], [true, false]);
});

test("removing memory that was never added, or lies beyond the window, needs nothing and takes no other memory away", () => {
  const { guest, reaches } = halfMapped();
  const half = MEMORY_BYTES / 2;
  assert.equal(guest.platform.removeMemory({ address: half, bytes: 0x10000 }), undefined);
  assert.equal(guest.platform.removeMemory({ address: 2 ** 40, bytes: 4096 }), undefined);
  assert.deepEqual([reaches(half - 1), reaches(MEMORY_BYTES - 1)], [true, true]);
  assert.equal(guest.platform.removeMemory({ address: MEMORY_BYTES - 4096, bytes: 2 ** 20 }), undefined);
  assert.deepEqual([reaches(half - 1), reaches(MEMORY_BYTES - 1)], [true, false]);
});

test("added and removed memory takes no call where the dynamic window is a table", () => {
  const guest = guestWith({ pageShifts: [16] });
  made(guest.platform.makeDynamicWindow({ mask: MASK_64, direct: false }));
  const range = { address: 0x10000, bytes: 0x20000 };
  const calls = callsIn(guest, () => {
    assert.deepEqual([guest.platform.addMemory(range), guest.platform.removeMemory(range)], [undefined, undefined]);
  });
  assert.deepEqual(calls, { put: 0, stuff: 0, indirect: 0, get: 0 });
});

test("a guest that lacks some of its memory as yet can't map it", () => {
  const half = MEMORY_BYTES / 2;
  const guest = guestWith({ pageShifts: [16] }, { bootMemoryBytes: half });
  const window = made(guest.platform.makeDynamicWindow({ mask: MASK_64, memory: [{ address: 0, bytes: half }] }));
  const device = new DmaDevice(guest.platform.generic);
  assert.equal(device.map(BigInt(half), 1, 1), "platform-refused");
  guest.hypervisor.setMemoryBytes(MEMORY_BYTES);
  assert.equal(guest.hypervisor.guestMemoryBytes, MEMORY_BYTES);
  assert.ok(typeof device.map(BigInt(half), 1, 1) !== "string");
  assert.equal(window.kind, "direct");
});

test("other threads' views see the dynamic window that the handle had when they attached", () => {
  const guest = guestWith({});
  made(guest.platform.makeDynamicWindow({ mask: MASK_64, direct: false }));
  const other = PseriesPlatform.attach(
    PaprHypervisor.attach(guest.hypervisor.handle),
    structuredClone(guest.platform.handle),
  );
  const window = other.windows[1] as PseriesWindow;
  assert.ok(window.kind === "translated");
  const mapping = new DmaDevice(window.table).map(0x5000n, 5 * 4096, 3);
  assert.ok(typeof mapping !== "string" && guest.hypervisor.device(0).dmaRead(mapping.iova, new Uint8Array(5 * 4096)));
  assert.equal(guest.platform.removeDynamicWindow(), "in-use");
  assert.throws(() => PseriesPlatform.attach(PaprHypervisor.attach(guest.hypervisor.handle), {} as never), {
    name: "FormatError",
  });
});

test("a driver's device takes the window that its mask reaches: the default one with 32 bits, the direct one with 64", () => {
  const guest = guestWith({});
  made(guest.platform.makeDynamicWindow({ mask: MASK_64 }));
  guest.hypervisor.memory.write(0x5123, Uint8Array.of(51));
  for (const [mask, isDirect] of [
    [2n ** 32n - 1n, false],
    [MASK_64, true],
  ] as const) {
    const device = createDevice(guest.platform.windows, { mask });
    const mapping = device.map(0x5123n, 1, 1);
    assert.ok(typeof mapping !== "string", String(mapping));
    assert.equal(mapping.iova >= 2n ** 59n, isDirect);
    const seen = new Uint8Array(1);
    assert.ok(guest.hypervisor.device(0).dmaRead(mapping.iova, seen));
    assert.deepEqual([...seen], [51]);
    assert.equal(device.unmap(mapping), undefined);
  }
});

test("defect 22: another thread that maps while the default window is removed finds no space, and afterwards is refused", () => {
  const guest = guestWith({ slots: 1 });
  const other = new DmaDevice(guest.platform.generic);
  const results: unknown[] = [];
  // Query, remove, query, create.
  const maker = viewBetweenCalls(guest.hypervisor, guest.platform.handle, (call) => {
    if (call > 0) results.push(other.map(0x5000n, 1, 1));
  });
  made(maker.makeDynamicWindow({ mask: MASK_64 }));
  assert.deepEqual(results, ["table-full", "platform-refused", "platform-refused"]);
});

test("defect 22: a mapping made while the dynamic window is about to go either keeps it or is refused", () => {
  const guest = guestWith({});
  made(guest.platform.makeDynamicWindow({ mask: MASK_64, direct: false }));
  const table = (guest.platform.windows[1] as { readonly table: Guest["platform"]["generic"] }).table;
  const results: unknown[] = [];
  const remover = viewBetweenCalls(guest.hypervisor, guest.platform.handle, () => {
    results.push(new DmaDevice(table).map(0x5000n, 1, 1));
  });
  assert.equal(remover.removeDynamicWindow(), undefined);
  assert.deepEqual(results, ["table-full"]);
  assert.equal(new DmaDevice(table).map(0x5000n, 1, 1), "table-full", "the table of a removed window stays taken");
});

test("a dynamic window whose removal fails half-way is removed by the next try, and the default one comes back", () => {
  for (const [token, answer] of [
    [TOKENS.remove, -1],
    [TOKENS.reset, -1],
    [TOKENS.reset, 9905],
  ] as const) {
    const guest = guestWith({ slots: 1 });
    made(guest.platform.makeDynamicWindow({ mask: MASK_64 }));
    guest.hypervisor.inject([{ call: H_RTAS, token, answer, times: 1 }]);
    assert.equal(guest.platform.removeDynamicWindow(), answer === -1 ? "platform-refused" : "platform-busy");
    assert.equal(guest.platform.removeDynamicWindow(), undefined, `${token}`);
    guest.platform.generic.allocator.flushIotlb();
    const device = new DmaDevice(guest.platform.generic);
    const mapping = device.map(0x5000n, 1, 1);
    assert.ok(typeof mapping !== "string" && guest.hypervisor.device(0).dmaRead(mapping.iova, new Uint8Array(1)));
    assert.equal(device.unmap(mapping), undefined);
    made(guest.platform.makeDynamicWindow({ mask: MASK_64 }));
  }
});

test("a DMA that does not end: a removal of the default window that stops half-way is undone, and a new window is not made", () => {
  for (const step of ["closeWindow", "openWindow"] as const) {
    const guest = guestWith({ slots: step === "closeWindow" ? 1 : 2 });
    const { translation } = guest.hypervisor.machine;
    const original = translation[step];
    // Stands for a DMA in flight that lasts longer than the guest's patience.
    let busy = 1001;
    translation[step] = (...args: never[]): number => {
      if (busy-- <= 0 || step === "closeWindow") (original as (...args: never[]) => number).apply(translation, args);
      return busy < 0 ? 0 : 1;
    };
    const answer = guest.platform.makeDynamicWindow({ mask: MASK_64 });
    translation[step] = original as never;
    assert.equal(guest.pauses.length, 1000, step);
    assert.equal(answer, "platform-busy", step);
    assert.equal(openWindows(guest), 1);
    const mapping = new DmaDevice(guest.platform.generic).map(0x5000n, 1, 1);
    assert.ok(typeof mapping !== "string" && guest.hypervisor.device(0).dmaRead(mapping.iova, new Uint8Array(1)));
  }
});

test("recovery of a driver that died while the default window was replaced frees its number; its range is quarantined until the window is restored", () => {
  const guest = guestWith({ slots: 1 });
  const { hypervisor, platform } = guest;
  const machine = PaprHypervisor.attach(hypervisor.handle);
  const driver = PseriesPlatform.attach(machine, structuredClone(platform.handle));
  made(platform.makeDynamicWindow({ mask: MASK_64 }));
  assert.equal(new DmaDevice(driver.generic).map(0x5000n, 1, 1), "platform-refused");
  assert.equal(hypervisor.crew.reclaim(machine.thread, "in-flight").isFree, true);
  assert.equal(platform.generic.statistics().taken, 1, "quarantined: the hypervisor has refused to empty it");
  assert.equal(platform.removeDynamicWindow(), undefined);
  platform.generic.allocator.flushIotlb();
  assert.equal(platform.generic.statistics().taken, 0);
});

test("a window whose creator and other views have all died is removed by their recovery, by a thread that never had a view of it", () => {
  const guest = guestWith({});
  const { hypervisor, platform } = guest;
  const { crew } = hypervisor;
  const [creator, viewer] = [0, 1].map(() => PaprHypervisor.attach(hypervisor.handle));
  assert.ok(creator !== undefined && viewer !== undefined);
  const creating = PseriesPlatform.attach(creator, structuredClone(platform.handle));
  made(creating.makeDynamicWindow({ mask: MASK_64, direct: false }));
  PseriesPlatform.attach(viewer, structuredClone(creating.handle));
  assert.throws(() => crew.reclaim(creator.thread, "everything"), { code: "not-attached" });
  assert.equal(openWindows(guest), 2, "the viewer may be alive");
  assert.equal(crew.reclaim(viewer.thread, "everything").isFree, true);
  assert.equal(crew.reclaim(creator.thread, "everything").isFree, true);
  assert.equal(openWindows(guest), 1);
  made(platform.makeDynamicWindow({ mask: MASK_64, direct: false }));
  assert.equal(platform.removeDynamicWindow(), undefined);
});

test("a direct window whose creator and other views have all died is removed by their recovery, and another can be made", () => {
  for (const isCreatorFirst of [true, false]) {
    const guest = guestWith({});
    const { hypervisor, platform } = guest;
    const { crew } = hypervisor;
    const [creator, viewer, closed] = [0, 1, 2].map(() => PaprHypervisor.attach(hypervisor.handle));
    assert.ok(creator !== undefined && viewer !== undefined && closed !== undefined);
    const creating = PseriesPlatform.attach(creator, structuredClone(platform.handle));
    made(creating.makeDynamicWindow({ mask: MASK_64 }));
    PseriesPlatform.attach(viewer, structuredClone(creating.handle));
    PseriesPlatform.attach(closed, structuredClone(creating.handle)).close();
    const [first, last] = isCreatorFirst ? [creator, viewer] : [viewer, creator];
    assert.equal(crew.reclaim(first.thread, "everything").isFree, true);
    assert.equal(openWindows(guest), 2, "the other view may be alive");
    assert.equal(crew.reclaim(last.thread, "everything").isFree, true);
    assert.equal(openWindows(guest), 1);
    made(platform.makeDynamicWindow({ mask: MASK_64 }));
    assert.equal(platform.removeDynamicWindow(), undefined);
  }
});

test("impossible options of dynamic windows are refused with the numbers", () => {
  assert.throws(
    () => guestWith({ base: 2n ** 33n }),
    /base of dynamic windows is 0x200000000; expected a multiple of 17179869184/,
  );
  assert.throws(() => guestWith({ pageShifts: [13] }), /page shift of a window is 13/);
  guestWith({ base: 2n ** 33n, pageShifts: [12] });
});

test("a closed view makes no window and takes no number of the region's; a second close does nothing", () => {
  const guest = guestWith({});
  const closed = PseriesPlatform.attach(
    PaprHypervisor.attach(guest.hypervisor.handle),
    structuredClone(guest.platform.handle),
  );
  closed.close();
  closed.close();
  for (const call of [
    () => closed.makeDynamicWindow({ mask: MASK_64, direct: false }),
    () => closed.removeDynamicWindow(),
    () => closed.addMemory({ address: 0, bytes: 2 ** 24 }),
    () => closed.removeMemory({ address: 0, bytes: 2 ** 24 }),
  ]) {
    assert.throws(call, { name: "IovaError", code: "view-closed" });
  }
  made(guest.platform.makeDynamicWindow({ mask: MASK_64, direct: false }));
});

test("a view by the handle of a window that was removed is refused, and takes no number", () => {
  const guest = guestWith({});
  made(guest.platform.makeDynamicWindow({ mask: MASK_64, direct: false }));
  const handle = structuredClone(guest.platform.handle);
  assert.equal(guest.platform.removeDynamicWindow(), undefined);
  const { crew } = guest.hypervisor;
  const before = crew.threadsInUse();
  for (let i = 0; i < 5; i++) {
    const machine = PaprHypervisor.attach(guest.hypervisor.handle);
    assert.throws(() => PseriesPlatform.attach(machine, handle), { code: "window-gone" });
    machine.close();
  }
  assert.deepEqual(crew.threadsInUse(), before);
  PseriesPlatform.attach(PaprHypervisor.attach(guest.hypervisor.handle), guest.platform.handle).close();
});
