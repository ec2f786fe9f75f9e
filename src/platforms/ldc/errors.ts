/**
 * What goes wrong with exported memory, by the errno that the interface has for it. Thrown, all of them: users of a channel know these
 * numbers, wherever they come from. (What the generic table can't do is a Failure, as on every platform.)
 */
import { IovaError } from "../../units/errors.ts";

/**
 * EINVAL: permissions or a direction that there are not, no bytes. EFAULT: not a multiple of 8, or a copy that is refused though the
 * link is up. EMSGSIZE: fewer cookies than pages. ENOMEM: no entries left. ECONNRESET: the link is down or was reset. EBUSY: the
 * platform can't now; the same call may succeed later.
 */
export type LdcErrno = "EINVAL" | "EFAULT" | "EMSGSIZE" | "ENOMEM" | "ECONNRESET" | "EBUSY";

export class LdcError extends IovaError {
  override readonly name = "LdcError";
  constructor(errno: LdcErrno, message: string) {
    super(errno, message);
  }
}
