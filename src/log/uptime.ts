/** The time since boot before a message, `[   12.345678] `, read from bytes: most lines of a log begin so, and no string is made of them. */

const BRACKET = 0x5b;
const CLOSING_BRACKET = 0x5d;
const BLANK = 0x20;
const POINT = 0x2e;
const ZERO = 0x30;
const NINE = 0x39;
const MOST_WHOLE_DIGITS = 9;
const LEAST_FRACTION_DIGITS = 3;
/** More digits behind the point make a number that is not exact. */
const MOST_FRACTION_DIGITS = 6;

/** True if a line that begins at `first` can begin with a time: `[   12.345678]` does, `[fault reason 05]` does not. */
export function beginsWithTime(bytes: Uint8Array, first: number): boolean {
  const next = bytes[first + 1] ?? 0;
  return bytes[first] === BRACKET && (next === BLANK || isDigit(next));
}

export class UptimeReader {
  /** Seconds since boot of the line that was read last. */
  seconds = 0;
  /** Offset of the first byte of its message. */
  messageFirst = 0;

  /** Reads the time with which the line at `first` begins; false when it begins otherwise. */
  read(bytes: Uint8Array, first: number): boolean {
    if (bytes[first] !== BRACKET) return false;
    let at = first + 1;
    while (bytes[at] === BLANK) at++;
    const whole = at;
    let number = 0;
    for (; isDigit(bytes[at] as number); at++) number = number * 10 + (bytes[at] as number) - ZERO;
    const point = at;
    if (point === whole || point - whole > MOST_WHOLE_DIGITS || bytes[at++] !== POINT) return false;
    for (; isDigit(bytes[at] as number); at++) number = number * 10 + (bytes[at] as number) - ZERO;
    const digits = at - point - 1;
    if (digits < LEAST_FRACTION_DIGITS || digits > MOST_FRACTION_DIGITS || bytes[at] !== CLOSING_BRACKET) return false;
    do at++;
    while (bytes[at] === BLANK);
    // Both numbers are exact, so the quotient is the number that the digits denote.
    this.seconds = number / 10 ** digits;
    this.messageFirst = at;
    return true;
  }
}

function isDigit(code: number): boolean {
  return code >= ZERO && code <= NINE;
}
