/**
 * Starts a QEMU that ends with the thread that started it and leaves no files. Its files (two FIFOs, memory, firmware, log) are opened
 * here, unlinked, and passed as open files before it starts.
 *
 * Linux only: it needs `setpriv` (util-linux), `sh` and `mkfifo`, which every distribution has.
 */
import { spawnSync } from "node:child_process";
import {
  closeSync,
  constants,
  existsSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { compareExchange, createShared, type SharedBuffer, store, waitWhile, wordsOf } from "../../shared/memory.ts";
import { checkInteger, IovaError } from "../../units/errors.ts";
import { isExecutable } from "./programs.ts";
import { CAUSE, PHASE, STATE_BYTES, type WatchdogJob, WORD } from "./state.ts";

/** Paths of QEMU's memory file and firmware. */
export const MEMORY_PATH = "/dev/fd/4";
export const FIRMWARE_PATH = "/dev/fd/5";

/** Time limits of QEMU in milliseconds. If it exceeds one, it is killed at most 250 ms later. */
export interface QemuPatience {
  /** From the start to the first answer: 1 .. 600,000. Default 30,000. */
  readonly startMilliseconds?: number;
  /** For each later answer: 1 .. 600,000. Default 10,000. */
  readonly callMilliseconds?: number;
}

export interface QemuCommand extends QemuPatience {
  /** Name or absolute path of the program. */
  readonly program: string;
  readonly args: readonly string[];
  /** Size of the file at MEMORY_PATH in bytes; 0 if the board's memory can't be a file. */
  readonly memoryFileBytes: number;
  /** Content of the file at FIRMWARE_PATH. */
  readonly firmware: Uint8Array;
}

/** Parameters by which other threads use a QEMU: numbers of open files of this process, and the shared words. Structured-cloneable. */
export interface QemuHandle {
  readonly state: SharedBuffer;
  /** The FIFO of commands, that of replies, and the log that QEMU appends to. */
  readonly commands: number;
  readonly replies: number;
  readonly log: number;
  /** Its memory file; empty if the board has none. */
  readonly memory: number;
  /** The command line, for messages. */
  readonly commandLine: string;
  readonly callMilliseconds: number;
}

/** A QEMU process of this thread. */
export interface QemuProcess {
  readonly handle: QemuHandle;
  /** Kills QEMU, waits for its end, closes the files. */
  end(): void;
}

/** Time limit in milliseconds for the end of a killed QEMU. */
export const LAST_MILLISECONDS = 5000;
const LONGEST_PATIENCE_MS = 600_000;
const FOLDER_PREFIX = "iova-qemu-";
const LEFT_AFTER_MS = 60_000;
const WATCHDOG = new URL("./watchdog.worker.js", import.meta.url);

/**
 * Starts QEMU, without waiting for an answer. Throws IovaError: `qemu-not-installed`, `qemu-unsupported` if setpriv is missing, or
 * `qemu-timeout` if the watchdog thread does not start in time.
 */
export function startQemu(command: QemuCommand): QemuProcess {
  const { program, args, startMilliseconds = 30_000, callMilliseconds = 10_000 } = command;
  checkInteger("milliseconds for the start of QEMU", startMilliseconds, 1, LONGEST_PATIENCE_MS);
  checkInteger("milliseconds for an answer of QEMU", callMilliseconds, 1, LONGEST_PATIENCE_MS);
  needPrograms(program);
  const files = openFiles(command);
  const state = createShared(STATE_BYTES);
  const words = wordsOf(state);
  const worker = startWatchdog({
    state,
    program,
    args,
    standard: [files.stdin, files.stdout, files.log],
    others: [files.memory, files.firmware],
    startMilliseconds,
    callMilliseconds,
  });
  waitWhile(words, WORD.phase, PHASE.starting, startMilliseconds);
  const isLate = compareExchange(words, WORD.phase, PHASE.starting, PHASE.ended) === PHASE.starting;
  waitWhile(words, WORD.phase, PHASE.spawning, startMilliseconds);
  // QEMU has its own copies now. Ours are closed: while this process held the FIFO's other end, it would never read end-of-file.
  for (const file of [files.stdin, files.stdout, files.firmware]) closeSync(file);
  const { commands, replies, log, memory } = files;
  const close = (): void => [commands, replies, log, memory].forEach(closeSync);
  const commandLine = [program, ...args].join(" ");
  if (isLate) {
    close();
    throw new IovaError("qemu-timeout", `${commandLine}: its watchdog did not start in ${startMilliseconds} ms`);
  }
  const handle = { state, commands, replies, log, memory, commandLine, callMilliseconds };
  const end = (): void => {
    store(words, WORD.cause, CAUSE.closed);
    worker.postMessage("end");
    waitWhile(words, WORD.phase, PHASE.running, LAST_MILLISECONDS);
    close();
  };
  return { handle, end };
}

function startWatchdog(job: WatchdogJob): Worker {
  // This thread closes the files: otherwise Node would warn about them and close them when the watchdog ends.
  const worker = new Worker(WATCHDOG, { workerData: job, trackUnmanagedFds: false });
  // QEMU ends with the watchdog, and callers read end-of-file then, so an error needs no handling here.
  worker.on("error", () => {});
  worker.unref();
  return worker;
}

interface OpenFiles {
  readonly stdin: number;
  readonly stdout: number;
  readonly commands: number;
  readonly replies: number;
  readonly log: number;
  readonly memory: number;
  readonly firmware: number;
}

/** The first end of each FIFO is opened for reading and writing, so that no open waits for the other end. */
function openFiles(command: QemuCommand): OpenFiles {
  // A memory file on a disk would be written back needlessly.
  const parent = existsSync("/dev/shm") ? "/dev/shm" : tmpdir();
  removeLeftFolders(parent);
  const folder = mkdtempSync(join(parent, `${FOLDER_PREFIX}${process.pid}-`));
  try {
    const at = (name: string): string => join(folder, name);
    const { status, stderr, error } = spawnSync("mkfifo", ["-m", "600", at("commands"), at("replies")]);
    if (status !== 0) throw new IovaError("qemu-unsupported", `mkfifo failed: ${error?.message ?? String(stderr)}`);
    const commands = openSync(at("commands"), constants.O_RDWR);
    const stdout = openSync(at("replies"), constants.O_RDWR);
    const memory = openSync(at("memory"), "w+", 0o600);
    ftruncateSync(memory, command.memoryFileBytes);
    const firmware = openSync(at("firmware"), "w+", 0o600);
    if (command.firmware.length > 0) writeSync(firmware, command.firmware);
    return {
      commands,
      stdin: openSync(at("commands"), constants.O_RDONLY),
      stdout,
      replies: openSync(at("replies"), constants.O_RDONLY),
      // Opened for appending, so that it can be truncated while QEMU has it open.
      log: openSync(at("log"), "a+", 0o600),
      memory,
      firmware,
    };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/**
 * Removes left folders. A folder exists for some milliseconds; an older one was left by a process that was killed in that time.
 */
function removeLeftFolders(parent: string): void {
  for (const name of readdirSync(parent)) {
    if (!name.startsWith(FOLDER_PREFIX)) continue;
    const path = join(parent, name);
    const made = statSync(path, { throwIfNoEntry: false });
    if (made === undefined || made.uid !== process.getuid?.() || Date.now() - made.mtimeMs < LEFT_AFTER_MS) continue;
    rmSync(path, { recursive: true, force: true });
  }
}

function needPrograms(program: string): void {
  if (process.platform !== "linux") {
    throw new IovaError(
      "qemu-unsupported",
      `this is ${process.platform}; QEMU is tied to its parent's life on Linux only`,
    );
  }
  if (!isExecutable(program)) {
    throw new IovaError(
      "qemu-not-installed",
      `${program} is not installed: not found on PATH (${process.env["PATH"]})`,
    );
  }
  if (!isExecutable("setpriv")) {
    throw new IovaError("qemu-unsupported", "setpriv (of util-linux) is not installed: QEMU could outlive its parent");
  }
}
