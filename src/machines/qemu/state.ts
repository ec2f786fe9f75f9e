/**
 * The words that the threads of a QEMU machine and its watchdog share.
 *
 * Writers: the watchdog writes `phase` (as does a creator that times out at the start), `exitCode` and `signal`; the lock's holder writes
 * `sequence`; the first thread that ends QEMU writes `cause`. The watchdog stores `phase` last. A caller that has read end-of-file waits
 * for it, which orders the other words.
 */
import type { SharedBuffer } from "../../shared/memory.ts";

/** Indexes of words. The lock, the sequence and the other words lie in separate cache lines. */
export const WORD = {
  phase: 0,
  /** Why this process ended QEMU. */
  cause: 1,
  /** Exit code, or −1 if a signal ended it. */
  exitCode: 2,
  /** Number of the signal that ended it, or 0. */
  signal: 3,
  /** Number of lock tags given out. */
  tags: 4,
  /** Bytes of the message at MESSAGE_AT, which says why QEMU could not be started. */
  messageBytes: 5,
  /** Odd while a thread holds the lock; changes with every reply. */
  sequence: 32,
  lock: 64,
} as const;

/** Byte offset of the message, and the size of the whole buffer. */
export const MESSAGE_AT = 512;
export const STATE_BYTES = 2048;

/**
 * `spawning`: the watchdog is about to pass the creator's files on. Creator and watchdog leave `starting` by compare-and-swap, so that a
 * creator that times out closes the files before or after that, not during it.
 */
export const PHASE = { starting: 0, spawning: 1, running: 2, ended: 3 } as const;
export const CAUSE = { none: 0, timedOut: 1, closed: 2, notStarted: 3 } as const;

/** The watchdog's job. */
export interface WatchdogJob {
  readonly state: SharedBuffer;
  readonly program: string;
  readonly args: readonly string[];
  /** Open files for QEMU: its stdin, stdout and stderr, then those that become /dev/fd/4, /dev/fd/5 … */
  readonly standard: readonly [number, number, number];
  readonly others: readonly number[];
  /** Time limits in milliseconds of the first answer and of later ones. */
  readonly startMilliseconds: number;
  readonly callMilliseconds: number;
}
