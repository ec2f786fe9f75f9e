/**
 * The windows through which a device reaches memory. A *translated* window is a table: the device reaches what is mapped in it. A *direct*
 * window shows a fixed range of memory at a constant offset: the bypass of powernv (at 1 << 59), or a dynamic window of pseries whose
 * entries were written in advance.
 */

import type { MappingTable } from "../table/contract.ts";
import { hexadecimal } from "../units/counts.ts";
import { checkInteger, InvalidArgumentError, inWords } from "../units/errors.ts";

/** A window whose addresses a table translates: the device reaches the memory that is mapped there. */
export interface TranslatedWindow {
  /** Tells this window from a direct one. */
  readonly kind: "translated";
  /** The table: an `IommuTable`, or a wrapper of one. This thread's view. */
  readonly table: MappingTable;
}

/** A window that shows a fixed range of memory at a constant offset, without a table. */
export interface DirectWindow {
  /** Tells this window from a translated one. */
  readonly kind: "direct";
  /** Bus address of the first byte. The low 12 bits of base and address are equal. */
  readonly base: bigint;
  /** Physical address of the first byte: 0 .. 2^53 − 1. */
  readonly address: number;
  /** Size in bytes: 1 .. 2^53 − address. */
  readonly bytes: number;
}

/** A window through which a device reaches memory. */
export type DeviceWindow = TranslatedWindow | DirectWindow;

/** Throws InvalidArgumentError unless this is an array of windows. */
export function checkWindows(windows: readonly DeviceWindow[]): void {
  if (!Array.isArray(windows)) throw new InvalidArgumentError("windows of a device", windows, "an array of windows");
  for (const window of windows as readonly DeviceWindow[]) {
    if (window?.kind === "direct") checkDirectWindow(window);
    else if (window?.kind !== "translated" || typeof window.table?.allocate !== "function") {
      const expected = '{ kind: "translated", table } or { kind: "direct", base, address, bytes }';
      throw new InvalidArgumentError("window of a device", window, expected);
    }
  }
}

/** The first and the last bus address of a window. */
export function busRangeOf(window: DeviceWindow): { readonly base: bigint; readonly last: bigint } {
  if (window.kind === "direct") return { base: window.base, last: window.base + BigInt(window.bytes) - 1n };
  const { base, entries, pageShift } = window.table.window;
  return { base, last: base + (BigInt(entries) << BigInt(pageShift)) - 1n };
}

/** Number of bytes of a window that lie at or below a mask. */
export function bytesUnder(window: DeviceWindow, mask: bigint): bigint {
  const { base, last } = busRangeOf(window);
  const end = mask < last ? mask : last;
  return end < base ? 0n : end - base + 1n;
}

/** Throws InvalidArgumentError for an invalid direct window. */
export function checkDirectWindow(window: DirectWindow): void {
  if (typeof window !== "object" || window === null) {
    throw new InvalidArgumentError("direct window", window, "an object with base, address and bytes");
  }
  const { base, address, bytes } = window;
  checkInteger("physical address of a direct window", address, 0, Number.MAX_SAFE_INTEGER);
  checkInteger("size of a direct window in bytes", bytes, 1, Number.MAX_SAFE_INTEGER - address + 1);
  if (typeof base !== "bigint" || base < 0n || base + BigInt(bytes) > 2n ** 64n) {
    throw new InvalidArgumentError("base of a direct window", base, `a bigint from 0n to 2n ** 64n - ${bytes}n`);
  }
  if ((base & 0xfffn) !== BigInt(address % 4096)) {
    throw new InvalidArgumentError(
      "base of a direct window",
      inWords(hexadecimal(base)),
      `the last 12 bits of ${hexadecimal(address)}`,
    );
  }
}
