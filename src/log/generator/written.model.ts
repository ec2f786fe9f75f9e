/**
 * Faults whose codes are varied, too: access and cause stand in flags, reasons, registers and words, written here by the documents of the hardware
 * and not by the shapes that read them.
 */
import { type Event, type Kind, nameOf, type Planted } from "./varied.model.ts";

interface Form {
  readonly name: string;
  readonly family: string;
  /** Which of the event's facts the message says. */
  readonly says: readonly ("device" | "iova" | "access" | "streamId" | "cause")[];
  readonly lines: (event: Event) => readonly string[];
}

const hex = (value: bigint | number, digits = 1): string => value.toString(16).padStart(digits, "0");
const bdf = (event: Event): string => nameOf(event).slice(5);
const upper = ({ isWrite }: Event): string => (isWrite ? "Write" : "Read");
const INTEL = ["device", "iova", "access"] as const;
const ALL = ["device", "iova", "access", "cause"] as const;
const STREAM = ["streamId", "iova", "access", "cause"] as const;

const amdEvent = (event: Event, device: string): string => {
  const flags = (event.isPermission ? 0x50 : 0) | (event.isWrite ? 0x20 : 0);
  return `AMD-Vi: Event logged [IO_PAGE_FAULT ${device}domain=0x000b address=0x${hex(event.iova)} flags=0x${hex(flags, 4)}]`;
};

const SMMU_V3 = "arm-smmu-v3 arm-smmu-v3.5.auto:";
const rawEvent = (event: Event): string[] => [
  `${SMMU_V3} event 0x${event.isPermission ? 13 : 10} received:`,
  `${SMMU_V3} \t0x${hex(event.streamId, 8)}000000${event.isPermission ? 13 : 10}`,
  `${SMMU_V3} \t0x0000020${event.isWrite ? 0 : 8}00000000`,
  `${SMMU_V3} \t0x${hex(event.iova, 16)}`,
  `${SMMU_V3} \t0x0000000000000000`,
];

const FORMS: readonly Form[] = [
  {
    name: "intel",
    family: "intel",
    says: INTEL,
    lines: (event) => [
      `DMAR: [DMA ${upper(event)} NO_PASID] Request device [${bdf(event)}] fault addr 0x${hex(event.iova)} [fault reason 0x0${event.isWrite ? 5 : 6}] PTE ${upper(event)} access is not set`,
    ],
  },
  {
    name: "intel in two lines",
    family: "intel",
    says: INTEL,
    lines: (event) => [
      `dmar: DMAR:[DMA ${upper(event)}] Request device [${bdf(event)}] fault addr ${hex(event.iova)} `,
      `DMAR:[fault reason 0${event.isWrite ? 5 : 6}] PTE ${upper(event)} access is not set`,
    ],
  },
  { name: "amd", family: "amd", says: ALL, lines: (event) => [amdEvent(event, `device=${bdf(event)} `)] },
  {
    name: "amd, device in front",
    family: "amd",
    says: ALL,
    lines: (event) => [`nvme ${nameOf(event)}: ${amdEvent(event, "")}`],
  },
  { name: "smmu-v3, raw", family: "smmu-v3", says: STREAM, lines: rawEvent },
  {
    name: "smmu-v3, raw and decoded",
    family: "smmu-v3",
    says: [...STREAM, "device"],
    lines: (event) => [
      ...rawEvent(event),
      `${SMMU_V3} event: F_${event.isPermission ? "PERMISSION" : "TRANSLATION"} client: ${nameOf(event)} sid: 0x${hex(event.streamId)} ssid: 0x0 iova: 0x${hex(event.iova)} ipa: 0x0`,
      `${SMMU_V3} unpriv data ${upper(event).toLowerCase()} s1 "Input address caused fault" stag: 0x0`,
    ],
  },
  {
    name: "smmu",
    family: "smmu",
    says: STREAM,
    lines: (event) => [
      `arm-smmu 15000000.iommu: Unhandled context fault: fsr=0x40${event.isPermission ? 8 : 2}, iova=0x${hex(event.iova)}, fsynr=0x1300${event.isWrite ? 10 : "00"}, cbfrsynra=0x${hex(event.streamId)}, cb=4`,
    ],
  },
  {
    name: "qemu",
    family: "qemu",
    says: ALL,
    lines: (event) => [
      `qemu-system-x86_64: vtd_iova_to_slpte: detected slpte permission error (iova=0x${hex(event.iova)}, level=0x1, slpte=0x${event.isPermission ? (event.isWrite ? "1f2556001" : "1f2556002") : 0}, write=${event.isWrite ? 1 : 0})`,
      `qemu-system-x86_64: vtd_iommu_translate: detected translation failure (dev=${bdf(event).replace(".", ":0")}, iova=0x${hex(event.iova)})`,
    ],
  },
];

function plantedOf({ says }: Form, event: Event): Planted[] {
  const values = {
    device: nameOf(event),
    iova: event.iova,
    access: event.isWrite ? "write" : "read",
    streamId: BigInt(event.streamId),
    cause: event.isPermission ? "permission" : "absent",
  };
  return says.map((property) => ({ property, value: values[property] }));
}

export const WRITTEN: readonly Kind[] = FORMS.map((form) => ({
  name: form.name,
  family: form.family,
  print: (event) => ({ lines: form.lines(event), planted: plantedOf(form, event) }),
}));
