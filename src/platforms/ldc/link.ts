/**
 * The importing side of a channel: the link state, and access to memory that the other end exports. The hypervisor copies by cookies, or
 * maps a page in. No map table is needed; LdcPlatform is the exporting side.
 *
 * One object per thread. Errors are LdcErrors (errors.ts).
 */

import type { Hypercall, Machine } from "../../machine/contract.ts";
import { hexadecimal } from "../../units/counts.ts";
import { checkInteger } from "../../units/errors.ts";
import { hypercallOf } from "../call-arguments.ts";
import { EBUSY, EOK, EWOULDBLOCK } from "../sun4v/services.ts";
import type { LdcCookie } from "./cookies.ts";
import { LdcError } from "./errors.ts";
import {
  CHANNEL,
  COPY_ALIGNMENT,
  COPY_IN,
  COPY_OUT,
  LDC_COPY,
  LDC_MAPIN,
  LDC_RX_QCONF,
  LDC_TX_GET_STATE,
  LDC_UNMAP,
  LINK_RESET,
  LINK_UP,
} from "./services.ts";

/** State of a link. "reset": an end has reset the link, and both must connect again. */
export type LinkState = "down" | "up" | "reset";
/** Direction of a copy. "in": from the other end's memory into this end's. "out": from this end's memory into the other end's. */
export type CopyDirection = "in" | "out";

/** A page of the other end's memory that is mapped at a real address of this end. */
export interface MappedInPage {
  /** Real address of the page, in bytes. */
  readonly address: number;
  /** Permissions of this end's CPUs: 1 read, 2 write, 4 execute, or a sum of these. */
  readonly permissions: number;
}

/**
 * The importing side of a logical domain channel: state of the link, and access to memory that the other end exports. Addresses are real
 * addresses and lengths are in bytes; both are multiples of 8. One object per thread. Errors of the channel are thrown as LdcErrors.
 * `LdcPlatform` has an example.
 */
export class LdcLink {
  readonly #hypercall: Hypercall;
  readonly #args: BigUint64Array = new BigUint64Array(8);

  /** Throws InvalidArgumentError for a machine without a hypervisor. */
  constructor(machine: Machine) {
    this.#hypercall = ldcHypercallOf(machine);
  }

  /**
   * Configures this end. The link is up once both ends are configured. Also needed after a reset. Throws LdcError EBUSY if the hypervisor
   * refuses.
   */
  connect(): void {
    const status = this.#call(LDC_RX_QCONF, 0n, 1n);
    if (status !== EOK) throw new LdcError("EBUSY", `ldc_rx_qconf: the hypervisor answers status ${status}`);
  }

  /** Resets the link for both ends. Copies fail until both have connected again. Throws LdcError EBUSY if the hypervisor refuses. */
  reset(): void {
    const status = this.#call(LDC_RX_QCONF, 0n, 0n);
    if (status !== EOK) throw new LdcError("EBUSY", `ldc_rx_qconf: the hypervisor answers status ${status}`);
  }

