/** Words of the field, each in half a sentence, for answers that use them. */

interface Term {
  readonly word: string;
  /** Where the word stands in a text. */
  readonly pattern: RegExp;
  readonly meaning: string;
}

const TERMS: readonly Term[] = [
  {
    word: "IOMMU",
    pattern: /\bIOMMUs?\b/,
    meaning: "the unit between devices and memory; a device reaches only what was mapped for it",
  },
  { word: "DMA", pattern: /\bDMAs?\b(?! API|-API)/, meaning: "a device's own access to memory" },
  {
    word: "stream",
    pattern: /\bstream 0x/,
    meaning: "the number by which an Arm IOMMU knows a device",
  },
  {
    word: "domain",
    pattern: /\b[Dd]omains?\b/,
    meaning: "the table of mappings that one or several devices use",
  },
  {
    word: "requester",
    pattern: /\brequester\b/,
    meaning: "the device whose id the request carries",
  },
  { word: "BAR", pattern: /\bBARs?\b/, meaning: "the range of addresses of a device's own registers or memory" },
  { word: "MSI", pattern: /\bMSIs?\b/, meaning: "an interrupt that a device sends as a write to memory" },
  { word: "IOTLB", pattern: /\bIOTLB\b/, meaning: "a cache of translations, in the IOMMU or in a device" },
  {
    word: "invalidation",
    pattern: /\b[Ii]nvalidations?\b/,
    meaning: "the order to forget old translations; lazy: later, for many at once; strict: at each unmap",
  },
  {
    word: "RMRR, IVMD",
    pattern: /\b(?:RMRR|IVMD)\b/,
    meaning: "regions of memory that the firmware declares as used by a device",
  },
  {
    word: "group",
    pattern: /\bgroup\b/,
    meaning: "devices that the IOMMU can't keep apart; they are given away together",
  },
  { word: "EEH", pattern: /\bEEH\b/, meaning: "the error handling of PowerPC's PCI bridges, which cut a device off" },
  {
    word: "DMA API",
    pattern: /\bDMA API\b/,
    meaning: "the kernel's functions with which drivers map memory (dma_map_…, dma_alloc_…)",
  },
  {
    word: "VFIO",
    pattern: /\bVFIO\b|vfio-pci/,
    meaning: "the part of Linux that gives devices to guests and programs",
  },
];

/** The words of the field that the text uses, in the order of the list: `DMA: a device's own access to memory.` */
export function wordsIn(text: string): string[] {
  return TERMS.filter(({ pattern }) => pattern.test(text)).map(({ word, meaning }) => `${word}: ${meaning}.`);
}
