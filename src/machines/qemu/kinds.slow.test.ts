/** The boards on QEMU as their users meet them: what they do not count, and failures at the start, in use and at the end. */
import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { DmaDevice } from "../../dma/device.ts";
import { InvalidArgumentError, IovaError } from "../../units/errors.ts";
import type { BoardKind, BoardOptions } from "../board.ts";
import { QEMU_BOARDS } from "./boards.ts";
import { hasBoard } from "./install.model.ts";
import type { QemuModelName } from "./machine.ts";

const MEMORY_BYTES = 2 ** 26;
const PATIENCE_MS = 60_000;
/** Above firmware. */
const BUFFER = 0x20_0000n;

const machineOf = ({ name }: BoardKind): QemuModelName => name.replace("@qemu", "") as QemuModelName;

/** The QEMUs that this process has started, and that have not ended. */
function running(): number[] {
  return readdirSync("/proc")
    .filter((entry) => /^\d+$/.test(entry))
    .map(Number)
    .filter((id) => {
      const [, name = "", state = "", parent = ""] = /^\d+ \((.*)\) (\S) (\d+)/.exec(statOf(id)) ?? [];
      return name.startsWith("qemu-system") && state !== "Z" && Number(parent) === process.pid;
    });
}

function statOf(id: number): string {
  try {
    return readFileSync(`/proc/${id}/stat`, "latin1");
  } catch {
    return "";
  }
}

async function assertNoneRuns(): Promise<void> {
  for (const began = performance.now(); running().length > 0; await sleep(5)) {
    assert.ok(performance.now() - began < PATIENCE_MS, `still running: ${running()}`);
  }
}

function errorOf(work: () => unknown): unknown {
  try {
    work();
  } catch (error) {
    return error;
  }
  throw new assert.AssertionError({ message: "it did not throw" });
}

for (const kind of QEMU_BOARDS) {
  test(`${kind.name}: a QEMU that is not on PATH is an error that names it`, () => {
    const path = process.env["PATH"];
    const empty = mkdtempSync(join(tmpdir(), "iova-empty-"));
    process.env["PATH"] = empty;
    try {
      const error = errorOf(() => kind.create({ memoryBytes: MEMORY_BYTES }));
      assert.ok(error instanceof IovaError && error.code === "qemu-not-installed", String(error));
      assert.match(error.message, new RegExp(`^qemu-system-\\w+ is not installed: not found on PATH \\(${empty}\\)`));
    } finally {
      process.env["PATH"] = path;
      rmSync(empty, { recursive: true });
    }
  });

  test(`${kind.name}: what the board has not is refused with the numbers, and no QEMU is left`, async (t) => {
    if (!hasBoard(t, machineOf(kind))) return;
    const wrong: readonly [Partial<BoardOptions>, RegExp][] = [
      [{ devices: ["nic0"] }, /devices of \w+@qemu is nic0; expected (edu|lsi53c895a)/],
      [{ memoryBytes: 2 ** 40 }, /memory of \w+@qemu in bytes is 1099511627776/],
      [{ memoryBytes: 4096 }, /memory of the board in bytes is 4096/],
      [{ pageShift: 21 }, /page shift of \w+@qemu is 21/],
      [{ levels: 9 }, /levels of \w+@qemu is 9/],
      [{ entries: 0 }, /entries of \w+@qemu is 0/],
    ];
    for (const [options, message] of wrong) {
      const error = errorOf(() => kind.create({ memoryBytes: MEMORY_BYTES, ...options }));
      assert.ok(error instanceof InvalidArgumentError, `${JSON.stringify(options)}: ${error}`);
      assert.match(error.message, message);
    }
    await assertNoneRuns();
  });

  test(`${kind.name}: how often it was invalidated is unknown; there is no hypervisor`, (t) => {
    if (!hasBoard(t, machineOf(kind))) return;
    const board = kind.create({ memoryBytes: MEMORY_BYTES });
    assert.deepEqual(board.statistics(), { invalidations: "unknown", hypercalls: 0 });
    board.close();
    assert.deepEqual(running(), []);
  });

  // Review of 2026-11-30, platforms, defect 4.
  test(`${kind.name}: a second close does nothing; QEMU ends also when the table has been closed before`, (t) => {
    if (!hasBoard(t, machineOf(kind))) return;
    const board = kind.create({ memoryBytes: MEMORY_BYTES });
    board.close();
    board.close();
    const other = kind.create({ memoryBytes: MEMORY_BYTES });
    other.table.close();
    other.close();
    assert.deepEqual(running(), []);
    other.close();
  });

  test(`${kind.name}: a QEMU that is killed is an error of the call in hand and of all later ones; close still ends well`, async (t) => {
    if (!hasBoard(t, machineOf(kind))) return;
    const board = kind.create({ memoryBytes: MEMORY_BYTES });
    const view = kind.attach(board.handle);
    const device = new DmaDevice(board.table);
    const mapping = device.map(BUFFER, 64, 3);
    assert.ok(typeof mapping !== "string", `${mapping}`);
    const [qemu, ...others] = running();
    assert.ok(qemu !== undefined && others.length === 0);
    process.kill(qemu, "SIGKILL");
    const uses = [
      // First, because a memory file can be written until the next command to QEMU.
      () => {
        for (;;) board.machine.device(0).dmaRead(mapping.iova, new Uint8Array(64));
      },
      () => device.map(BUFFER, 64, 3),
      () => device.unmap(mapping),
      () => board.takeFaults(),
      () => view.table.set(0, 1, 0x200, 3),
    ];
    for (const use of uses) {
      const error = errorOf(use);
      assert.ok(error instanceof IovaError && error.code === "qemu-died", String(error));
      assert.match(error.message, /ended by SIGKILL/);
    }
    view.close();
    board.close();
    await assertNoneRuns();
  });
}
