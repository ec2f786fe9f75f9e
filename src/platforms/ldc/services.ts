/**
 * The calls to a sun4v hypervisor about shared memory of a logical domain channel (LDC), as its API names and numbers them (UltraSPARC
 * Virtual Machine Specification, "LDC services"). A channel has two ends, each in a domain with memory of its own. Either end may
 * export pages by entries in its map table (formats/ldc-map-entry.ts); the other reaches them by cookies (cookies.ts).
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
 * - The link is up once both ends have configured their receive queue (with entries; none is ever received here). Configuring it
 *   with none resets the link: both ends must configure anew.
 * - ldc_copy: address, cookie and bytes are multiples of 8. It may copy less than asked, and says how much; it stops before the
 *   first page that its entry does not let be copied, which is refused when it is the first: ENOACCESS or ENOMAP.
 * - ldc_mapin: a page of the other end, at a real address of this one, by the entry's READ, WRITE, EXEC. The entry's revoke cookie
 *   is then not 0. One end has a page mapped in once.
 * - ldc_set_map_table: a table in place of the one that there was, or none with no entries. What the other end has mapped in by the
 *   old one ends; revoke cookies that still stand there mean nothing. The new one's are 0.
 * - ldc_revoke: ends the mapping that the revoke cookie stands for. With any cookie, 0 too, no copy by the page's entry is going
 *   on when it returns. (The API does not say that of copies; a guest that unmaps a page has no other call.)
 *
 * Sources. Confirmed against published headers of this interface: the calls' numbers and the order of their arguments, directions, link
 * states, permissions and the entry's bits. From memory: the table's alignment and sizes, and which status answers which mistake
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
/** It was up, and an end has reset it. */
export const LINK_RESET = 2;

/** The number of the channel, at both ends. Ours have one. */
export const CHANNEL = 1;

/** Map tables lie at multiples of 8 KiB, and have a power of two of entries, from one page's to 2^20. */
export const MAP_TABLE_ALIGNMENT = 8192;
export const LEAST_TABLE_ENTRIES = 512;
export const MOST_TABLE_ENTRIES: number = 2 ** 20;

/** Copies are of multiples of 8 bytes. */
export const COPY_ALIGNMENT = 8;
