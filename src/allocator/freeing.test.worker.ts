/** A thread that attaches, says so, waits for a signal, and then frees one range. */
import { workerData } from "node:worker_threads";
import { load, notify, type SharedBuffer, store, waitWhile, wordsOf } from "../shared/memory.ts";
import { PooledAllocator } from "./pooled-allocator.ts";
import type { AllocatorHandle } from "./state.ts";

const { handle, signal, first } = workerData as { handle: AllocatorHandle; signal: SharedBuffer; first: number };
const allocator = PooledAllocator.attach(handle);
const words = wordsOf(signal);
store(words, 0, 1);
notify(words, 0, 1);
while (load(words, 0) === 1) waitWhile(words, 0, 1, 1000);
allocator.free(first);
allocator.close();
