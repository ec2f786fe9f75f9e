/** One thread's view of the shared buffer: what every part of the allocator works on. */

import type { SharedHalves, SharedWords } from "../shared/memory.ts";

export interface View {
  readonly words: SharedWords;
  readonly ledger: SharedHalves;
  readonly bitmapAt: number;
  /** This thread's number in the crew, its lock tag, and where its area begins in `words`. */
  readonly thread: number;
  readonly tag: number;
  readonly threadAt: number;
}
