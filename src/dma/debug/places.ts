/**
 * Where calls come from: call stacks and owners, each distinct pair kept once, so that a record holds a small number. The memory is
 * bounded: at most MAX_PLACES pairs, of at most `stackFrames` lines of MAX_LINE characters each, and an owner of as many.
 *
 * Frames that say nothing about the driver are left out: this layer's own when a stack is captured, the runtime's when it is read.
 */
import type { Place } from "./misuse.ts";

/** Distinct places that one device remembers; programs have dozens. */
export const MAX_PLACES = 1024;
/** Longer lines are cut. */
const MAX_LINE = 240;
/** What is said of a mapping that was made at a further place. */
const FORGOTTEN = `(more than ${MAX_PLACES} places: not remembered)`;

/** Frames of this layer that can stand between a driver and a device: a dma pool that takes coherent memory. */
const LAYER_FRAMES = 2;
/** What a frame of the runtime, and not of a program, has in place of a file: V8's natives, Node, Deno; Firefox; Safari. */
const RUNTIME_FRAME =
  /(?:[( ](?:node|ext|native|internal):|\(<anonymous>\)$|\(native\)$|\(index \d+\)$|@self-hosted:|@\[native code\])/;
/** The folder of the DMA API, src/dma, in the words of a stack: with source maps it is not that of `import.meta.url`. */
const LAYER = folderOfLayer(String(new Error().stack));

/** A place as text: the owner, and below it the frames. The key that it is kept by. */
export type PlaceText = string;

/** What V8 adds to Error, and other engines have in part. */
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

  /** `frames`: how many lines of a stack are kept; 0 captures none, and saves most of the debug mode's time. */
  constructor(owner: string | (() => string), frames: number) {
    this.#owner = typeof owner === "function" ? owner : () => owner;
    this.#frames = frames;
  }

  /** The place that calls `above`, a function that is now being called. */
  capture(above: (...args: never[]) => unknown): PlaceText {
    const owner = oneLine(this.#owner());
    if (this.#frames === 0) return owner;
    const stack = stackAbove(above, this.#frames);
    // The innermost frame tells (there may be a heading above it): only then more is captured, since each frame takes the engine time.
    const isDrivers = !stack.split("\n", 2).some(isOfLayer);
    return `${owner}\n${isDrivers ? stack : beyondLayer(stackAbove(above, this.#frames + LAYER_FRAMES), this.#frames)}`;
  }

  /** The number of a place; 0 when there is no room for another. */
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

  /** Distinct places so far. */
  get count(): number {
    return this.#ids.size;
  }
}

/** A captured text, to be read: the first frame is the driver's. */
export function placeOf(text: PlaceText): Place {
  const [owner = "", ...lines] = text.split("\n");
  const frames = lines.filter(isFrame);
  const ofProgram = frames.filter((line) => !RUNTIME_FRAME.test(line));
  // What was called by the runtime alone, as far as the stack goes, is told as it is.
  const told = ofProgram.length > 0 ? ofProgram : frames;
  return { owner, stack: told.map((line) => oneLine(line.trim().replace(/^at /, ""))) };
}

function beyondLayer(stack: string, frames: number): string {
  const lines = stack.split("\n").filter((line) => !isOfLayer(line));
  return cut(lines, frames);
}

/** Tests and models stand beside what they test, and are drivers. */
function isOfLayer(line: string): boolean {
  return LAYER !== undefined && line.includes(LAYER) && !/\.(?:test|model)\./.test(line);
}

/** From a stack whose innermost frame is this file's; undefined where it is none, as in a program that was bundled into one file. */
function folderOfLayer(stack: string): string | undefined {
  return /^.*?(?:at |[(@])((?:file:\/\/)?[^\n(@]*[\\/])debug[\\/]places\.[jt]s/.exec(
    stack.replace(/^Error\n/, ""),
  )?.[1];
}

/** The stack above the frame of `above`, innermost frame first, as the engine writes it: it is taken apart when it is read. */
function stackAbove(above: (...args: never[]) => unknown, frames: number): string {
  const capture = Error as StackCapture;
  if (capture.captureStackTrace === undefined) return cut(framesBelow(above.name, new Error().stack), frames);
  const limit = capture.stackTraceLimit;
  const holder = { stack: "" };
  // Reflect: a program may have frozen Error; the stack has ten lines then, of which those beyond are cut.
  const isLimited = Reflect.set(capture, "stackTraceLimit", frames);
  try {
    capture.captureStackTrace(holder, above);
    // A program may have replaced Error.prepareStackTrace: then a stack is whatever that makes.
    const stack: unknown = holder.stack;
    return typeof stack === "string" && isLimited && stack.length <= frames * MAX_LINE
      ? stack
      : cut(String(stack).split("\n"), frames);
  } finally {
    Reflect.set(capture, "stackTraceLimit", limit);
  }
}

/** For engines that can't leave frames out: those behind that of the function `above` (`name@place`, a frame a line). */
function framesBelow(above: string, stack: string | undefined): string[] {
  const lines = (stack ?? "").split("\n");
  return lines.slice(lines.findIndex((line) => line.startsWith(`${above}@`)) + 1);
}

/** So many frames, each of at most MAX_LINE characters. */
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
