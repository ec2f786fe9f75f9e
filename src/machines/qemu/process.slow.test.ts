/** How a QEMU ends: by itself, by others, never; and that none outlives the thread that started it. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { IovaError } from "../../units/errors.ts";
import { hasBoard, withMachine } from "./install.model.ts";
import { QemuMachine, type QemuMachineHandle } from "./machine.ts";
import { ADDITIONS, COUNTER, increment, type OwnerTask } from "./owner.test.worker.ts";

const OWNER = new URL("./owner.test.worker.js", import.meta.url);
/** More than any start or end takes here, on a slow machine too. */
const LONG_MS = 60_000;

let names = 0;
/** An argument by which a QEMU of this test is found among all processes. */
function marker(): string {
  return `iova-test-${process.pid}-${names++}`;
}

/** Ids of the processes with this name among their arguments; zombies have no arguments. */
function processesNamed(name: string): number[] {
  return readdirSync("/proc")
    .filter((entry) => /^\d+$/.test(entry))
    .map(Number)
    .filter((id) => id !== process.pid && commandLineOf(id).includes(name));
}

function commandLineOf(id: number): string {
  try {
    return readFileSync(`/proc/${id}/cmdline`, "latin1");
  } catch {
    return "";
  }
}

async function until(what: string, condition: () => boolean): Promise<void> {
  for (const began = performance.now(); !condition(); await sleep(5)) {
    assert.ok(performance.now() - began < LONG_MS, `${what}: not within ${LONG_MS} ms`);
  }
}

/** Folders that a machine of the process would leave. */
function leftFolders(owner: number | undefined): string[] {
  const isLeft = (name: string): boolean => name.startsWith(`iova-qemu-${owner}-`);
  return ["/dev/shm", tmpdir()].flatMap((parent) => readdirSync(parent).filter(isLeft));
}

async function assertNoneLeft(name: string, owner: number | undefined = process.pid): Promise<void> {
  await until(`the end of the QEMU ${name}`, () => processesNamed(name).length === 0);
  assert.deepEqual(leftFolders(owner), []);
}

function errorOf(work: () => unknown): IovaError {
  try {
    work();
  } catch (error) {
    assert.ok(error instanceof IovaError, String(error));
    return error;
  }
  throw new assert.AssertionError({ message: "it did not throw" });
}

/**
 * Calls `work` with a time limit for a machine's calls: the least that a machine keeps here. On a busy machine QEMU may take longer for any
 * call; then the next attempt has twice the time.
 */
async function withPatience(work: (callMilliseconds: number) => Promise<void>): Promise<void> {
  for (let callMilliseconds = 1000; ; callMilliseconds *= 2) {
    try {
      return await work(callMilliseconds);
    } catch (error) {
      const isTooShort = error instanceof IovaError && error.code === "qemu-timeout" && callMilliseconds < LONG_MS;
      if (!isTooShort) throw error;
    }
  }
}

function killNamed(name: string, signal: NodeJS.Signals): void {
  const found = processesNamed(name);
  assert.equal(found.length, 1);
  process.kill(found[0] as number, signal);
}

test("a QEMU that is not installed is an error that names it", () => {
  const error = errorOf(() => QemuMachine.create("sun4u", { program: "qemu-system-none" }));
  assert.equal(error.code, "qemu-not-installed");
  assert.match(error.message, /^qemu-system-none is not installed/);
});

test("a QEMU that refuses its arguments is an error with the command line, its exit code and its last words", async (t) => {
  if (!hasBoard(t, "sun4u")) return;
  const name = marker();
  const error = errorOf(() => QemuMachine.create("sun4u", { args: ["-name", name, "-no-such-option"] }));
  assert.equal(error.code, "qemu-died");
  assert.match(error.message, /qemu-system-sparc64 .*-no-such-option: ended with exit code 1 /);
  assert.match(error.message, /its last words: .*-no-such-option: invalid option/s);
  await assertNoneLeft(name);
});

