/** What a model is: a board of QEMU's to start, what firmware would set up in it, and a device that does DMA. */
import type { DmaMaster } from "../../machine/contract.ts";
import type { ByteStore } from "./memory.ts";
import type { Qtest } from "./qtest.ts";
import type { RefusalLog } from "./refusals.ts";
import type { RegisterBlock } from "./registers.ts";

/** What a model works with, in one thread. */
export interface ModelParts {
  readonly qtest: Qtest;
  /** All of its memory. */
  readonly memory: ByteStore;
  readonly refusals: RefusalLog;
}

export interface QemuModel {
  readonly name: string;
  /** Name of its DMA master. */
  readonly device: string;
  readonly program: string;
  /** Arguments of its own; what all models need is added. Memory that is a file has the id "memory". */
  readonly args: readonly string[];
  /** Can its memory be a file that we read and write too? */
  readonly memoryIsFile: boolean;
  /** Empty for QEMU's own. */
  readonly firmware: Uint8Array;
  readonly ramBytes: number;
  /** What the platform sees of it, from 0 on; the model uses the rest. */
  readonly memoryBytes: number;
  /** Memory below is the firmware's. */
  readonly firstFreeByte: number;
  readonly registers: RegisterBlock;
  /** Once, after the start. */
  setUp(qtest: Qtest, parts: ModelParts): void;
  dmaMaster(parts: ModelParts): DmaMaster;
}
