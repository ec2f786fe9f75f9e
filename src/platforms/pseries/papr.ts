/**
 * The interface of a pseries guest and its hypervisor for DMA: numbers of hypercalls, return codes, and the firmware's services for dynamic
 * windows and EEH (LoPAPR: "Hypervisor call functions", "TCE", "Dynamic DMA windows"). The platform makes these calls; the models in
 * machines/hypervisors/papr implement them. They share no other code.
 *
 * A hypercall takes 64-bit arguments and returns a code. *ioba*: a bus address in a window. *liobn*: the number of a window.
 */

/** liobn, ioba → the TCE. */
export const H_GET_TCE = 0x1c;
/** liobn, ioba, TCE. */
export const H_PUT_TCE = 0x20;
/** liobn, first ioba, value, count (at most 512): the same value into all, to empty them. */
export const H_STUFF_TCE = 0x138;
/** liobn, first ioba, list of big-endian TCEs (physical address, a multiple of 4096), count (at most 512). */
export const H_PUT_TCE_INDIRECT = 0x13c;
/** Calls a firmware service: address of the argument buffer. Not in LoPAPR; QEMU's firmware uses this number. */
export const H_RTAS = 0xf000;

/** TCEs in one list page, and so in one call. */
export const TCES_PER_CALL = 512;

export const H_SUCCESS = 0;
/** Try again at once. */
export const H_BUSY = 1;
export const H_HARDWARE = -1;
export const H_FUNCTION = -2;
export const H_PRIVILEGE = -3;
export const H_PARAMETER = -4;
export const H_RESOURCE = -16;
export const H_NOT_ENOUGH_RESOURCES = -44;
/** 9900 .. 9905: nothing or a part was done; repeat the call after 1 ms, 10 ms … 100 s. */
export const H_LONG_BUSY_FIRST = 9900;
const H_LONG_BUSY_LAST = 9905;
/** KVM's fast path leaves the call to its user space. A guest never sees this code. */
export const H_TOO_HARD = 9999;

/** The time that a long-busy code requests, in milliseconds; 0 for other codes. */
export function longBusyMilliseconds(code: number): number {
  return code >= H_LONG_BUSY_FIRST && code <= H_LONG_BUSY_LAST ? 10 ** (code - H_LONG_BUSY_FIRST) : 0;
}

// The argument buffer of a firmware service: big-endian cells of 32 bits { token, number of arguments, number of results,
// arguments …, results … }. The first result is the status. (LoPAPR, "RTAS argument call buffer".)

export const RTAS_SUCCESS = 0;
export const RTAS_HARDWARE = -1;
export const RTAS_BUSY = -2;
export const RTAS_PARAMETER = -3;

/**
 * Page sizes of dynamic windows, as log2 of bytes, by their bits in the answer to a query (LoPAPR, "ibm,query-pe-dma-window"): bit 0
 * is 4 KiB, then 64 KiB, 16 MiB, 32 MiB, 64 MiB, 128 MiB, 256 MiB, 16 GiB, 2 MiB.
 */
export const PAGE_SHIFT_BITS: readonly number[] = [12, 16, 24, 25, 26, 27, 28, 34, 21];

/** Tokens of the services, from the device tree ("ibm,ddw-applicable", "ibm,ddw-extensions"). */
export interface DynamicWindowTokens {
  /** PE's address, unit id (2 cells) → status, windows left, largest window in TCEs, page sizes, migration flag. */
  readonly query: number;
  /** PE's address, unit id (2 cells), page shift, window shift → status, liobn, base (2 cells). */
  readonly create: number;
  /** liobn → status. */
  readonly remove: number;
  /** PE's address, unit id (2 cells) → status. Restores the default window, removes dynamic ones. An extension. */
  readonly reset?: number;
}

/**
 * Tokens of the EEH services, by their names in the device tree: "ibm,set-eeh-option",
 * "ibm,read-slot-reset-state2", "ibm,set-slot-reset". (LoPAPR, "Enhanced I/O Error Handling". Arguments, functions and states are from
 * memory, and have not been compared with the document. Not included: the release of registers or DMA alone, the error's log, the
 * configuration of bridges.)
 */
export interface EehTokens {
  /** PE's address, unit id (2 cells), EEH_DISABLE or EEH_ENABLE → status. */
  readonly setOption: number;
  /** PE's address, unit id (2 cells) → status, RESET_STATE_…, 1 where there is EEH, milliseconds to wait for a PE that is away. */
  readonly readState: number;
  /** PE's address, unit id (2 cells), RESET_DEACTIVATE or RESET_ACTIVATE → status. */
  readonly setReset: number;
}

export const EEH_DISABLE = 0;
export const EEH_ENABLE = 1;

export const RESET_DEACTIVATE = 0;
export const RESET_ACTIVATE = 1;
/** The same, by the fundamental reset. */
export const RESET_ACTIVATE_FUNDAMENTAL = 3;

/** Registers and DMA work. */
export const RESET_STATE_NORMAL = 0;
/** The reset is active: registers and DMA are cut off. The earlier freeze is over. */
export const RESET_STATE_IN_RESET = 1;
/** Frozen: registers and DMA are cut off. In higher states one of the two is cut off, or the PE is not available. */
export const RESET_STATE_FROZEN = 2;

/** DMA properties of a PE's devices in the device tree (LoPAPR, "ibm,dma-window"). Structured-cloneable. */
export interface DmaProperties {
  /** Logical IO bus number of the default window. */
  readonly liobn: number;
  /** Bus address of the default window, in bytes. */
  readonly base: bigint;
  /** Size of the default window, in bytes. */
  readonly bytes: bigint;
  /** IO page size of the default window as log2 of bytes; 12 if the device tree has no such property. */
  readonly pageShift: number;
  /** True if the hypervisor has H_STUFF_TCE and H_PUT_TCE_INDIRECT ("hcall-multi-tce" in "ibm,hypertas-functions"). */
  readonly multiTce: boolean;
  /** Names of the devices of this partitionable endpoint (PE). They share windows, and are frozen together. */
  readonly devices: readonly string[];
  /** Address of the PE in firmware calls. */
  readonly configAddress: number;
  /** The unit id of the PE's bridge (BUID), in firmware calls. */
  readonly unitId: bigint;
  /** Undefined: no dynamic windows. */
  readonly tokens?: DynamicWindowTokens;
  /** Undefined: a fault freezes nothing. */
  readonly eeh?: EehTokens;
  /** True if windows may be placed at low addresses, for devices of fewer than 64 address bits. An extension. */
  readonly limitedAddressing: boolean;
}
