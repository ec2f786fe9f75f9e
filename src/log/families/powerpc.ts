/**
 * PowerPC: a table of translation entries (TCEs) without room, and devices that EEH (enhanced error handling) froze. A freeze by itself does not
 * say that DMA was its cause.
 */
import { PCI_DEVICE, pciName } from "../pci.ts";
import { type Family, type Field, type Found, given, type Shape, type Sink, TEXT, type Values } from "../shape.ts";

const TABLE: Field = { radix: "hex", unit: "address of the kernel's table structure" };
const MEMORY: Field = { radix: "hex", unit: "kernel address of the memory" };

/**
 * The pages: since Linux names the device they are decimal. Before, a list's were hexadecimal and a single mapping's decimal, with the same words:
 * `10` is ten or sixteen then. So a number of several decimal digits is left out there.
 */
const ALLOC: Shape = {
  name: "powerpc-alloc",
  example: "iommu_alloc failed, tbl c00000000263c480 vaddr c000000133b00000 npages 10",
  kernels: "all: with the device, and pages in decimal, 3.x on",
  pattern: new RegExp(
    String.raw`(?:(?<driver>[a-z][\w.-]{0,63})\s+(?<device>${PCI_DEVICE}|[\w.:@/-]{1,64}):\s+)?iommu_alloc\s+failed,\s+tbl\s+(?<table>(?:0x)?[0-9a-f]+)\s+vaddr\s+(?<memory>(?:0x)?[0-9a-f]+)\s+npages\s+(?<pages>(?:0x)?[0-9a-f]+)`,
    "i",
  ),
  fields: {
    driver: { radix: "text", unit: "driver" },
    device: { radix: "text", unit: "device" },
    table: TABLE,
    memory: MEMORY,
    pages: { radix: "hex", unit: "pages; decimal with a device, else one of both" },
  },
  read(values, found, sink) {
    const device = values.text("device");
    sink.add({
      kind: "exhausted",
      ...found.base,
      ...given({
        device: pciName(device) ?? device,
        driver: values.text("driver"),
        table: values.text("table"),
        pages: pagesOf(values, device !== undefined),
      }),
    });
  },
};

function pagesOf(values: Values, hasDevice: boolean): number | undefined {
  const hexadecimal = values.small("pages");
  const printed = values.text("pages");
  if (hexadecimal === undefined || printed === undefined) return undefined;
  if (!/^\d+$/.test(printed)) return hexadecimal;
  return hasDevice || printed.length === 1 ? Number(printed) : undefined;
}

const PE = `PHB#(?<bridge>[0-9a-f]+)(?:-PE#(?<endpoint>[0-9a-f]+))?`;
const PE_FIELDS = {
  bridge: { radix: "hex", unit: "number of the PCI host bridge" },
  endpoint: { radix: "hex", unit: "number of the partitionable endpoint" },
} as const;

const RECOVERING: Shape = {
  name: "eeh-recovering",
  example: "EEH: Recovering PHB#30-PE#10000",
  kernels: "all",
  pattern: new RegExp(String.raw`EEH:\s+Recovering\s+${PE}`, "i"),
  fields: PE_FIELDS,
  read: (values, found, sink) => freeze(values, found, sink),
};

const FROZEN: Shape = {
  name: "eeh-frozen",
  example: "EEH: Frozen PHB#2-PE#fd detected",
  kernels: "all",
  pattern: new RegExp(
    String.raw`EEH:\s+(?:(?:Frozen|Fenced|Dead)\s+${PE}|Frozen\s+PE#(?<oldEndpoint>[0-9a-f]+)\s+on\s+PHB#(?<oldBridge>[0-9a-f]+))\s+detected`,
    "i",
  ),
  fields: { ...PE_FIELDS, oldEndpoint: PE_FIELDS.endpoint, oldBridge: PE_FIELDS.bridge },
  read: (values, found, sink) => freeze(values, found, sink),
};

/** Both lines, in either order and printed once or twice, are one freeze. */
function freeze(values: Values, found: Found, sink: Sink): void {
  const bridge = values.text("bridge") ?? values.text("oldBridge") ?? "";
  const endpoint = values.text("endpoint") ?? values.text("oldEndpoint");
  const pe = endpoint === undefined ? `PHB#${bridge}` : `PHB#${bridge}-PE#${endpoint}`;
  const open = sink.open(`eeh ${pe}`);
  if (open === undefined) sink.add({ kind: "frozen", ...found.base, pe }, `eeh ${pe}`);
  else sink.extend(open, found);
}

/** Until Linux 3.x a freeze is known by the device that read all ones. */
const SLOT: Shape = {
  name: "eeh-slot",
  example: "EEH: Detected PCI bus error on device 0001:c1:00.0 at location U1.5",
  kernels: "until 3.x",
  pattern: new RegExp(
    String.raw`EEH:\s+Detected\s+PCI\s+bus\s+error\s+on\s+(?:device|PHB#(?<bridge>[0-9a-f]+)-PE#(?<endpoint>[0-9a-f]+))(?:\s+(?<device>${PCI_DEVICE}))?(?<place>[^\n]*)`,
    "i",
  ),
  fields: { ...PE_FIELDS, device: { radix: "text", unit: "PCI device" }, place: TEXT },
  read(values, found, sink) {
    if (values.text("bridge") !== undefined) {
      freeze(values, found, sink);
      return;
    }
    sink.add({ kind: "frozen", ...found.base, ...given({ device: pciName(values.text("device")) }) });
  },
};

export const POWERPC: Family = {
  name: "powerpc",
  about: "PowerPC: exhausted tables (TCE), devices frozen by EEH",
  hint: /iommu_alloc|EEH:/i,
  shapes: [ALLOC, RECOVERING, FROZEN, SLOT],
};
