/** Where text goes: colours and progress only where a person looks. */
import { styleText } from "node:util";
import { SingleBar } from "./vendor.ts";

export type Style = "bold" | "dim" | "red" | "green" | "yellow" | "cyan";
/** Text in a style, or as it is. */
export type Paint = (style: Style, text: string) => string;

/** The streams of a command; tests put their own in its place. */
export interface Terminal {
  out(text: string): void;
  error(text: string): void;
  readonly paint: Paint;
  readonly paintError: Paint;
  /** Shows how far long work is, on standard error, if that is a terminal. */
  progress(what: string): Progress;
}

/** Functions that need no `this`: they are handed on. */
export interface Progress {
  /** 0 .. 1. */
  readonly at: (done: number) => void;
  readonly stop: () => void;
}

export const PLAIN: Paint = (_style, text) => text;

/** The process's own streams. */
export function processTerminal(): Terminal {
  // `iova replay … | head`: the reader has what it wanted.
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
    process.exit(0);
  });
  return {
    out: (text) => void process.stdout.write(text),
    error: (text) => void process.stderr.write(text),
    paint: paintFor(process.stdout),
    paintError: paintFor(process.stderr),
    progress: (what) => (process.stderr.isTTY === true ? bar(what) : { at: () => {}, stop: () => {} }),
  };
}

/** NO_COLOR (https://no-color.org) and FORCE_COLOR are honoured. */
function paintFor(stream: NodeJS.WriteStream): Paint {
  const { NO_COLOR: none, FORCE_COLOR: force } = process.env;
  const wanted =
    force !== undefined && force !== "0" ? true : stream.isTTY === true && (none === undefined || none === "");
  return wanted ? (style, text) => styleText(style, text) : PLAIN;
}

function bar(what: string): Progress {
  const line = new SingleBar({
    format: `${what} [{bar}] {percentage} %`,
    stream: process.stderr,
    barCompleteChar: "#",
    barIncompleteChar: ".",
    barsize: 40,
    hideCursor: true,
    clearOnComplete: true,
  });
  line.start(100, 0);
  const isOver = whenCutOff(() => line.stop());
  return {
    at: (done) => line.update(Math.floor(done * 100)),
    stop: () => {
      isOver();
      line.stop();
    },
  };
}

/** Runs `tidy` if the process ends by Ctrl-C or by itself before the returned function is called: a bar hides the cursor. */
function whenCutOff(tidy: () => void): () => void {
  const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
  const cut = (signal: NodeJS.Signals): void => {
    isOver();
    tidy();
    // Nobody listens any more: the process ends by the signal, as its parent expects.
    process.kill(process.pid, signal);
  };
  const isOver = (): void => {
    process.off("exit", tidy);
    for (const signal of signals) process.off(signal, cut);
  };
  process.once("exit", tidy);
  for (const signal of signals) process.once(signal, cut);
  return isOver;
}
