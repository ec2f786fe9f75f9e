/**
 * Errors of exported memory, with the errno of the LDC interface, which users of channels know. They are thrown. (Failures of the generic
 * table are returned, as on every platform.)
 */
import { IovaError } from "../../units/errors.ts";

/**
 * Error codes of exported memory, those of the LDC interface.
 *
 * - EINVAL: unknown permissions or direction, or no bytes.
 * - EFAULT: an argument is not a multiple of 8, or the hypervisor refused a copy while the link is up.
 * - EMSGSIZE: the limit of cookies is below the number of pages.
 * - ENOMEM: too few consecutive free entries.
 * - ECONNRESET: the link is down or was reset.
 * - EBUSY: the same call may succeed later.
 */
export type LdcErrno = "EINVAL" | "EFAULT" | "EMSGSIZE" | "ENOMEM" | "ECONNRESET" | "EBUSY";

/** Error of an LdcLink or LdcPlatform. `code` is an LdcErrno. */
export class LdcError extends IovaError {
  override readonly name = "LdcError";
  /** `errno`: becomes `code`. `message`: describes the call and its refusal. */
  constructor(errno: LdcErrno, message: string) {
    super(errno, message);
  }
}
