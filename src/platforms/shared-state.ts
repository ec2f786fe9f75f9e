/**
 * What the threads of a platform share beside its table: a version, by which handles of another library are known, and whether the
 * table has been given back, after which every use of it throws. For platforms whose tables can be given back by one call.
 */
import { createShared, load, type SharedBuffer, type SharedWords, store, wordsOf } from "../shared/memory.ts";
import { checkHandle, type HandleField } from "../table/handle.ts";
import type { IommuTable, TableHandle } from "../table/iommu-table.ts";
import { FormatError, IovaError } from "../units/errors.ts";

const WORD = { version: 0, gone: 1 } as const;
const WORDS = 4;
/** Raised with every change that another version could misread. */
const VERSION = 1;

/** The part of a platform's handle that is the same for all of them. */
export interface PlatformHandle {
  readonly state: SharedBuffer;
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

  /** Throws FormatError for what is no handle of `whose`, such as "a sun4v platform", with these fields beside state and table. */
  static attach(whose: string, handle: PlatformHandle, fields: Readonly<Record<string, HandleField>>): SharedState {
    checkHandle(whose, handle, { ...fields, state: "shared", table: "table" });
    if (handle.state.byteLength !== WORDS * 4) throw new FormatError(`the handle is not that of ${whose}`);
    const state = new SharedState(handle.state);
    const version = load(state.#words, WORD.version);
    if (version === VERSION) return state;
    throw new FormatError(`the handle is that of ${whose} of version ${version}; this library has version ${VERSION}`);
  }

  /** Has the table been given back? */
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
