/**
 * ASCII for readers that work on bytes: no string is made per line.
 *
 * Readers of a line get no end: a newline stands at the line's end, is no part of any word, number or blank, and so stops
 * every loop. One comparison a byte instead of two.
 */

export const SPACE = 0x20;
const TAB = 0x09;
export const NEWLINE = 0x0a;
export const CARRIAGE_RETURN = 0x0d;
export const HASH = 0x23;
export const EQUALS = 0x3d;
export const GREATER = 0x3e;

/** Value of each byte as a hexadecimal digit, −1 for none. */
export const HEX_DIGIT: Int8Array = new Int8Array(256).fill(-1);
for (let value = 0; value < 16; value++) {
  const digit = value.toString(16);
  HEX_DIGIT[digit.charCodeAt(0)] = value;
  HEX_DIGIT[digit.toUpperCase().charCodeAt(0)] = value;
}

export function isDigit(byte: number): boolean {
  return byte >= 0x30 && byte <= 0x39;
}

/** Index of the first byte from `first` on that is neither space nor tab. */
export function skipBlanks(bytes: Uint8Array, first: number): number {
  let at = first;
  while (bytes[at] === SPACE || bytes[at] === TAB) at++;
  return at;
}

/** Index of the first byte from `first` on that ends a word: a space, or a control character such as the newline. */
export function skipWord(bytes: Uint8Array, first: number): number {
  let at = first;
  while ((bytes[at] as number) > SPACE) at++;
  return at;
}

/** True when the ASCII text `text` stands at `first`. */
export function startsWith(bytes: Uint8Array, first: number, text: string): boolean {
  for (let i = 0; i < text.length; i++) if (bytes[first + i] !== text.charCodeAt(i)) return false;
  return true;
}

/** [first, end) as text, at most `most` characters; other bytes than printable ASCII appear as `\xNN`, so a terminal is safe. */
export function printable(bytes: Uint8Array, first: number, end: number, most: number): string {
  let text = "";
  for (let at = first; at < end; at++) {
    if (text.length >= most) return `${text}…`;
    const byte = bytes[at] as number;
    text += byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : `\\x${byte.toString(16).padStart(2, "0")}`;
  }
  return text;
}
