/** The check of windows that callers pass in. */
import { hexadecimal } from "./counts.ts";
import { checkInteger, InvalidArgumentError, inWords } from "./errors.ts";
import { type DmaWindow, MAX_ENTRIES } from "./numbers.ts";

/** Throws InvalidArgumentError unless this is a window that fits 64 bits. */
export function checkWindow(window: DmaWindow): void {
  if (typeof window !== "object" || window === null) {
    throw new InvalidArgumentError("window", window, "an object with base, pageShift and entries");
  }
  const { base, pageShift, entries } = window;
  checkInteger("the window's page shift", pageShift, 12, 34);
  checkInteger("the window's entries", entries, 1, MAX_ENTRIES);
  if (typeof base !== "bigint") throw new InvalidArgumentError("the window's base", base, "a bigint");
  const pageBytes = 1n << BigInt(pageShift);
  if (base < 0n || base % pageBytes !== 0n) {
    const found = inWords(hexadecimal(base));
    throw new InvalidArgumentError("the window's base", found, `a multiple of the IO page (${pageBytes} bytes)`);
  }
  if (base + (BigInt(entries) << BigInt(pageShift)) > 2n ** 64n) {
    throw new InvalidArgumentError(
      "the window's end",
      inWords("beyond 2^64"),
      "a window inside the 64-bit bus address space",
    );
  }
}
