/**
 * The files of the machine that a capture reads and writes: tracefs, /proc, /sys, the kernel log. All calls are synchronous: no read is under way
 * when the process ends, so every file can be closed and every setting put back, even from an `exit` handler.
 */
import { spawnSync } from "node:child_process";
import {
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmdirSync,
  writeSync,
} from "node:fs";

/** A file that is read piece by piece. */
export interface OpenFile {
  /** Reads into `bytes`; 0 at the end, or when there is nothing to read at the moment. Throws the system's errors. */
  read(bytes: Uint8Array): number;
  close(): void;
}

/** Tests put a machine of their own in its place. Errors are those of the system, with a `code`. */
export interface HostFiles {
  exists(path: string): boolean;
  read(path: string): string;
  /** Writes to a file that is there. */
  write(path: string, text: string): void;
  /** Names in a folder, sorted; none when there is no such folder. */
  list(path: string): string[];
  makeFolder(path: string): void;
  removeFolder(path: string): void;
  /** Opens for reading; a read never waits. */
  open(path: string): OpenFile;
  /** Standard output of a shell command; what it prints about failures is left out. */
  run(command: string): string;
}

/** lspci of a large machine prints some hundred KiB. */
const MOST_OUTPUT_BYTES = 2 ** 26;
const COMMAND_MILLISECONDS = 20_000;

/** The machine itself. */
export const systemFiles: HostFiles = {
  exists: existsSync,
  read: (path) => readFileSync(path, "utf8"),
  write: writeExisting,
  list: (path) => (existsSync(path) ? readdirSync(path).sort() : []),
  makeFolder: (path) => void mkdirSync(path),
  removeFolder: rmdirSync,
  open,
  run: (command) =>
    spawnSync("/bin/sh", ["-c", command], {
      encoding: "utf8",
      maxBuffer: MOST_OUTPUT_BYTES,
      timeout: COMMAND_MILLISECONDS,
      stdio: ["ignore", "pipe", "ignore"],
    }).stdout ?? "",
};

/** In one write, as the files of tracefs expect it; without O_TRUNC, which some of them take as "clear". */
function writeExisting(path: string, text: string): void {
  const file = openSync(path, constants.O_WRONLY);
  try {
    writeSync(file, text);
  } finally {
    closeSync(file);
  }
}

function open(path: string): OpenFile {
  const file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  let isOpen = true;
  return {
    read: (bytes) => {
      try {
        return readSync(file, bytes, 0, bytes.length, null);
      } catch (error) {
        if (codeOf(error) === "EAGAIN") return 0;
        throw error;
      }
    },
    close: () => {
      if (isOpen) closeSync(file);
      isOpen = false;
    },
  };
}

/** `ENOENT`, `EBUSY`, …; empty for other errors. */
export function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : "";
}
