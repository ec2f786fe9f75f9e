/** Output of the command line: colours and progress on terminals only, lines as wide as the screen. */
import { styleText } from "node:util";
import { watchOutputs } from "./output-errors.ts";
import { SingleBar } from "./vendor.ts";
import { widthOf } from "./width.ts";

export type Style = "bold" | "dim" | "red" | "green" | "yellow" | "cyan";
/** Puts text in a style; without colours it returns the text unchanged. */
export type Paint = (style: Style, text: string) => string;

/** The streams of a command; tests put their own in its place. */
export interface Terminal {
  out(text: string): void;
  error(text: string): void;
  /** Columns of standard output, 40 .. 120: a line of text is longer only if it can't be broken. */
  readonly width: number;
  /** The locale's characters are UTF-8, so that block characters may be drawn. */
  readonly isUtf8: boolean;
  readonly paint: Paint;
  readonly paintError: Paint;
  /**
   * Shows how far long work is, on standard error, if that is a terminal that can move its cursor.
   * @param afterMs - work that is over sooner shows nothing; 1000 when absent
   */
  progress(what: string, afterMs?: number): Progress;
  /** From now on a reader who closes standard output does not end the command: it has a file to write. */
  outliveReader(): void;
}

/** Functions that need no `this`: they are handed on. */
export interface Progress {
  /** 0 .. 1. */
  readonly at: (done: number) => void;
  readonly stop: () => void;
}

export const PLAIN: Paint = (_style, text) => text;

/** A bar for work of a moment would only flicker. */
const BAR_AFTER_MS = 1000;
/** Columns of a bar, where the line has room for them. */
const BAR_COLUMNS = 40;
/** Columns of a bar's line beside its text and the bar itself: ` [] 100 %`. */
const BAR_FRAME_COLUMNS = 10;

/** The process's own streams; to be made once. */
export function processTerminal(): Terminal {
  const paintError = paintFor(process.stderr);
  const outputs = watchOutputs(() => paintError("red", "iova:"));
  return {
    out: (text) => void process.stdout.write(text),
    error: (text) => void process.stderr.write(text),
    width: widthOf(process.stdout, process.env["COLUMNS"]),
    isUtf8: isUtf8Locale(process.env),
    paint: paintFor(process.stdout),
    paintError,
    outliveReader: outputs.outliveReader,
    progress: (what, afterMs = BAR_AFTER_MS) =>
      takesEscapes(process.stderr) ? bar(what, afterMs) : { at: () => {}, stop: () => {} },
  };
}

/** True if the locale is UTF-8: the first of LC_ALL, LC_CTYPE and LANG that is set counts. */
export function isUtf8Locale(environment: Readonly<Record<string, string | undefined>>): boolean {
  const locale = environment["LC_ALL"] || environment["LC_CTYPE"] || environment["LANG"] || "";
  return /utf-?8/i.test(locale);
}

/** TERM=dumb: a terminal that shows escape sequences as text, as editors' shells do. */
function takesEscapes(stream: NodeJS.WriteStream): boolean {
  return stream.isTTY === true && process.env["TERM"] !== "dumb";
}

/** NO_COLOR (https://no-color.org) and FORCE_COLOR are honoured. */
function paintFor(stream: NodeJS.WriteStream): Paint {
  const { NO_COLOR: none, FORCE_COLOR: force } = process.env;
  const wanted =
    force !== undefined && force !== "0" ? true : takesEscapes(stream) && (none === undefined || none === "");
  // The question of this stream is answered here; styleText itself would ask standard output.
  return wanted ? (style, text) => styleText(style, text, { validateStream: false }) : PLAIN;
}

function bar(what: string, afterMs: number): Progress {
  const room = (process.stderr.columns || 80) - what.length - BAR_FRAME_COLUMNS;
  const line = new SingleBar({
    format: `${what} [{bar}] {percentage} %`,
    stream: process.stderr,
    barCompleteChar: "#",
    barIncompleteChar: ".",
    barsize: Math.max(5, Math.min(BAR_COLUMNS, room)),
    hideCursor: true,
    clearOnComplete: true,
  });
  const begun = performance.now();
  let isOver: (() => void) | undefined;
  return {
    at: (done) => {
      if (isOver === undefined) {
        if (performance.now() - begun < afterMs) return;
        line.start(100, 0);
        isOver = whenCutOff(() => line.stop());
      }
      line.update(Math.floor(done * 100));
    },
    stop: () => {
      if (isOver === undefined) return;
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
    // No listener is left: the process ends by the signal, as its parent expects.
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
