/**
 * The sun4v hypervisor's calls for shared memory of a logical domain channel (LDC), with the names and numbers of its API (UltraSPARC
 * Virtual Machine Specification, "LDC services"). A channel has two ends, each in a domain with memory of its own. Either end may export
 * pages by entries in its map table (formats/ldc-map-entry.ts); the other reaches them by cookies (cookies.ts).
 *
 *     call                ARG0     ARG1           ARG2            ARG3     ARG4     RET1           RET2
 *     ldc_tx_get_state    channel                                                   head           tail      RET3: link state
 *     ldc_rx_qconf        channel  queue          entries
 *     ldc_set_map_table   channel  table          entries
 *     ldc_copy            channel  direction      cookie          address  bytes    bytes copied
 *     ldc_mapin           channel  cookie                                           real address   permissions
 *     ldc_unmap           real address
 *     ldc_revoke          channel  cookie         revoke cookie
 *
 * Statuses are those of platforms/sun4v/services.ts. What is modelled:
 * - The link is up once both ends have configured their receive queue with entries. (Messages are not modelled.) Configuring it with 0
 *   entries resets the link: both ends must configure again.
 * - ldc_copy: address, cookie and bytes are multiples of 8. It may copy less than asked, and returns how much. It stops before the first
 *   page whose entry does not permit the copy. If that is the first page, the status is ENOACCESS or ENOMAP.
 * - ldc_mapin: maps a page of the other end at a real address of this one, with the entry's READ, WRITE, EXEC. The entry's revoke cookie is
 *   not 0 then. A page can be mapped in once.
 * - ldc_set_map_table: replaces the map table; with 0 entries, removes it. Pages that the other end has mapped in by the old table are
 *   unmapped, and revoke cookies in it lose their meaning. Revoke cookies of the new table are 0.
 * - ldc_revoke: ends the mapping with this revoke cookie. With any revoke cookie, including 0, no copy by the page's entry is in progress
 *   when it returns. (The API does not state that for copies, but a guest has no other call.)
 *
 * Sources. Confirmed against published headers of this interface: the calls' numbers and the order of their arguments, directions, link
 * states, permissions and the entry's bits. From memory: the table's alignment and sizes, and the status for each error
 * (docs/verification.md).
 */
export const LDC_TX_GET_STATE = 0xe2;
export const LDC_RX_QCONF = 0xe4;
export const LDC_SET_MAP_TABLE = 0xea;
export const LDC_COPY = 0xec;
export const LDC_MAPIN = 0xed;
export const LDC_UNMAP = 0xee;
export const LDC_REVOKE = 0xef;

/** Directions of ldc_copy: into this end's memory, or out of it. */
export const COPY_IN = 0;
export const COPY_OUT = 1;

/** Link states as one end sees them. */
export const LINK_DOWN = 0;
export const LINK_UP = 1;
/** An end has reset the link since it was up. */
export const LINK_RESET = 2;

/** The channel's number at both ends. The model has one channel. */
export const CHANNEL = 1;

/** A map table begins at a multiple of 8 KiB. Its number of entries is a power of two, from those of one page to 2^20. */
export const MAP_TABLE_ALIGNMENT = 8192;
export const LEAST_TABLE_ENTRIES = 512;
export const MOST_TABLE_ENTRIES: number = 2 ** 20;

/** Addresses and lengths of copies are multiples of 8 bytes. */
export const COPY_ALIGNMENT = 8;
