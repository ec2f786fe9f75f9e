/**
 * Errors of exported memory, with the errno of the LDC interface, which users of channels know. They are thrown. (Failures of the generic
 * table are returned, as on every platform.)
 */
import { IovaError } from "../../units/errors.ts";

/**
 * EINVAL: unknown permissions or direction, or no bytes. EFAULT: not a multiple of 8, or the hypervisor refused a copy while the link is
 * up. EMSGSIZE: fewer cookies than pages. ENOMEM: no entries left. ECONNRESET: the link is down or was reset. EBUSY: the same call may
 * succeed later.
 */
export type LdcErrno = "EINVAL" | "EFAULT" | "EMSGSIZE" | "ENOMEM" | "ECONNRESET" | "EBUSY";

export class LdcError extends IovaError {
  override readonly name = "LdcError";
  constructor(errno: LdcErrno, message: string) {
    super(errno, message);
  }
}
