/**
 * Where calls come from: call stacks and owners, each distinct pair kept once, so that a record holds a small number. The memory is
 * bounded: at most MAX_PLACES pairs, of at most `stackFrames` lines of MAX_LINE characters each, and an owner of as many.
 */
import type { Place } from "./misuse.ts";

/** Distinct places that one device remembers; programs have dozens. */
export const MAX_PLACES = 1024;
/** Longer lines are cut. */
const MAX_LINE = 240;
/** What is said of a mapping that was made at a further place. */
const FORGOTTEN = `(more than ${MAX_PLACES} places: not remembered)`;

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
    return this.#frames === 0 ? owner : `${owner}\n${framesAbove(above, this.#frames)}`;
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

/** A captured text, to be read. */
export function placeOf(text: PlaceText): Place {
  const [owner = "", ...stack] = text.split("\n");
  return { owner, stack: stack.filter((frame) => frame !== "") };
}

/** The frames of the stack above that of `above`, innermost first. */
function framesAbove(above: (...args: never[]) => unknown, frames: number): string {
  const capture = Error as StackCapture;
  if (capture.captureStackTrace === undefined) return framesOf(new Error().stack, frames, above.name);
  const limit = capture.stackTraceLimit;
  const holder = { stack: "" };
  // Reflect: a program may have frozen Error; the stack has ten lines then.
  Reflect.set(capture, "stackTraceLimit", frames);
  try {
    capture.captureStackTrace(holder, above);
    return framesOf(holder.stack, frames, undefined);
  } finally {
    Reflect.set(capture, "stackTraceLimit", limit);
  }
}

/**
 * A stack's text as bare frames. `above`: frames down to this function's are left out, for engines that can't do that themselves
 * (`name@place`, a frame a line).
 */
function framesOf(stack: unknown, frames: number, above: string | undefined): string {
  // A program may have replaced Error.prepareStackTrace: then a stack is whatever that makes.
  const lines = String(stack).split("\n");
  const heading = lines.findIndex((line) => isFrame(line));
  if (heading < 0) return "";
  const own = above === undefined ? -1 : lines.findIndex((line) => line.startsWith(`${above}@`));
  const first = Math.max(heading, own + 1);
  return lines
    .slice(first, first + frames)
    .filter((line) => line !== "")
    .map((line) => oneLine(line.trim().replace(/^at /, "")))
    .join("\n");
}

function isFrame(line: string): boolean {
  return /^\s+at |@/.test(line);
}

function oneLine(text: string): string {
  const line = String(text).replaceAll("\n", " ");
  return line.length > MAX_LINE ? `${line.slice(0, MAX_LINE - 1)}…` : line;
}
