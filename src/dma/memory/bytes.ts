/** Copies and zeroes bytes of physical memory, through one buffer of the thread. */
import type { Memory } from "../../machine/contract.ts";

/** Size of that buffer: most copies take one read and one write, and it stays in the CPU's cache. */
const CHUNK_BYTES = 16384;
const chunk: Uint8Array = new Uint8Array(CHUNK_BYTES);
const zeros: Uint8Array = new Uint8Array(CHUNK_BYTES);

/** Copies `bytes` bytes from one physical address to another; the ranges do not overlap. */
export function copyBytes(memory: Memory, from: number, to: number, bytes: number): void {
  for (let done = 0; done < bytes; done += CHUNK_BYTES) {
    const part = bytes - done < CHUNK_BYTES ? chunk.subarray(0, bytes - done) : chunk;
    memory.read(from + done, part);
    memory.write(to + done, part);
  }
}

export function zeroBytes(memory: Memory, at: number, bytes: number): void {
  for (let done = 0; done < bytes; done += CHUNK_BYTES) {
    memory.write(at + done, bytes - done < CHUNK_BYTES ? zeros.subarray(0, bytes - done) : zeros);
  }
}

/** True if these bytes are memory, and not in a hole between regions. Their end is at most `memory.bytes`. */
export function isMemory(memory: Memory, address: number, bytes: number): boolean {
  return memory.has?.(address, bytes) ?? true;
}
