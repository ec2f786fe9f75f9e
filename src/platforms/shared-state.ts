/**
 * State that the threads of a platform share, besides its table: a version, to refuse handles of another version of the library, and
 * whether the table was removed, after which every use throws. For platforms whose tables can be removed.
 */
import { createShared, load, type SharedBuffer, type SharedWords, store, wordsOf } from "../shared/memory.ts";
import { checkHandle, type HandleField } from "../table/handle.ts";
import type { IommuTable, TableHandle } from "../table/iommu-table.ts";
import { FormatError, IovaError } from "../units/errors.ts";

/** `ending`: 1 once a thread has begun to remove the table; `gone`: 1 once it is removed. */
const WORD = { version: 0, gone: 1, ending: 2 } as const;
const WORDS = 4;
/** Raised with every change that another version could misread. */
const VERSION = 2;

/** The common part of the platforms' handles. */
export interface PlatformHandle {
  /**
   * Shared buffer of the platform's own state.
   *
   * @internal
   */
  readonly state: SharedBuffer;
  /**
   * Handle of the generic table.
   *
   * @internal
   */
  readonly table: TableHandle;
}

/** One thread's view. */
export class SharedState {
  readonly buffer: SharedBuffer;
  readonly #words: SharedWords;

  private constructor(buffer: SharedBuffer) {
    this.buffer = buffer;
    this.#words = wordsOf(buffer);
  }

  static create(): SharedState {
    const state = new SharedState(createShared(WORDS * 4));
    store(state.#words, WORD.version, VERSION);
    return state;
  }

  /** Throws FormatError unless this is a handle of `whose` (such as "a sun4v platform") with state, table and these fields. */
  static attach(whose: string, handle: PlatformHandle, fields: Readonly<Record<string, HandleField>>): SharedState {
    checkHandle(whose, handle, { ...fields, state: "shared", table: "table" });
    if (handle.state.byteLength !== WORDS * 4) throw new FormatError(`the handle is not that of ${whose}`);
    const state = new SharedState(handle.state);
    const version = load(state.#words, WORD.version);
    if (version === VERSION) return state;
    throw new FormatError(`the handle is that of ${whose} of version ${version}; this library has version ${VERSION}`);
  }

  /**
   * True once a thread has begun to remove the table. If that thread has died, the hypervisor may have removed the table already: the next
   * removal does not expect it to be there.
   */
  get isEnding(): boolean {
    return load(this.#words, WORD.ending) !== 0;
  }

  /** Stored before the first call that can't be undone. */
  markEnding(): void {
    store(this.#words, WORD.ending, 1);
  }

  /** True after the table was removed. */
  get isGone(): boolean {
    return load(this.#words, WORD.gone) !== 0;
  }

  markGone(): void {
    store(this.#words, WORD.gone, 1);
  }
}

/** Throws IovaError "in-use" while ranges of the table are live. */
export function checkNothingLive(table: IommuTable): void {
  for (const [thread, [range]] of table.leaks()) {
    if (range === undefined) continue;
    const message = `entries [${range.first}, ${range.end}) of thread ${thread} are in use; unmap them first`;
    throw new IovaError("in-use", message);
  }
}
