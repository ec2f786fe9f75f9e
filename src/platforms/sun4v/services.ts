/**
 * The sun4v hypervisor's calls that program a PCI root's IOMMU, with the names and numbers of its API (UltraSPARC Virtual Machine
 * Specification: "PCI I/O services" for the legacy window, "PCI ATU services", API group 0x111, for the other). The platform makes
 * them; machines/hypervisors/sun4v answers them.
 *
 * A call has arguments ARG0 … and returns a status; results RET1 … replace ARG0 …. A real address is what a guest takes for a physical
 * address. Lists of pages are real addresses of 8 bytes, big-endian.
 *
 *     call               ARG0        ARG1       ARG2            ARG3             ARG4     RET1          RET2
 *     pci_iommu_map      devhandle   tsbid      #ttes           io_attributes    list     #ttes mapped
 *     pci_iommu_demap    devhandle   tsbid      #ttes                                     #ttes demapped
 *     pci_iommu_getmap   devhandle   tsbid                                                io_attributes real address
 *     pci_iotsb_conf     devhandle   table      bytes           page size        base     iotsb
 *     pci_iotsb_unconf   devhandle   iotsb
 *     pci_iotsb_bind     devhandle   iotsb      device
 *     pci_iotsb_unbind   devhandle   iotsb      device
 *     pci_iotsb_map      devhandle   iotsb      count << 48 | index  io_attributes  list  #ttes mapped
 *     pci_iotsb_demap    devhandle   iotsb      index           #ttes                     #ttes demapped
 *     pci_iotsb_getmap   devhandle   iotsb      index                                     real address  io_attributes
 *
 * tsbid is the TSB's number in bits 63–32 (0: the only one) and the index of an entry in bits 31–0. io_attributes: READ 1, WRITE 2,
 * relaxed order 4. map and demap may process fewer entries than asked, and return their number; the caller repeats the call for the rest.
 *
 * Sources. The calls' numbers, the order of their arguments, attributes and statuses are confirmed against published headers of this
 * interface. The status for each error is the model's interpretation of the API, except for unconf (EBUSY while bound), bind (EBUSY when
 * bound already) and unbind (ENOMAP when not bound), which are confirmed too (docs/verification.md). The sizes of the windows, the base of
 * the legacy window, pages of 8 KiB and lists of 1024 are choices of this project.
 */

// The PCI services.
export const PCI_IOMMU_MAP = 0xb0;
/** pci_iommu_demap. */
export const PCI_IOMMU_UNMAP = 0xb1;
export const PCI_IOMMU_GETMAP = 0xb2;
// The ATU services. (Not used here: pci_iotsb_info 0x191, get_binding 0x195, map_one 0x197, sync_mappings 0x19a.)
export const PCI_IOTSB_CONF = 0x190;
export const PCI_IOTSB_UNCONF = 0x192;
export const PCI_IOTSB_BIND = 0x193;
export const PCI_IOTSB_UNBIND = 0x194;
export const PCI_IOTSB_MAP = 0x196;
/** pci_iotsb_demap. */
export const PCI_IOTSB_UNMAP = 0x198;
export const PCI_IOTSB_GETMAP = 0x199;

/** Statuses of the API. */
export const EOK = 0;
/** A real address outside of this guest's memory. */
export const ENORADDR = 2;
export const EBADPGSZ = 4;
export const EINVAL = 6;
export const EBADTRAP = 7;
export const EBADALIGN = 8;
export const EWOULDBLOCK = 9;
export const ENOACCESS = 10;
export const EIO = 11;
/** No entry there. */
export const ENOMAP = 14;
export const ETOOMANY = 15;
export const ECHANNEL = 16;
export const EBUSY = 17;

/** Handle of the PCI root, which a machine description names. Ours has one root; the number is our choice. */
export const DEVICE_HANDLE = 0x400;

/** Pages are of 8 KiB. */
export const IO_PAGE_SHIFT = 13;
/** Elements of a list, which fills one page: the most that one call takes. */
export const LIST_ENTRIES = 1024;
export const LIST_BYTES: number = LIST_ENTRIES * 8;

/** The legacy window: 2 GiB from 2 GiB on. */
export const LEGACY_BASE = 0x8000_0000n;
export const LEGACY_ENTRIES: number = 2 ** (31 - IO_PAGE_SHIFT);
/** The ATU's window: 32 GiB, at a base that the guest chooses. */
export const ATU_ENTRIES: number = 2 ** (35 - IO_PAGE_SHIFT);
/** Where `Sun4vPlatform` puts it: 32 GiB, a multiple of its size. Our choice. */
export const ATU_BASE = 0x8_0000_0000n;

/** Count and index of pci_iotsb_map in one argument: the count in bits 63–48, the index in bits 47–0. */
export const IOTSB_COUNT_SHIFT = 48;
