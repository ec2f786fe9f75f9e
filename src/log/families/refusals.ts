/**
 * Helpers of the shapes of refused maps. One refusal is often printed by several layers (the kernel, VFIO's user, a VMM): the lines of different
 * layers that can be about the same map are one fact.
 */
import type { MapRefusedFact } from "../facts.ts";
import type { Found, Sink } from "../shape.ts";

type Refusal = Omit<MapRefusedFact, "kind" | "shape" | "lines" | "text" | "time" | "clock">;

/** Layers that have printed a refusal: the names of their shapes. */
const LAYERS = new WeakMap<MapRefusedFact, Set<string>>();
const KEY = "map-refused";

/** Adds a refusal, or completes the one that another layer has printed. */
export function refuse(refusal: Refusal, found: Found, sink: Sink): void {
  const layer = found.base.shape;
  const open = sink.open(KEY);
  const layers = open?.kind === "map-refused" ? LAYERS.get(open) : undefined;
  if (open?.kind === "map-refused" && layers !== undefined && !layers.has(layer) && agree(open, refusal)) {
    layers.add(layer);
    const { by: _by, ...rest } = refusal;
    for (const [name, value] of Object.entries(rest)) {
      if (open[name as keyof MapRefusedFact] === undefined) Object.assign(open, { [name]: value });
    }
    sink.extend(open, found);
    return;
  }
  const fact: MapRefusedFact = { kind: "map-refused", ...found.base, ...refusal };
  LAYERS.set(fact, new Set([layer]));
  sink.add(fact, KEY);
}

/** Nothing that both name differs. */
function agree(open: MapRefusedFact, refusal: Refusal): boolean {
  const names = ["errno", "iova", "bytes", "device"] as const;
  if (!names.every((name) => open[name] === undefined || refusal[name] === undefined || open[name] === refusal[name]))
    return false;
  // Locked memory that is used up ends in ENOMEM and in nothing else.
  const errors = [open.errno, refusal.errno].filter((errno) => errno !== undefined);
  const isMemlock = open.because === "memlock-limit" || refusal.because === "memlock-limit";
  return !isMemlock || errors.every((errno) => errno === "ENOMEM");
}

const NAMES: Readonly<Record<number, string>> = {
  1: "EPERM",
  2: "ENOENT",
  12: "ENOMEM",
  13: "EACCES",
  14: "EFAULT",
  16: "EBUSY",
  17: "EEXIST",
  19: "ENODEV",
  22: "EINVAL",
  25: "ENOTTY",
  28: "ENOSPC",
  34: "ERANGE",
  95: "EOPNOTSUPP",
};
/** Words of the C library (glibc, and musl where it differs). */
const WORDS: Readonly<Record<string, number>> = {
  "operation not permitted": 1,
  "no such file or directory": 2,
  "cannot allocate memory": 12,
  "out of memory": 12,
  "permission denied": 13,
  "bad address": 14,
  "device or resource busy": 16,
  "resource busy": 16,
  "file exists": 17,
  "no such device": 19,
  "invalid argument": 22,
  "inappropriate ioctl for device": 25,
  "no space left on device": 28,
  "numerical result out of range": 34,
  "operation not supported": 95,
};

/** The texts of errors, as a pattern. */
export const ERROR_TEXT: string = Object.keys(WORDS)
  .map((words) => words.replaceAll(" ", String.raw`\s+`))
  .join("|");

/** `12`, `-12`, `Cannot allocate memory` → `ENOMEM`. */
export function errnoOf(text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  const plain = text.replace(/\s+/g, " ").toLowerCase();
  const number = /^-?\d+$/.test(plain) ? Math.abs(Number(plain)) : WORDS[plain];
  return number === undefined ? undefined : (NAMES[number] ?? `errno ${number}`);
}
