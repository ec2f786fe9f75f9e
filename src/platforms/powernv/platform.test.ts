import assert from "node:assert/strict";
import { test } from "node:test";
import { createDevice } from "../../dma/windows.ts";
import { SoftwareMachine } from "../../machines/software/machine.ts";
import { FormatError } from "../../units/errors.ts";
import { PowernvPlatform, type PowernvPlatformHandle } from "./platform.ts";
import { DEVICES, machineWith, REGION, readByte } from "./set-up.model.ts";

test("with bypass on, a device of 64 bits sees all memory at 1 << 59 without a table, one of 32 bits goes through the table", () => {
  const machine = machineWith();
  const table = { pageShift: 12, windowBytes: 2n ** 20n, levels: 1 };
  const platform = PowernvPlatform.create(machine, { phb: { devices: DEVICES, region: REGION, threads: 4 }, table });
  machine.memory.write(0x5123, Uint8Array.of(51));
  const mappedBy = (mask: bigint): bigint => {
    const device = createDevice(platform.windows, { mask });
    const mapping = device.map(0x5123n, 1, 1);
    assert.ok(typeof mapping !== "string", String(mapping));
    assert.equal(readByte(machine, "nic", mapping.iova), 51);
    assert.equal(device.unmap(mapping), undefined);
    return mapping.iova;
  };
  assert.ok(mappedBy(2n ** 64n - 1n) < 2n ** 20n, "without bypass there is the table alone");
  assert.equal(platform.group.openBypass(), undefined);
  assert.equal(mappedBy(2n ** 64n - 1n), 2n ** 59n + 0x5123n);
  assert.ok(mappedBy(2n ** 32n - 1n) < 2n ** 20n);
  assert.equal(platform.group.closeBypass(), undefined);
  assert.equal(readByte(machine, "nic", 2n ** 59n + 0x5123n), undefined, "bypass is over");
});

test("a view that can't be attached takes no number", () => {
  const machine = machineWith();
  const table = { pageShift: 12, windowBytes: 2n ** 20n, levels: 1 };
  const platform = PowernvPlatform.create(machine, { phb: { devices: DEVICES, region: REGION, threads: 4 }, table });
  const handle = structuredClone(platform.handle);
  assert.equal(platform.table.release(), undefined);
  assert.equal(platform.group.unsetWindow(platform.table), undefined);
  for (let i = 0; i < 5; i++) {
    const other = SoftwareMachine.attach(machine.handle);
    assert.throws(() => PowernvPlatform.attach(other, handle), { code: "table-gone" });
    other.close();
    assert.deepEqual(machine.crew.threadsInUse(), [machine.thread]);
  }
});

test("a handle of which a field is missing, of the platform, the bridge or the TCE table, is refused and names it (architecture review of 2026-11-30, 2c.6)", () => {
  const machine = machineWith();
  const table = { pageShift: 12, windowBytes: 2n ** 20n, levels: 1 };
  const platform = PowernvPlatform.create(machine, { phb: { devices: DEVICES, region: REGION, threads: 4 }, table });
  const { handle } = platform;
  const other = SoftwareMachine.attach(machine.handle);
  const broken = (part: "phb" | "table", field: string): PowernvPlatformHandle => ({
    ...handle,
    [part]: { ...handle[part], [field]: null },
  });
  for (const part of ["phb", "table"] as const) {
    for (const field of Object.keys(handle[part])) {
      const expected = { name: "FormatError", message: new RegExp(`its ${field} is null; expected `) };
      assert.throws(() => PowernvPlatform.attach(other, broken(part, field)), expected, `${part}.${field}`);
    }
    assert.throws(() => PowernvPlatform.attach(other, { ...handle, [part]: null }), FormatError, part);
  }
  const noPages = { ...handle, phb: { ...handle.phb, pages: {} as never } };
  assert.throws(() => PowernvPlatform.attach(other, noPages), FormatError, "pages of the bridge");
  PowernvPlatform.attach(other, handle).close();
});
