/**
 * A thread of explored code: its function, and the log of its accesses. A new run of the function reads from the log
 * until it has reached the thread's position.
 */

// States.
export const READY = 0;
export const SLEEPING = 1;
export const RETURNED = 2;
export const THREW = 3;
export const KILLED = 4;
/** A reclaimer of a thread that has not died yet. */
export const UNBORN = 5;

/** The outcome of one thread. */
export interface ThreadOutcome {
  readonly state: "returned" | "threw" | "killed" | "unfinished";
  /** The function's result. */
  readonly value: unknown;
  /** The error that it threw. */
  readonly error: unknown;
}

export class LogicalThread {
  readonly number: number;
  readonly body: () => unknown;
  state: number = READY;
  value: unknown = undefined;
  error: unknown = undefined;

  /** Accesses in the log. */
  length = 0;
  /** unit << 5 | kind, of each. */
  signatures: Int32Array = new Int32Array(256);
  /** The result of each access; the stored value of accesses without a result. */
  values: Float64Array = new Float64Array(256);
  /** Bytes that `copyOut` delivered, by position in the log. */
  readonly copies: Map<number, Uint8Array> = new Map();

  /** It has changed something since its death was last offered: dying now would differ from dying then. */
  changedSince = true;
  /** While it sleeps: the unit, and its deadline on the explorer's clock. */
  sleepsOn = 0;
  deadline = 0;

  constructor(number: number, body: () => unknown) {
    this.number = number;
    this.body = body;
  }

  restart(state: number): void {
    this.state = state;
    this.value = undefined;
    this.error = undefined;
    this.length = 0;
    this.changedSince = true;
    if (this.copies.size > 0) this.copies.clear();
  }

  log(signature: number, value: number): void {
    if (this.length === this.signatures.length) this.#grow();
    this.signatures[this.length] = signature;
    this.values[this.length] = value;
    this.length++;
  }

  outcome(): ThreadOutcome {
    const { value, error } = this;
    if (this.state === RETURNED) return { state: "returned", value, error: undefined };
    if (this.state === THREW) return { state: "threw", value: undefined, error };
    return { state: this.state === KILLED ? "killed" : "unfinished", value: undefined, error: undefined };
  }

  #grow(): void {
    const signatures = new Int32Array(this.signatures.length * 2);
    const values = new Float64Array(this.values.length * 2);
    signatures.set(this.signatures);
    values.set(this.values);
    this.signatures = signatures;
    this.values = values;
  }
}
