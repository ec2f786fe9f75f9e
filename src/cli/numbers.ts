/** Numbers as people read them. */
import { grouped } from "../units/counts.ts";

/** At most five characters: 9999 → "9,999", 412345 → "412k", 1.049e6 → "1.05M". */
export function compact(value: number): string {
  if (value < 9_999.5) return grouped(value);
  for (const [unit, size] of [
    ["k", 1e3],
    ["M", 1e6],
    ["G", 1e9],
  ] as const) {
    const scaled = value / size;
    if (scaled < 999.5 || unit === "G") return `${threeDigits(scaled)}${unit}`;
  }
  return grouped(value);
}

/** 0.5 → "0.50", 23.44 → "23.4", 571 → "571". */
function threeDigits(value: number): string {
  if (value < 9.995) return value.toFixed(2);
  return value < 99.95 ? value.toFixed(1) : grouped(value);
}

/** Microseconds with a fitting unit: 0.4 → "0.40µs", 3500 → "3.50ms". */
export function duration(microseconds: number): string {
  if (microseconds < 999.5) return `${threeDigits(microseconds)}µs`;
  if (microseconds < 999_500) return `${threeDigits(microseconds / 1e3)}ms`;
  return `${threeDigits(microseconds / 1e6)}s`;
}

/** 41.23 → "41.2%", 0.318 → "0.32%", 0.0004 → "<0.01%": nothing is not the same as little. */
export function percent(value: number): string {
  if (value === 0) return "0%";
  if (value < 0.005) return "<0.01%";
  return `${value.toFixed(value < 9.995 ? 2 : 1)}%`;
}

/** 4096 → "4 KiB", 2^24 → "16 MiB"; for powers of two. */
export function binarySize(bytes: number): string {
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
  const unit = Math.min(units.length - 1, Math.floor(Math.log2(bytes) / 10));
  return `${grouped(bytes / 1024 ** unit)} ${units[unit]}`;
}

/** Any number of bytes: 4096 → "4.00 KiB", 1300000 → "1.24 MiB", 0 → "0". */
export function sizeText(bytes: number): string {
  if (bytes < 1024) return grouped(bytes);
  const units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
  const unit = Math.min(units.length, Math.floor(Math.log2(bytes) / 10));
  return `${threeDigits(bytes / 1024 ** unit)} ${units[unit - 1]}`;
}

/** 1.02 → "1 line", 412345 → "412k lines". */
export function compactly(value: number, singular: string, plural: string = `${singular}s`): string {
  const text = compact(value);
  return `${text} ${text === "1" ? singular : plural}`;
}

/** ["a"] → "a", ["a", "b", "c"] → "a, b and c". */
export function listed(items: readonly string[]): string {
  return items.length < 2 ? items.join("") : `${items.slice(0, -1).join(", ")} and ${items.at(-1)}`;
}
