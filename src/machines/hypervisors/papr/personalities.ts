/**
 * The three hypervisors that a pseries guest may meet, by what they check differently. All that they share stands in the calls
 * themselves (tce-calls.ts). Who they are, and what a guest sees of it in every situation: docs/papr-personalities.md.
 */
import { H_PARAMETER, H_SUCCESS, H_TOO_HARD, TCES_PER_CALL } from "../../../platforms/pseries/papr.ts";
import { InvalidArgumentError } from "../../../units/errors.ts";

export type PersonalityName = "papr" | "kvm" | "qemu";

/** What a check answers when it is not made: the call goes on. */
export const TAKEN = 0;

export interface Personality {
  readonly name: PersonalityName;
  /** The code for a liobn that the guest does not have. */
  readonly unknownLiobn: number;
  /**
   * The code for a TCE with permissions whose page is misaligned, or no memory of the guest. TAKEN: it is stored, without the address
   * bits below its page, unless it leads into the hypervisor's own memory, which no guest can have.
   */
  readonly badPage: number;
  /** Is all of a call checked before any of it is written? Else it stops at the first bad entry, behind those written. */
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

/** Throws InvalidArgumentError for a name that none has. */
export function personalityNamed(name: string): Personality {
  const found = Object.hasOwn(PERSONALITIES, name) ? PERSONALITIES[name as PersonalityName] : undefined;
  if (found !== undefined) return found;
  throw new InvalidArgumentError("personality", name, `one of ${Object.keys(PERSONALITIES).join(", ")}`);
}
