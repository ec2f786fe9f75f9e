/**
 * QEMU's qtest protocol: one line per command, one line per reply. Read and written synchronously, through two FIFOs.
 *
 * One thread at a time: a lock in shared memory is held around every command, and around commands that belong together. So all accesses and
 * DMAs of all threads are ordered. If a thread is killed while it holds the lock, its operation can't be completed: the sequence stops
 * changing, the watchdog ends QEMU, and calls of other threads throw.
 *
 * QEMU aborts on a malformed command, so all numbers are checked here.
 */

import { closeSync, constants, fstatSync, openSync, readSync, writeSync } from "node:fs";
import { constants as systemConstants } from "node:os";
import { lock, unlock } from "../../shared/lock.ts";
import {
  add,
  bytesOf,
  copyOut,
  load,
  milliseconds,
  type SharedWords,
  waitWhile,
  wordsOf,
} from "../../shared/memory.ts";
import { hexadecimal } from "../../units/counts.ts";
import { checkInteger, InvalidArgumentError, IovaError } from "../../units/errors.ts";
import { append } from "../../units/lists.ts";
import { LAST_MILLISECONDS, type QemuHandle } from "./process.ts";
import { CAUSE, MESSAGE_AT, PHASE, WORD } from "./state.ts";

/** Commands of one write: less than a FIFO takes (64 KiB), so that a write never waits for a QEMU that does not read. */
const LONGEST_WRITE = 48 * 1024;
/** Bytes of memory in one command. */
const CHUNK_BYTES = 16 * 1024;
const LAST_WORDS_BYTES = 2000;
const LONGEST_TAG = 0xffff;
/** Interval at which a thread that waits for the lock checks whether QEMU has ended. */
const LOOK_MILLISECONDS = 100;

/** Files of one thread. */
export interface QtestFiles {
  readonly commands: number;
  readonly replies: number;
  readonly log: number;
  readonly memory: number;
}

/** One thread's view of a QEMU. */
export class Qtest {
  readonly files: QtestFiles;
  readonly #handle: QemuHandle;
  readonly #words: SharedWords;
  readonly #tag: number;
  readonly #buffer: Buffer = Buffer.allocUnsafe(64 * 1024);
  /** Nesting depth of the lock in this thread. */
  #depth = 0;
  #closed = false;

