/** Whole numbers as sentences write them. */

/** 1234567 → "1,234,567". */
export function grouped(value: number | bigint): string {
  const whole = typeof value === "number" ? Math.round(value) : value;
  return String(whole).replace(/\B(?=(?:\d{3})+$)/g, ",");
}

/** 1 → "1 line", 3000 → "3,000 lines". */
export function counted(value: number | bigint, singular: string, many: string = `${singular}s`): string {
  const text = grouped(value);
  return `${text} ${text === "1" ? singular : many}`;
}

/** 4096 → "0x1000": an address, a mask, or a word of bits. */
export function hexadecimal(value: number | bigint): string {
  return `0x${value.toString(16)}`;
}
