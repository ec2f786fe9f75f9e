/**
 * The shared memory of explored code: its buffers, the views over them, and an undo log that takes a schedule's writes back, so
 * that the next one starts from the same bytes. Also the places: every halfword of every buffer has a number, its **unit**, by
 * which races are found whatever view an access came through.
 */

/** A view of words or halfwords, standing in for `SharedWords` or `SharedHalves`. */
export class View {
  readonly array: Int32Array | Uint16Array;
  /** Unit of element 0. */
  readonly firstUnit: number;
  /** 1: an element is a word, two units. 0: a halfword. */
  readonly unitShift: 0 | 1;
  readonly storage: Storage;
  constructor(array: Int32Array | Uint16Array, firstUnit: number, unitShift: 0 | 1, storage: Storage) {
    this.array = array;
    this.firstUnit = firstUnit;
    this.unitShift = unitShift;
    this.storage = storage;
  }
}

/** A view of bytes, standing in for `SharedBytes`. */
export class ByteView {
  readonly array: Uint8Array;
  /** Number of byte 0: twice its unit, plus 1 for a halfword's second byte. */
  readonly firstByte: number;
  readonly storage: Storage;
  constructor(array: Uint8Array, firstByte: number, storage: Storage) {
    this.array = array;
    this.firstByte = firstByte;
    this.storage = storage;
  }
}

interface Registered {
  readonly buffer: SharedArrayBuffer;
  readonly firstUnit: number;
}

/** Most halfwords that one exploration can hold: 32 MiB of shared memory. */
const MOST_UNITS = 1 << 24;

/** All shared memory of one exploration. */
export class Storage {
  readonly #buffers: Registered[] = [];
  #units = 0;
  /** By word (unit >> 1): 1 when halfwords of it may be accessed, so that its two units must be told apart. */
  split: Uint8Array = new Uint8Array(1 << 12);

  #undoArrays: (Int32Array | Uint16Array)[] = [];
  #undoAt: number[] = [];
  #undoOld: number[] = [];
  #undoCount = 0;
  /** True while writes are logged, to be undone. */
  recording = false;

  /** Units in use: one more than the highest. Even. */
  get units(): number {
    return this.#units;
  }

  words(buffer: SharedArrayBuffer, byteOffset = 0, length?: number): View {
    const first = this.#firstUnit(buffer);
    return new View(new Int32Array(buffer, byteOffset, length), first + byteOffset / 2, 1, this);
  }

  halves(buffer: SharedArrayBuffer, byteOffset = 0, length?: number): View {
    const first = this.#firstUnit(buffer);
    const array = new Uint16Array(buffer, byteOffset, length);
    const view = new View(array, first + byteOffset / 2, 0, this);
    const firstWord = view.firstUnit >> 1;
    const endWord = (view.firstUnit + array.length + 1) >> 1;
    if (this.recording && this.split.subarray(firstWord, endWord).includes(0)) {
      throw new Error("explored threads can't make a view of halfwords over words if the set-up has made none");
    }
    this.split.fill(1, firstWord, endWord);
    return view;
  }

  bytes(buffer: SharedArrayBuffer, byteOffset = 0, length?: number): ByteView {
    const first = this.#firstUnit(buffer);
    return new ByteView(new Uint8Array(buffer, byteOffset, length), first * 2 + byteOffset, this);
  }

  /** Writes one element; logs its old value. */
  write(array: Int32Array | Uint16Array, at: number, value: number): void {
    if (this.recording) {
      const i = this.#undoCount++;
      this.#undoArrays[i] = array;
      this.#undoAt[i] = at;
      this.#undoOld[i] = array[at] as number;
    }
    array[at] = value;
  }

  /** Writes bytes through their halfwords, so that they are in the undo log. `from` undefined: zeros. */
  writeBytes(bytes: Uint8Array, at: number, length: number, from: Uint8Array | undefined): void {
    const start = bytes.byteOffset + at;
    const all = new Uint8Array(bytes.buffer);
    const halves = new Uint16Array(bytes.buffer, 0, bytes.buffer.byteLength >> 1);
    for (let half = start >> 1; half << 1 < start + length; half++) {
      const pair = [all[half * 2] as number, all[half * 2 + 1] as number];
      for (let i = 0; i < 2; i++) {
        const place = half * 2 + i - start;
        if (place >= 0 && place < length) pair[i] = from === undefined ? 0 : (from[place] as number);
      }
      this.write(halves, half, (pair[0] as number) | ((pair[1] as number) << 8)); // the engine's order: little-endian
    }
  }

  /** Undoes every logged write. */
  undo(): void {
    for (let i = this.#undoCount - 1; i >= 0; i--) {
      (this.#undoArrays[i] as Int32Array)[this.#undoAt[i] as number] = this.#undoOld[i] as number;
    }
    this.#undoCount = 0;
  }

  /** Where a unit lies: number of the buffer, in order of registration, and byte offset in it. */
  placeOf(unit: number): { readonly buffer: number; readonly byteOffset: number } {
    let buffer = 0;
    while (buffer + 1 < this.#buffers.length && (this.#buffers[buffer + 1] as Registered).firstUnit <= unit) buffer++;
    const first = this.#buffers[buffer]?.firstUnit ?? 0;
    return { buffer, byteOffset: (unit - first) * 2 };
  }

  #firstUnit(buffer: SharedArrayBuffer): number {
    for (const known of this.#buffers) if (known.buffer === buffer) return known.firstUnit;
    if (this.recording) throw new Error("explored code uses memory that the set-up has not made");
    const firstUnit = this.#units;
    this.#buffers.push({ buffer, firstUnit });
    this.#units += ((buffer.byteLength + 3) >> 2) << 1;
    if (this.#units > MOST_UNITS)
      throw new RangeError(`explored memory: ${this.#units * 2} bytes; expected at most 32 MiB`);
    if (this.split.length < this.#units >> 1) {
      const wider = new Uint8Array(2 ** Math.ceil(Math.log2(this.#units)));
      wider.set(this.split);
      this.split = wider;
    }
    return firstUnit;
  }
}