  constructor(handle: QemuHandle, files: QtestFiles) {
    this.#handle = handle;
    this.files = files;
    this.#words = wordsOf(handle.state);
    this.#tag = add(this.#words, WORD.tags, 1) + 1;
    if (this.#tag > LONGEST_TAG) throw new IovaError("no-thread-slot", `${LONGEST_TAG} threads were attached already`);
  }

  /**
   * A view for another thread, with its own files: the creator's files may be closed, and their numbers reused, at any time. Throws
   * IovaError if QEMU has ended.
   */
  static attach(handle: QemuHandle): Qtest {
    if (load(wordsOf(handle.state), WORD.phase) === PHASE.ended) {
      throw new IovaError("qemu-closed", `${handle.commandLine}: can't be attached to, it has ended`);
    }
    const opened: number[] = [];
    const reopen = (file: number, flags: number): number => {
      const own = openSync(`/proc/self/fd/${file}`, flags);
      opened.push(own);
      return own;
    };
    try {
      const commands = reopen(handle.commands, constants.O_RDWR);
      // Opening the FIFO for reading would wait for a writer if QEMU has just ended. This file is such a writer.
      const writer = openSync(`/proc/self/fd/${handle.replies}`, constants.O_RDWR);
      const replies = reopen(handle.replies, constants.O_RDONLY);
      closeSync(writer);
      // The creator may have ended without `close`, and other files may have these numbers now.
      if (![commands, replies].every((file) => fstatSync(file).isFIFO())) throw new Error("its files are gone");
      const log = reopen(handle.log, constants.O_RDWR);
      const memory = reopen(handle.memory, constants.O_RDWR);
      return new Qtest(handle, { commands, replies, log, memory });
    } catch (error) {
      opened.forEach((file) => {
        closeSync(file);
      });
      throw new IovaError(
        "qemu-closed",
        `${handle.commandLine}: can't be attached to, it was closed: ${String(error)}`,
      );
    }
  }

  /** Runs `work` with the machine's lock. May be nested. Throws IovaError if QEMU has ended. */
  locked<Result>(work: () => Result): Result {
    if (this.#depth > 0) return work();
    this.#take();
    this.#depth = 1;
    try {
      return work();
    } finally {
      this.#depth = 0;
      // Even: no thread waits for a reply.
      add(this.#words, WORD.sequence, 1);
      unlock(this.#words, WORD.lock);
    }
  }

  /** Sends commands, waits for all replies and returns the text after each "OK". */
  callAll(commands: readonly string[]): string[] {
    return this.locked(() => {
      const text = `${commands.join("\n")}\n`;
      if (text.length > LONGEST_WRITE)
        throw new InvalidArgumentError("bytes of commands", text.length, `at most ${LONGEST_WRITE}`);
      this.#write(text);
      return this.#replies(commands);
    });
  }

  call(command: string): string {
    return this.callAll([command])[0] as string;
  }

  read32(at: number): number {
    return Number(this.call(`readl ${hex(at)}`)) >>> 0;
  }
  write32(at: number, value: number): void {
    checkInteger("32-bit value", value, 0, 2 ** 32 - 1);
    this.call(`writel ${hex(at)} ${hex(value)}`);
  }
  read64(at: number): bigint {
    return BigInt(this.call(`readq ${hex(at)}`));
  }
  write64(at: number, value: bigint): void {
    this.call(writeq(at, value));
  }

  /** Copies bytes of the physical address space, atomically for devices inside a chunk of 16 KiB. */
  readBytes(at: number, into: Uint8Array): void {
    for (let done = 0; done < into.length; done += CHUNK_BYTES) {
      const bytes = Math.min(CHUNK_BYTES, into.length - done);
      into.set(Buffer.from(this.call(`b64read ${hex(at + done)} ${hex(bytes)}`), "base64"), done);
    }
  }
  writeBytes(at: number, from: Uint8Array): void {
    for (let done = 0; done < from.length; done += CHUNK_BYTES) {
      const bytes = Buffer.from(from.subarray(done, done + CHUNK_BYTES));
      this.call(`b64write ${hex(at + done)} ${hex(bytes.length)} ${bytes.toString("base64")}`);
    }
  }

  /** Makes this view refuse all use. False: it was closed already. */
  markClosed(): boolean {
    const first = !this.#closed;
    this.#closed = true;
    return first;
  }

  /** Closes the files that this view has opened. */
  closeFiles(): void {
    if (!this.markClosed()) return;
    for (const file of Object.values(this.files)) closeSync(file);
  }

  #take(): void {
    if (this.#closed || load(this.#words, WORD.phase) === PHASE.ended) throw this.#endedError("");
    // Within this time the lock's holder gets a reply, or QEMU is ended.
    const deadline = milliseconds() + this.#handle.callMilliseconds + LAST_MILLISECONDS;
    while (lock(this.#words, WORD.lock, this.#tag, LOOK_MILLISECONDS) !== 0) {
      const isOver = load(this.#words, WORD.phase) === PHASE.ended || milliseconds() > deadline;
      if (isOver) throw this.#endedError("wait for another thread");
    }
    add(this.#words, WORD.sequence, 1);
  }

  #write(text: string): void {
    // The text fits the FIFO, so one write suffices.
    writeSync(this.files.commands, text, null, "latin1");
  }

  #replies(commands: readonly string[]): string[] {
    const replies: string[] = [];
    let rest = "";
    while (replies.length < commands.length) {
      const bytes = readSync(this.files.replies, this.#buffer);
      if (bytes === 0) throw this.#endedError(commands[replies.length] as string);
      const lines = (rest + this.#buffer.toString("latin1", 0, bytes)).split("\n");
      rest = lines.pop() as string;
      append(replies, lines);
      add(this.#words, WORD.sequence, 2);
    }
    return replies.map((reply, i) => answerOf(commands[i] as string, reply));
  }

  /** The error for a missing reply. Waits until the watchdog has stored the cause. */
  #endedError(command: string): IovaError {
    const { commandLine, callMilliseconds, state } = this.#handle;
    const during = command === "" ? "" : ` during "${command.slice(0, 60)}"`;
    if (this.#closed) return new IovaError("qemu-closed", `${commandLine}: it was closed`);
    waitWhile(this.#words, WORD.phase, PHASE.running, LAST_MILLISECONDS);
    const cause = load(this.#words, WORD.cause);
    if (cause === CAUSE.closed) return new IovaError("qemu-closed", `${commandLine}: it was closed${during}`);
    if (cause === CAUSE.notStarted) {
      const message = new Uint8Array(load(this.#words, WORD.messageBytes));
      copyOut(bytesOf(state), MESSAGE_AT, message);
      return new IovaError("qemu-died", `${commandLine}: could not be started: ${Buffer.from(message).toString()}`);
    }
    const end = `${commandLine}: ${this.#howEnded()}${during}${this.#lastWords()}`;
    if (cause !== CAUSE.timedOut) return new IovaError("qemu-died", end);
    return new IovaError("qemu-timeout", `no answer in time (${callMilliseconds} ms, longer for the first): ${end}`);
  }

  #howEnded(): string {
    if (load(this.#words, WORD.phase) !== PHASE.ended) return "does not answer, and its end is not known";
    const signal = load(this.#words, WORD.signal);
    if (signal === 0) return `ended with exit code ${load(this.#words, WORD.exitCode)}`;
    const name = Object.entries(systemConstants.signals).find(([, number]) => number === signal)?.[0];
    return `ended by ${name ?? `signal ${signal}`}`;
  }

  #lastWords(): string {
    const { size } = fstatSync(this.files.log);
    const bytes = Buffer.alloc(Math.min(size, LAST_WORDS_BYTES));
    const read = readSync(this.files.log, bytes, 0, bytes.length, size - bytes.length);
    const text = bytes.toString("utf8", 0, read).trim();
    return text === "" ? ", without a word" : `; its last words: ${text}`;
  }
}

/** The command that stores a 64-bit number in the target's byte order, big-endian on these boards. */
export function writeq(at: number, value: bigint): string {
  if (typeof value !== "bigint" || value < 0n || value >= 1n << 64n) {
    throw new InvalidArgumentError("64-bit value", value, "a bigint from 0 to 2^64 - 1");
  }
  return `writeq ${hex(at)} ${hexadecimal(value)}`;
}

/** A number as qtest reads it. Throws InvalidArgumentError unless it is an integer from 0 to 2^53 − 1. */
export function hex(value: number): string {
  checkInteger("number in a qtest command", value, 0, Number.MAX_SAFE_INTEGER);
  return hexadecimal(value);
}

function answerOf(command: string, reply: string): string {
  if (reply.startsWith("OK")) return reply.slice(3);
  throw new IovaError("qemu-refused", `qtest answered "${reply.slice(0, 200)}" to "${command.slice(0, 60)}"`);
}
