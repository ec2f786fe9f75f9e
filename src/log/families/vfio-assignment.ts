/** VFIO: a device that can't be given to a guest or to a driver of user space. One refusal is printed by several layers. */
import type { AssignmentRefusedFact } from "../facts.ts";
import { deviceName, PCI_DEVICE } from "../pci.ts";
import { DEVICE, type Found, given, type Shape, type Sink, TEXT } from "../shape.ts";

type Because = AssignmentRefusedFact["because"];
const KEY = "assignment-refused";

/** Adds a refusal; the same one of the same device is one fact when another layer prints it. */
export function refuseAssignment(because: Because, device: string | undefined, found: Found, sink: Sink): void {
  const open = sink.open(KEY);
  if (
    open?.kind === "assignment-refused" &&
    open.because === because &&
    (open.device === device || open.device === undefined || device === undefined)
  ) {
    Object.assign(open, given({ device: open.device ?? device }));
    sink.extend(open, found);
    return;
  }
  sink.add({ kind: "assignment-refused", ...found.base, ...given({ because, device }) }, KEY);
}

interface Wording {
  readonly name: string;
  readonly example: string;
  readonly kernels: string;
  readonly because: Because;
  readonly words: string;
}

const WORDINGS: readonly Wording[] = [
  {
    name: "vfio-1-1-mapping",
    example:
      "vfio-pci 0000:00:1a.0: Firmware has requested this device have a 1:1 IOMMU mapping, rejecting configuring the device without a 1:1 mapping. Contact your platform vendor.",
    kernels: "Linux 6.6 on",
    because: "reserved-region",
    words: String.raw`Firmware\s+has\s+requested\s+this\s+device\s+have\s+a\s+1:1\s+IOMMU\s+mapping`,
  },
  {
    name: "vfio-rmrr",
    example:
      "vfio-pci 0000:03:00.0: Device is ineligible for IOMMU domain attach due to platform RMRR requirement.  Contact your platform vendor.",
    kernels: "Linux 3.17 to 6.5",
    because: "reserved-region",
    words: String.raw`Device\s+is\s+ineligible\s+for\s+IOMMU\s+domain\s+attach\s+due\s+to\s+platform\s+RMRR`,
  },
  {
    name: "vfio-not-viable",
    example: "vfio 0000:01:00.0: group 1 is not viable",
    kernels: "QEMU, DPDK, SPDK",
    because: "group-not-viable",
    words: String.raw`(?:VFIO\s+)?group\s+(?:\d+\s+)?(?:is\s+)?not\s+viable`,
  },
  {
    name: "vfio-bind-all",
    example: "Please ensure all devices within the iommu_group are bound to their vfio bus driver.",
    kernels: "QEMU: the second half",
    because: "group-not-viable",
    words: String.raw`[Pp]lease\s+ensure\s+all\s+devices\s+within\s+the\s+iommu[_\s]group\s+are\s+bound`,
  },
  {
    name: "vfio-no-group",
    example: "vfio 0000:02:00.0: no iommu_group found: No such file or directory",
    kernels: "QEMU",
    because: "no-iommu",
    words: String.raw`no\s+iommu_group\s+found|No\s+available\s+IOMMU\s+models|host\s+doesn't\s+support\s+passthrough\s+of\s+host\s+PCI\s+devices`,
  },
];

function ofWording({ name, example, kernels, because, words }: Wording): Shape {
  return {
    name,
    example,
    kernels,
    pattern: new RegExp(
      String.raw`(?:(?:(?<driver>[\w-]{1,64})\s+)?(?<device>${PCI_DEVICE}):?\s+)?(?:error:?,?\s+)?(?:${words})`,
      "i",
    ),
    fields: { driver: TEXT, device: DEVICE },
    read(values, found, sink) {
      refuseAssignment(because, deviceName(values.text("device")), found, sink);
    },
  };
}

const UNSAFE_INTERRUPTS: Shape = {
  name: "vfio-unsafe-interrupts",
  example:
    'vfio_iommu_type1_attach_group: No interrupt remapping support.  Use the module param "allow_unsafe_interrupts" to enable VFIO IOMMU support on this platform',
  kernels: "Linux 3.6 on",
  pattern: /No\s+interrupt\s+remapping\s+(?:support|for\s+device\s+assignment)/,
  fields: {},
  read(_values, found, sink) {
    refuseAssignment(undefined, undefined, found, sink);
  },
};

export const ASSIGNMENT_SHAPES: readonly Shape[] = [...WORDINGS.map(ofWording), UNSAFE_INTERRUPTS];