test("a program that never answers is killed after the stated time", async () => {
  const folder = mkdtempSync(join(tmpdir(), "silent-"));
  const name = marker();
  try {
    const program = join(folder, "silent");
    writeFileSync(program, "#!/bin/sh\nwhile :; do read -r line; done\n");
    chmodSync(program, 0o755);
    // On a busy machine the watchdog itself may take longer than that to start.
    for (let startMilliseconds = 300; startMilliseconds <= LONG_MS; startMilliseconds *= 2) {
      const began = performance.now();
      const error = errorOf(() => QemuMachine.create("powernv", { program, args: ["-name", name], startMilliseconds }));
      assert.equal(error.code, "qemu-timeout");
      assert.ok(performance.now() - began >= startMilliseconds);
      if (error.message.includes("watchdog")) continue;
      assert.match(error.message, /ended by SIGKILL during /);
      break;
    }
    await assertNoneLeft(name);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("a watchdog that does not start in time is an error, and what it would have started never is", async (t) => {
  if (!hasBoard(t, "sun4u")) return;
  const name = marker();
  const openFiles = (): number => readdirSync("/proc/self/fd").length;
  // Eight are the machine's; node opens some of its own for the first threads.
  const before = openFiles();
  for (let i = 0; i < 5; i++) {
    const options = { args: ["-name", name], startMilliseconds: 1 };
    const error = errorOf(() => QemuMachine.create("sun4u", options));
    assert.equal(error.code, "qemu-timeout");
    assert.match(error.message, /its watchdog did not start in 1 ms/);
  }
  await sleep(500);
  await assertNoneLeft(name);
  await until("the end of the watchdogs, and of their files", () => openFiles() < before + 8);
});

test("a QEMU that is killed is an error for the call that waits and for all later ones", async (t) => {
  const name = marker();
  await withMachine(
    t,
    "powernv",
    (machine) => {
      killNamed(name, "SIGKILL");
      const error = errorOf(() => {
        for (;;) machine.registers.read64(0x168);
      });
      assert.equal(error.code, "qemu-died");
      assert.match(error.message, /ended by SIGKILL/);
      for (const later of [() => machine.memory.load32(0), () => machine.faults()]) {
        assert.equal(errorOf(later).code, "qemu-died");
      }
    },
    { args: ["-name", name] },
  );
  await assertNoneLeft(name);
});

test("a QEMU that hangs is killed after the stated time, and the call says so", async (t) => {
  const name = marker();
  await withPatience(async (callMilliseconds) => {
    const hang = (machine: QemuMachine) => {
      killNamed(name, "SIGSTOP");
      const began = performance.now();
      const error = errorOf(() => machine.registers.read64(0x200));
      assert.equal(error.code, "qemu-timeout");
      assert.ok(error.message.includes(`no answer in time (${callMilliseconds} ms`), error.message);
      assert.match(error.message, /during "readq 0x1fe00000200"/);
      assert.ok(performance.now() - began >= callMilliseconds);
    };
    await withMachine(t, "sun4u", hang, { args: ["-name", name], callMilliseconds });
  });
  await assertNoneLeft(name);
});

test("a machine that waits for long is not taken for one that hangs", (t) =>
  withPatience(async (callMilliseconds) => {
    const wait = async (machine: QemuMachine) => {
      await sleep(1.5 * callMilliseconds);
      assert.equal(machine.registers.read64(0x200), 0n);
    };
    await withMachine(t, "sun4u", wait, { callMilliseconds });
  }));

test("close ends QEMU; a second one does nothing, and all use is refused", async (t) => {
  if (!hasBoard(t, "sun4u")) return;
  const name = marker();
  const machine = QemuMachine.create("sun4u", { args: ["-name", name] });
  assert.equal(processesNamed(name).length, 1);
  machine.close();
  machine.close();
  assert.deepEqual(processesNamed(name), []);
  for (const use of [
    () => machine.memory.load32(0),
    () => machine.registers.read64(0),
    () => machine.device().dmaRead(0n, new Uint8Array(1)),
    () => QemuMachine.attach(machine.handle),
  ]) {
    assert.equal(errorOf(use).code, "qemu-closed");
  }
  await assertNoneLeft(name);
});

test("a foreign handle and an unknown model are refused", () => {
  assert.equal(errorOf(() => QemuMachine.attach({} as QemuMachineHandle)).code, "format");
  assert.equal(errorOf(() => QemuMachine.create("sun5" as "sun4u")).code, "invalid-argument");
});

// The owner ends.

function ownerProcess(task: OwnerTask): ChildProcess {
  const args = [fileURLToPath(OWNER), JSON.stringify(task)];
  return spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
}

test("no QEMU and no file outlives a process that is killed", async (t) => {
  if (!hasBoard(t, "sun4u")) return;
  const name = marker();
  const owner = ownerProcess({ options: { args: ["-name", name] }, after: "wait" });
  await once(owner.stdout as NodeJS.ReadableStream, "data");
  assert.equal(processesNamed(name).filter((id) => id !== owner.pid).length, 1);
  owner.kill("SIGKILL");
  await assertNoneLeft(name, owner.pid);
});

test("no QEMU outlives a process that is killed at any moment of the start", async (t) => {
  if (!hasBoard(t, "sun4u")) return;
  const name = marker();
  for (let i = 0; i < 25; i++) {
    const owner = ownerProcess({ options: { args: ["-name", name] }, after: "wait" });
    // From the shell that becomes QEMU on; before that there is no process that could outlive the thread.
    if (i % 5 !== 0) {
      await until("a process of the owner", () => processesNamed(name).length > 1 || owner.exitCode !== null);
      await sleep(i % 5 === 1 ? 0 : i);
    }
    owner.kill("SIGKILL");
    await until(`the end of QEMU, round ${i}`, () => processesNamed(name).length === 0);
  }
});

test("a folder that was left long ago by a process killed while it started QEMU goes at the next start", async (t) => {
  const folder = mkdtempSync("/dev/shm/iova-qemu-0-");
  writeFileSync(join(folder, "memory"), "left");
  const recent = mkdtempSync("/dev/shm/iova-qemu-0-");
  utimesSync(folder, 0, Date.now() / 1000 - 3600);
  try {
    await withMachine(t, "sun4u", () => {
      assert.equal(existsSync(folder), false);
      assert.equal(existsSync(recent), true, "this one may be in use");
    });
  } finally {
    rmSync(folder, { recursive: true, force: true });
    rmSync(recent, { recursive: true });
  }
});

test("a process that does not close its machine ends all the same, and its QEMU with it", async (t) => {
  if (!hasBoard(t, "sun4u")) return;
  const name = marker();
  const owner = ownerProcess({ options: { args: ["-name", name] }, after: "end" });
  const [code] = (await once(owner, "exit")) as [number];
  assert.equal(code, 0);
  await assertNoneLeft(name, owner.pid);
});

async function startWorker(task: OwnerTask): Promise<{ worker: Worker; handle: QemuMachineHandle }> {
  const worker = new Worker(OWNER, { workerData: task });
  const [handle] = (await once(worker, "message")) as [QemuMachineHandle];
  return { worker, handle };
}

test("no QEMU outlives a worker thread that is terminated; who is attached is told", async (t) => {
  if (!hasBoard(t, "sun4u")) return;
  const name = marker();
  const { worker, handle } = await startWorker({ options: { args: ["-name", name] }, after: "wait" });
  const machine = QemuMachine.attach(handle);
  machine.memory.store32(COUNTER, 1);
  await worker.terminate();
  await assertNoneLeft(name);
  assert.equal(errorOf(() => machine.memory.load32(COUNTER)).code, "qemu-died");
  assert.equal(errorOf(() => QemuMachine.attach(handle)).code, "qemu-closed");
  machine.close();
});

// Threads.

for (const board of ["sun4u", "powernv"] as const) {
  test(`${board}: threads that are attached lose none of each other's updates`, (t) =>
    withMachine(t, board, async (machine) => {
      const { worker } = await startWorker({ handle: machine.handle, after: "add" });
      const added = once(worker, "message");
      for (let i = 0; i < ADDITIONS; i++) increment(machine);
      await added;
      assert.equal(machine.memory.load32(COUNTER), 2 * ADDITIONS);
      // The worker closed only its own view.
      assert.equal(typeof machine.registers.read64(0x208), "bigint");
    }));
}

test("a thread that is killed while it uses the machine ends it for all, after the stated time", async (t) => {
  const name = marker();
  await withPatience(async (callMilliseconds) => {
    const die = async (machine: QemuMachine) => {
      const { worker } = await startWorker({ handle: machine.handle, after: "hold" });
      await once(worker, "message");
      await worker.terminate();
      assert.equal(errorOf(() => machine.memory.load32(0)).code, "qemu-timeout");
    };
    await withMachine(t, "sun4u", die, { args: ["-name", name], callMilliseconds });
  });
  await assertNoneLeft(name);
});
