/**
 * The archive's way to its place. It grows under another name and gets its own when it is whole, so that there never is half an archive under the
 * name that was asked for; a failure removes it.
 */
import { createWriteStream, renameSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { Readable, type Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGzip } from "node:zlib";
import { Spool } from "./spool.ts";
import { type TarMember, tarOf } from "./tar.ts";

/** The archive could not be written; `cause` is the system's error. */
export class ArchiveError extends Error {
  override readonly name = "ArchiveError";
}

export class ArchiveFile {
  readonly #target: string | Writable;
  /** Where a file grows; undefined for streams, and for what is no regular file. */
  readonly #partial: string | undefined;

  /** @param target - a path, or a stream that stays open */
  constructor(target: string | Writable) {
    this.#target = target;
    this.#partial = typeof target === "string" && isFileOrAbsent(target) ? `${target}.partial` : undefined;
  }

  /**
   * Keeps the pieces of a text until its length is known: in the archive's folder, where the space will be needed anyway. To be closed.
   * Throws ArchiveError.
   */
  async spool(pieces: AsyncIterable<Uint8Array>): Promise<Spool> {
    const folder = this.#partial === undefined ? tmpdir() : dirname(this.#partial);
    const spool = orArchiveError(() => new Spool(join(folder, `.iova-capture-${process.pid}`)));
    try {
      for await (const piece of pieces) orArchiveError(() => spool.append(piece));
      return spool;
    } catch (error) {
      spool.close();
      throw error;
    }
  }

  /** Throws ArchiveError. */
  async write(members: readonly TarMember[]): Promise<void> {
    const pieces = Readable.from(tarOf(members, Date.now() / 1000));
    try {
      if (typeof this.#target !== "string") return await pipeline(pieces, createGzip(), this.#target, { end: false });
      await pipeline(pieces, createGzip(), createWriteStream(this.#partial ?? this.#target));
      if (this.#partial !== undefined) renameSync(this.#partial, this.#target);
    } catch (cause) {
      this.abandon();
      throw new ArchiveError("the archive can't be written", { cause });
    }
  }

  /** Removes what is written so far. */
  abandon(): void {
    if (this.#partial !== undefined) rmSync(this.#partial, { force: true });
  }
}

function orArchiveError<Result>(write: () => Result): Result {
  try {
    return write();
  } catch (cause) {
    throw new ArchiveError("the archive can't be written", { cause });
  }
}

/** A pipe or a device has no other name to grow under. */
function isFileOrAbsent(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() ?? true;
}
