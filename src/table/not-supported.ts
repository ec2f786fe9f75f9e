/** The error for an optional method of MappingTable that a table lacks. */
import { IovaError } from "../units/errors.ts";

/** `method`: "allocateAt". */
export function notSupported(method: string): IovaError {
  return new IovaError("not-supported", `the table has no method ${method}; an IommuTable has it`);
}
