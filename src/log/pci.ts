/** Names of PCI devices as people and kernels write them. */

/** A device in a pattern: `02:00.0`, `0000:02:00.0`, `0x02:0x00.0`. */
export const PCI_DEVICE: string = `(?:[0-9a-f]{4,8}:)?(?:0x)?[0-9a-f]{2}:(?:0x)?[0-9a-f]{2}[.:](?:0x)?[0-7]`;

/** `02:00.0`, `0x02:0x00.0`, `0000:02:00.0` → `0000:02:00.0`; what names no PCI device, or a masked one, is undefined. */
export function pciName(text: string | undefined): string | undefined {
  const match = /^(?:([0-9a-f]{4,8}):)?(?:0x)?([0-9a-f]{2}):(?:0x)?([0-9a-f]{2})[.:](?:0x)?([0-7])$/i.exec(
    text?.trim() ?? "",
  );
  if (match === null) return undefined;
  const [, segment = "0000", bus = "", slot = "", fn = ""] = match;
  return `${segment}:${bus}:${slot}.${fn}`.toLowerCase();
}

/** A requester id (bus 15:8, slot 7:3, function 2:0) as a name. */
export function nameOfRequesterId(id: number, segment = "0000"): string {
  const hex = (value: number): string => value.toString(16).padStart(2, "0");
  return `${segment}:${hex((id >> 8) & 0xff)}:${hex((id >> 3) & 0x1f)}.${id & 7}`;
}

/** A device as a finding names it: PCI in full, others as printed. */
export function deviceName(text: string | undefined): string | undefined {
  return text === undefined ? undefined : (pciName(text) ?? text);
}
