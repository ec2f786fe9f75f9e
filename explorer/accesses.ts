/**
 * The kinds of access that explored code makes, one per function of src/shared/memory.ts, and what each means for the order
 * of threads. Plain small numbers: they are compared on the explorer's hottest path.
 */

export const LOAD = 0;
export const STORE = 1;
export const ADD = 2;
export const EXCHANGE = 3;
export const COMPARE_EXCHANGE = 4;
export const LOAD_HALF = 5;
export const COMPARE_EXCHANGE_HALF = 6;
export const WAIT = 7;
export const NOTIFY = 8;
export const GLANCE = 9;
export const GLANCE_HALF = 10;
export const HINT = 11;
export const PEEK = 12;
export const PEEK_HALF = 13;
export const POKE = 14;
export const POKE_HALF = 15;
export const COPY_OUT = 16;
export const COPY_IN = 17;
export const ZERO = 18;
export const CLOCK = 19;

/** Names for traces: the functions of src/shared/memory.ts. */
export const ACCESS_NAMES: readonly string[] = [
  "load",
  "store",
  "add",
  "exchange",
  "compareExchange",
  "loadHalf",
  "compareExchangeHalf",
  "waitWhile",
  "notify",
  "glance",
  "glanceHalf",
  "hintTo",
  "peek",
  "peekHalf",
  "poke",
  "pokeHalf",
  "copyOut",
  "copyIn",
  "zero",
  "milliseconds",
];

/** True if an access of this kind may exchange values with an unordered access of another thread. */
export function synchronises(kind: number): boolean {
  return kind <= HINT;
}

// Classes of accesses for the happens-before check.
export const PLAIN_READ = 0;
export const PLAIN_WRITE = 1;
export const ATOMIC_READ = 2;
export const ATOMIC_WRITE = 3;
/** An atomic read and write in one. */
export const ATOMIC_UPDATE = 4;
export const RELAXED_READ = 5;
export const RELAXED_WRITE = 6;

/**
 * The class of each kind. A compareExchange that stores nothing is an ATOMIC_READ; of a halfword, a RELAXED_READ. The execution makes that
 * distinction.
 */
export const ORDER_OF: readonly number[] = [
  ATOMIC_READ,
  ATOMIC_WRITE,
  ATOMIC_UPDATE,
  ATOMIC_UPDATE,
  ATOMIC_UPDATE,
  ATOMIC_READ,
  ATOMIC_UPDATE,
  ATOMIC_READ,
  RELAXED_READ,
  RELAXED_READ,
  RELAXED_READ,
  RELAXED_WRITE,
  PLAIN_READ,
  PLAIN_READ,
  PLAIN_WRITE,
  PLAIN_WRITE,
  PLAIN_READ,
  PLAIN_WRITE,
  PLAIN_WRITE,
];

/** True if an access of this class changes the stored value. */
export function writes(order: number): boolean {
  return order === PLAIN_WRITE || order === ATOMIC_WRITE || order === ATOMIC_UPDATE || order === RELAXED_WRITE;
}
