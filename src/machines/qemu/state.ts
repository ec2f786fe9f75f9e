/**
 * What the threads of one QEMU machine and its watchdog share: words of one buffer.
 *
 * Who writes: the watchdog `phase` (a creator that gives up at the start, too), `exitCode` and `signal`; the lock's holder `sequence`;
 * whoever comes first `cause`. The watchdog stores `phase` last, and a caller that has read end-of-file waits for it: that orders the rest.
 */
import type { SharedBuffer } from "../../shared/memory.ts";

/** Indexes of words. The lock, the sequence and the rest stand in lines of their own. */
export const WORD = {
  phase: 0,
  /** Why QEMU was ended by us. */
  cause: 1,
  /** Exit code, or −1 when a signal ended it. */
  exitCode: 2,
  /** Number of the signal that ended it, or 0. */
  signal: 3,
  /** Lock tags given out. */
  tags: 4,
  /** Bytes of the message that stands at MESSAGE_AT: why QEMU could not be started. */
  messageBytes: 5,
  /** Odd while a thread holds the lock; moves with every reply. */
  sequence: 32,
  lock: 64,
} as const;

/** Byte offset of the message, and the size of the whole buffer. */
export const MESSAGE_AT = 512;
export const STATE_BYTES = 2048;

/**
 * `spawning`: the watchdog is about to pass the creator's files on. Creator and watchdog leave `starting` by compare-and-swap, so that a
 * creator that has waited for long enough closes them before or after, never meanwhile.
 */
export const PHASE = { starting: 0, spawning: 1, running: 2, ended: 3 } as const;
export const CAUSE = { none: 0, timedOut: 1, closed: 2, notStarted: 3 } as const;

/** What the watchdog is given. */
export interface WatchdogJob {
  readonly state: SharedBuffer;
  readonly program: string;
  readonly args: readonly string[];
  /** Open files for QEMU: its stdin, stdout and stderr, then those it finds as /dev/fd/4, /dev/fd/5 … */
  readonly standard: readonly [number, number, number];
  readonly others: readonly number[];
  /** How long the first answer may take, and every later one. */
  readonly startMilliseconds: number;
  readonly callMilliseconds: number;
}
