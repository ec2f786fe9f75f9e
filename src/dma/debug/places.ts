/**
 * Places of calls: pairs of call stack and owner. Each distinct pair is stored once, so that a record holds a small number. The memory is
 * bounded: at most MAX_PLACES pairs, each with at most `stackFrames` lines of MAX_LINE characters and an owner of MAX_LINE characters.
 *
 * Frames outside of the driver are left out: those of this layer when a stack is captured, those of the runtime when it is read.
 */
import type { Place } from "./misuse.ts";

/** Most distinct places of one device; programs have dozens. */
export const MAX_PLACES = 1024;
/** Longer lines are cut. */
const MAX_LINE = 240;
/** The owner in reports about a mapping whose place was not stored. */
const FORGOTTEN = `(more than ${MAX_PLACES} places: not remembered)`;

/** Most frames of this layer between a driver and a device: those of a DMA pool that allocates coherent memory. */
const LAYER_FRAMES = 2;
/** Matches a frame of the runtime by what it has instead of a file: V8's natives, Node, Deno; Firefox; Safari. */
const RUNTIME_FRAME =
  /(?:[( ](?:node|ext|native|internal):|\(<anonymous>\)$|\(native\)$|\(index \d+\)$|@self-hosted:|@\[native code\])/;
/** The folder of the DMA API, src/dma, or the file that holds it in the package, as stacks print it: with source maps it differs from `import.meta.url`. */
const LAYER = placeOfLayer(String(new Error().stack));

/** A place as text: the owner, then the frames. It is also the key of the place. */
export type PlaceText = string;

/** Extensions of V8 to Error. Other engines have a part of them. */
interface StackCapture {
  stackTraceLimit?: number;
  captureStackTrace?: (into: object, above: (...args: never[]) => unknown) => void;
}

/** The places of one device. */
export class Places {
  readonly #owner: () => string;
  readonly #frames: number;
  readonly #texts: PlaceText[] = [FORGOTTEN];
  readonly #ids = new Map<PlaceText, number>();

  /** `frames`: lines of a stack that are stored. 0 captures no stacks, which saves most of the debug mode's time. */
  constructor(owner: string | (() => string), frames: number) {
    this.#owner = typeof owner === "function" ? owner : () => owner;
    this.#frames = frames;
  }

  /** The place of the current call of `above`, a function on the stack. */
  capture(above: (...args: never[]) => unknown): PlaceText {
    const owner = oneLine(this.#owner());
    if (this.#frames === 0) return owner;
    const stack = stackAbove(above, this.#frames);
    // Captures more frames only if the innermost one (there may be a heading above it) is of this layer: each frame costs time.
    const isDrivers = !stack.split("\n", 2).some(isOfLayer);
    return `${owner}\n${isDrivers ? stack : beyondLayer(stackAbove(above, this.#frames + LAYER_FRAMES), this.#frames)}`;
  }

  /** The number of a place; 0 if the store is full. */
  idOf(text: PlaceText): number {
    const known = this.#ids.get(text);
    if (known !== undefined) return known;
    if (this.#ids.size === MAX_PLACES) return 0;
    const id = this.#texts.push(text) - 1;
    this.#ids.set(text, id);
    return id;
  }

  at(id: number): Place {
    return placeOf(this.#texts[id] ?? FORGOTTEN);
  }

  /** Number of distinct places so far. */
  get count(): number {
    return this.#ids.size;
  }
}

/** Parses a captured text. The first frame is the driver's. */
export function placeOf(text: PlaceText): Place {
  const [owner = "", ...lines] = text.split("\n");
  const frames = lines.filter(isFrame);
  const ofProgram = frames.filter((line) => !RUNTIME_FRAME.test(line));
  // If the stack has no frame of the program, keep the frames of the runtime.
  const told = ofProgram.length > 0 ? ofProgram : frames;
  return { owner, stack: told.map((line) => oneLine(line.trim().replace(/^at /, ""))) };
}

function beyondLayer(stack: string, frames: number): string {
  const lines = stack.split("\n").filter((line) => !isOfLayer(line));
  return cut(lines, frames);
}

/** True for a frame of this layer. Tests and models in its folder count as drivers. */
function isOfLayer(line: string): boolean {
  return LAYER !== undefined && line.includes(LAYER) && !/\.(?:test|model)\./.test(line);
}

/**
 * Finds the layer in a stack whose innermost frame is in this file: its folder, or in the package, where this file is part of
 * dist/iova-debug.js, the file dist/iova-core.js. Undefined if that frame is of another file, as in a user's bundle.
 */
function placeOfLayer(stack: string): string | undefined {
  const [, folder, file] =
    /^.*?(?:at |[(@])((?:file:\/\/)?[^\n(@]*[\\/])(debug[\\/]places|iova-debug)\.[jt]s/.exec(
      stack.replace(/^Error\n/, ""),
    ) ?? [];
  return file === "iova-debug" ? `${folder}iova-core.js` : folder;
}

/** The stack above the frame of `above`, innermost frame first, as the engine prints it. `placeOf` parses it. */
function stackAbove(above: (...args: never[]) => unknown, frames: number): string {
  const capture = Error as StackCapture;
  if (capture.captureStackTrace === undefined) return cut(framesBelow(above.name, new Error().stack), frames);
  const limit = capture.stackTraceLimit;
  const holder = { stack: "" };
  // Reflect: a program may have frozen Error. The stack has ten lines then, and extra lines are cut.
  const isLimited = Reflect.set(capture, "stackTraceLimit", frames);
  try {
    capture.captureStackTrace(holder, above);
    // A program may have replaced Error.prepareStackTrace: then the stack can be any value.
    const stack: unknown = holder.stack;
    return typeof stack === "string" && isLimited && stack.length <= frames * MAX_LINE
      ? stack
      : cut(String(stack).split("\n"), frames);
  } finally {
    Reflect.set(capture, "stackTraceLimit", limit);
  }
}

/** For engines without captureStackTrace: the frames after that of the function `above` (lines `name@position`). */
function framesBelow(above: string, stack: string | undefined): string[] {
  const lines = (stack ?? "").split("\n");
  return lines.slice(lines.findIndex((line) => line.startsWith(`${above}@`)) + 1);
}

/** Keeps `frames` lines, each cut to MAX_LINE characters. */
function cut(lines: readonly string[], frames: number): string {
  return lines.filter(isFrame).slice(0, frames).map(oneLine).join("\n");
}

function isFrame(line: string): boolean {
  return /^\s+at |@/.test(line);
}

function oneLine(text: string): string {
  const line = String(text).replaceAll("\n", " ");
  return line.length > MAX_LINE ? `${line.slice(0, MAX_LINE - 1)}…` : line;
}
