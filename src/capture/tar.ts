/** Writes tar archives, in the format "ustar" (POSIX.1-1988), which every tar reads. */

/** A file of an archive. */
export interface TarMember {
  /** With its folder; at most 100 bytes. */
  readonly name: string;
  readonly bytes: number;
  /** The content; together as long as `bytes`. */
  readonly pieces: Iterable<Uint8Array>;
}

const BLOCK_BYTES = 512;
/** A length of 11 octal digits ends here; longer ones are written in binary, as GNU tar does. */
const OCTAL_LIMIT = 8 ** 11;

/** The archive, in pieces. `seconds`: the time of its files, since 1970. */
export function* tarOf(members: readonly TarMember[], seconds: number): Generator<Uint8Array> {
  for (const { name, bytes, pieces } of members) {
    yield headerOf(name, bytes, seconds);
    yield* pieces;
    yield new Uint8Array((BLOCK_BYTES - (bytes % BLOCK_BYTES)) % BLOCK_BYTES);
  }
  yield new Uint8Array(2 * BLOCK_BYTES);
}

function headerOf(name: string, bytes: number, seconds: number): Uint8Array {
  const header = Buffer.alloc(BLOCK_BYTES);
  header.write(name, 0, 100);
  header.write(octal(0o644, 7), 100);
  header.write(octal(0, 7), 108); // user
  header.write(octal(0, 7), 116); // group
  if (bytes < OCTAL_LIMIT) header.write(octal(bytes, 11), 124);
  else {
    header[124] = 0x80;
    header.writeBigUInt64BE(BigInt(bytes), 128);
  }
  header.write(octal(Math.floor(seconds), 11), 136);
  header.write("        ", 148);
  header.write("0", 156); // a regular file
  header.write("ustar\u000000", 257);
  // The sum of all bytes, with blanks in its own place.
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${octal(sum, 6)}\u0000 `, 148);
  return header;
}

function octal(value: number, digits: number): string {
  return value.toString(8).padStart(digits, "0");
}
