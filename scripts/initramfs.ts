/** Writes initial RAM disks of Linux: archives in the cpio format "newc", uncompressed. */
import { closeSync, openSync, readFileSync, statSync, writeSync } from "node:fs";
import { dirname } from "node:path";

const FOLDER = 0o040755;
const PROGRAM = 0o100755;

export class Initramfs {
  readonly #file: number;
  readonly #folders = new Set<string>();
  #inode = 1;

  /** @param path - of the file that is written */
  constructor(path: string) {
    this.#file = openSync(path, "w");
  }

  folder(path: string): void {
    if (path === "/" || path === "." || this.#folders.has(path)) return;
    this.folder(dirname(path));
    this.#folders.add(path);
    this.#entry(path, FOLDER, new Uint8Array(0));
  }

  /** @param path - in the guest, absolute */
  file(path: string, content: string | Uint8Array): void {
    this.folder(dirname(path));
    this.#entry(path, PROGRAM, typeof content === "string" ? new TextEncoder().encode(content) : content);
  }

  /** A file of this machine, under the same name or another one. */
  copy(from: string, to: string = from): void {
    if (statSync(from).isFile()) this.file(to, readFileSync(from));
  }

  end(): void {
    this.#entry("TRAILER!!!", 0, new Uint8Array(0));
    closeSync(this.#file);
  }

  #entry(path: string, mode: number, content: Uint8Array): void {
    const name = Buffer.from(`${path.replace(/^\//, "")}\0`);
    const fields = [this.#inode++, mode, 0, 0, 1, 0, content.length, 0, 0, 0, 0, name.length, 0];
    const header = `070701${fields.map((field) => field.toString(16).padStart(8, "0")).join("")}`;
    const head = Buffer.concat([Buffer.from(header), name]);
    for (const part of [head, padding(head), content, padding(content)]) writeSync(this.#file, part);
  }
}

function padding({ length }: Uint8Array): Uint8Array {
  return new Uint8Array((4 - (length % 4)) % 4);
}