  /** State of the link, as the hypervisor reports it; "down" if it refuses the call. */
  get state(): LinkState {
    if (this.#call(LDC_TX_GET_STATE) !== EOK) return "down";
    const state = Number(this.#args[2]);
    if (state === LINK_UP) return "up";
    return state === LINK_RESET ? "reset" : "down";
  }

  /**
   * Copies between this end's memory from `address` on and the memory of the other end's cookies from byte `offset` on. Returns the number
   * of bytes copied: less than `bytes` if the cookies cover less, or the hypervisor stops early.
   * @throws LdcError EINVAL for another direction; EFAULT if an argument is not a multiple of 8, or the copy is refused while the link is
   * up; ECONNRESET if the link is not up; EBUSY for a copy that may succeed later
   */
  copy(direction: CopyDirection, address: number, bytes: number, cookies: readonly LdcCookie[], offset = 0): number {
    if (direction !== "in" && direction !== "out") {
      throw new LdcError("EINVAL", `direction of an LDC copy is ${String(direction)}; expected in or out`);
    }
    checkAligned("an LDC copy", address, bytes);
    checkAligned("the offset of an LDC copy", offset, 0);
    let copied = 0;
    let skip = offset;
    for (const cookie of cookies) {
      const skipped = Math.min(skip, cookie.bytes);
      skip -= skipped;
      const part = Math.min(cookie.bytes - skipped, bytes - copied);
      const done = this.#copyPart(direction, address + copied, part, cookie.address + BigInt(skipped));
      copied += done;
      if (done < part || copied === bytes) break;
    }
    return copied;
  }

  /**
   * Maps the page of a cookie at a real address of this end. Throws LdcError as `copy`, and EBUSY if the page is mapped in already or no
   * more pages can be mapped in.
   */
  mapIn(cookie: bigint): MappedInPage {
    const status = this.#call(LDC_MAPIN, cookie);
    if (status !== EOK) throw this.#refusal(`ldc_mapin of cookie ${hexadecimal(cookie)}`, status);
    return { address: Number(this.#args[0]), permissions: Number(this.#args[1]) };
  }

  /**
   * Unmaps a mapped-in page. Does nothing if the other end has revoked it. Throws LdcError EBUSY while a CPU of this end uses the page or
   * the hypervisor is busy; the page then stays mapped in.
   */
  unmapIn(page: MappedInPage): void {
    // The only argument is the real address: this call has no channel.
    this.#args[0] = BigInt(page.address);
    const status = this.#hypercall(LDC_UNMAP, this.#args);
    if (!isForLater(status)) return;
    throw new LdcError("EBUSY", `ldc_unmap of ${hexadecimal(page.address)}: the hypervisor answers status ${status}`);
  }

  /** Calls the hypervisor until all bytes are copied, or a call copies nothing. */
  #copyPart(direction: CopyDirection, address: number, bytes: number, cookie: bigint): number {
    const code = BigInt(direction === "in" ? COPY_IN : COPY_OUT);
    let copied = 0;
    while (copied < bytes) {
      const at = cookie + BigInt(copied);
      const status = this.#call(LDC_COPY, code, at, BigInt(address + copied), BigInt(bytes - copied));
      if (status !== EOK)
        throw this.#refusal(`a copy ${direction} of ${bytes} bytes at cookie ${hexadecimal(at)}`, status);
      const taken = Number(this.#args[0]);
      checkInteger("bytes that the hypervisor says it has copied", taken, 0, bytes - copied);
      if (taken === 0) break;
      copied += taken;
    }
    return copied;
  }

  /** The error for a refused call: ECONNRESET if the link is not up, else by the status. */
  #refusal(what: string, status: number): LdcError {
    const { state } = this;
    if (state !== "up") return new LdcError("ECONNRESET", `${what}: the link is ${state}`);
    return new LdcError(isForLater(status) ? "EBUSY" : "EFAULT", `${what}: the hypervisor answers status ${status}`);
  }

  #call(number: number, ...args: readonly bigint[]): number {
    this.#args[0] = BigInt(CHANNEL);
    args.forEach((value, i) => {
      this.#args[i + 1] = value;
    });
    return this.#hypercall(number, this.#args);
  }
}

/** True for a status after which the same call may succeed later. */
function isForLater(status: number): boolean {
  return status === EBUSY || status === EWOULDBLOCK;
}

/** The machine's hypercall. Throws InvalidArgumentError if the machine has no hypervisor. */
export function ldcHypercallOf(machine: Machine): Hypercall {
  return hypercallOf(machine, "the LDC calls");
}

/** Throws LdcError EINVAL unless address and length are integers from 0 on, EFAULT unless they are multiples of 8. */
export function checkAligned(what: string, address: number, bytes: number): void {
  if (!(Number.isSafeInteger(address) && Number.isSafeInteger(bytes) && address >= 0 && bytes >= 0)) {
    throw new LdcError("EINVAL", `${what} is ${bytes} bytes at ${address}; expected integers from 0 on`);
  }
  if (address % COPY_ALIGNMENT === 0 && bytes % COPY_ALIGNMENT === 0) return;
  throw new LdcError("EFAULT", `${what} is ${bytes} bytes at ${address}; expected multiples of ${COPY_ALIGNMENT}`);
}
