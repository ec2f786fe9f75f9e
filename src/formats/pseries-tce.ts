/**
 * TCE of a pseries guest: what it hands to the hypervisor for a page of a PCI device (LoPAPR, "H_PUT_TCE"). The address is a
 * logical one of the guest; the hypervisor makes a real one of it.
 *
 * READ is always set, so there is no write without read: the bits come out as powernv's (tce.ts), and are written by the same code.
 * They mean something else, so it is a format with a name of its own. The virtual bus of pseries has other bits (VALID 0x800, ALLIO
 * 0x400, and WRITE 1): none of the devices here is on it, and that variant is left out.
 */
import type { EntryFormat } from "./contract.ts";
import { powernvTce } from "./tce.ts";

/**
 * Entries of a pseries guest's PCI windows (LoPAPR, "H_PUT_TCE"). Page shifts, grants and bits are those of `powernvTce`. Addresses are
 * logical ones of the guest.
 */
export const pseriesTce: EntryFormat = { ...powernvTce, name: "pseries-tce" };
