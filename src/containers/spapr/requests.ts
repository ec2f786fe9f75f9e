/** Requests of sPAPR containers that other containers do not have. */
import { type Header, MAP_ARGSZ, UNMAP_ARGSZ } from "../requests.ts";

/** A range of user memory. */
export interface MemoryRequest extends Header {
  /** User address of the first byte: a multiple of 4096. */
  readonly userAddress: bigint;
  /** Length in bytes: a multiple of 4096. */
  readonly bytes: bigint;
}

/** A request for a dynamic window. */
export interface CreateWindowRequest extends Header {
  /** log2 of the IO page size in bytes. */
  readonly pageShift: number;
  /** Size of the window in bytes: a power of two. */
  readonly windowBytes: bigint;
  /** Levels of the table. */
  readonly levels: number;
}

/** A request to remove a window. */
export interface RemoveWindowRequest extends Header {
  /** A bus address in the window. */
  readonly iova: bigint;
}

/** Sizes in bytes of the requests, in the kernel's interface (linux/vfio.h). */
export const ARGSZ: {
  readonly map: number;
  readonly unmap: number;
  readonly memory: number;
  readonly create: number;
  readonly remove: number;
  readonly info: number;
} = { map: MAP_ARGSZ, unmap: UNMAP_ARGSZ, memory: 24, create: 40, remove: 16, info: 16 };
