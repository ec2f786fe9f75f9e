/**
 * The checks in which the three hypervisors of pseries guests differ. Their common behaviour is in tce-calls.ts. docs/papr-personalities.md
 * describes the hypervisors and what a guest sees in every situation.
 */
import { H_PARAMETER, H_SUCCESS, H_TOO_HARD, TCES_PER_CALL } from "../../../platforms/pseries/papr.ts";
import { InvalidArgumentError } from "../../../units/errors.ts";

/** Hypervisors of pseries guests, which differ in checks and codes: PAPR's text, KVM, QEMU (docs/papr-personalities.md). */
export type PersonalityName = "papr" | "kvm" | "qemu";

/** Result of a check that the hypervisor does not make: the call continues. */
export const TAKEN = 0;

export interface Personality {
  readonly name: PersonalityName;
  /** The code for an unknown liobn. */
  readonly unknownLiobn: number;
  /**
   * The code for a TCE with permissions whose page is misaligned or not in the guest's memory. TAKEN: it is stored, without the address
   * bits below its page, unless it leads into the hypervisor's memory.
   */
  readonly badPage: number;
  /**
   * True if all entries of a call are checked before one is written. Else the call stops at the first bad entry, after writing the earlier
   * ones.
   */
  readonly checksFirst: boolean;
  /** The code for a stuffed value that has permissions, or TAKEN. */
  readonly stuffedPermissions: number;
  /** The largest count of H_STUFF_TCE: a number, or the entries of the table. */
  readonly stuffLimit: number | "table";
  /** The code for a count of 0. */
  readonly nothing: number;
}

export const PERSONALITIES: Readonly<Record<PersonalityName, Personality>> = {
  papr: {
    name: "papr",
    unknownLiobn: H_PARAMETER,
    badPage: H_PARAMETER,
    checksFirst: true,
    stuffedPermissions: H_PARAMETER,
    stuffLimit: TCES_PER_CALL,
    nothing: H_SUCCESS,
  },
  kvm: {
    name: "kvm",
    unknownLiobn: H_TOO_HARD,
    badPage: H_TOO_HARD,
    checksFirst: true,
    stuffedPermissions: H_PARAMETER,
    stuffLimit: Number.POSITIVE_INFINITY,
    nothing: H_SUCCESS,
  },
  qemu: {
    name: "qemu",
    unknownLiobn: H_PARAMETER,
    badPage: TAKEN,
    checksFirst: false,
    stuffedPermissions: TAKEN,
    stuffLimit: "table",
    nothing: H_PARAMETER,
  },
};

/** The personality with this name. Throws InvalidArgumentError for an unknown name. */
export function personalityNamed(name: string): Personality {
  const found = Object.hasOwn(PERSONALITIES, name) ? PERSONALITIES[name as PersonalityName] : undefined;
  if (found !== undefined) return found;
  throw new InvalidArgumentError("personality", name, `one of ${Object.keys(PERSONALITIES).join(", ")}`);
}
