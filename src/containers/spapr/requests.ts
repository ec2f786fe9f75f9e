/** Requests that only sPAPR containers have. */
import { type Header, MAP_ARGSZ, UNMAP_ARGSZ } from "../requests.ts";

/** A range of user memory. */
export interface MemoryRequest extends Header {
  readonly userAddress: bigint;
  readonly bytes: bigint;
}

export interface CreateWindowRequest extends Header {
  readonly pageShift: number;
  readonly windowBytes: bigint;
  readonly levels: number;
}

export interface RemoveWindowRequest extends Header {
  /** A bus address in the window. */
  readonly iova: bigint;
}

/** Bytes of each request in the kernel's interface (linux/vfio.h). */
export const ARGSZ: {
  readonly map: number;
  readonly unmap: number;
  readonly memory: number;
  readonly create: number;
  readonly remove: number;
  readonly info: number;
} = { map: MAP_ARGSZ, unmap: UNMAP_ARGSZ, memory: 24, create: 40, remove: 16, info: 16 };
