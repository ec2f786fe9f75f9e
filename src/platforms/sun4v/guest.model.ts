/** What drivers of a sun4v guest are sent, and report. */
import type { Sun4vHypervisorHandle } from "../../machines/hypervisors/sun4v/hypervisor.ts";
import type { Sun4vPlatformHandle } from "./platform.ts";

export interface GuestPart {
  readonly hypervisor: Sun4vHypervisorHandle;
  readonly platform: Sun4vPlatformHandle;
  /** Words: see REPORT. */
  readonly report: SharedArrayBuffer;
  /** Its pages: so many from this one on. */
  readonly firstPage: number;
  readonly pages: number;
  readonly tag: number;
}

/** `thread`: one more than the number; 0: not attached yet. */
export const REPORT = { stop: 0, thread: 1, lists: 3, wrong: 4, words: 8 } as const;
