/**
 * Writes kernel logs at random whose truth is known: messages of the frequent shapes, behind the prefix of a log daemon, damaged as mail programs,
 * terminals and web pages damage them. A seed gives the same log again.
 */

/** A whole number from 0 up to, not including, `end`. */
export type Random = (end: number) => number;

/** A message of the log: what an explanation must find of it. */
export interface GeneratedMessage {
  readonly kind: string;
  readonly device?: string;
  readonly streamId?: string;
  readonly iova?: string;
  readonly access?: string;
  /** How often it was printed, with another address each time. */
  readonly count: number;
  /** Verdicts that contradict the cause that is printed. */
  readonly never: readonly string[];
  /** The message leaves the cause open. */
  readonly isOpen: boolean;
}

export interface GeneratedLog {
  readonly text: string;
  readonly messages: readonly GeneratedMessage[];
  /** Shapes, prefix and damage, for the message of a test. */
  readonly how: string;
}

/** xorshift32 (Marsaglia, 2003). */
export function generator(seed: number): Random {
  let state = (Math.imul(seed, 2654435761) ^ 0x9e3779b9) | 1;
  return (end) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % end;
  };
}

/** What one printing of a message says. */
interface Event {
  /** PCI bus, from 1 to 255, and slot and function: `02:00.0`. */
  readonly device: string;
  readonly iova: number;
  readonly isWrite: boolean;
  /** The entry is present and forbids the access; else there is no entry. */
  readonly isPermission: boolean;
  readonly streamId: number;
}

interface Shape {
  readonly name: string;
  readonly kind: string;
  /** Which of the facts the message prints. */
  readonly prints: readonly ("device" | "iova" | "access" | "streamId" | "cause")[];
  /** Printed once only: each printing is a finding of its own, or two are alike. */
  readonly isSingle?: boolean;
  readonly lines: (event: Event) => readonly string[];
}

const hex = (value: number, digits = 1): string => value.toString(16).padStart(digits, "0");
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

const FAULTS: readonly Shape[] = [
  {
    name: "intel",
    kind: "dma-fault",
    prints: INTEL,
    lines: (event) => [
      `DMAR: [DMA ${upper(event)} NO_PASID] Request device [${event.device}] fault addr 0x${hex(event.iova)} [fault reason 0x0${event.isWrite ? 5 : 6}] PTE ${upper(event)} access is not set`,
    ],
  },
  {
    name: "intel-in-two-lines",
    kind: "dma-fault",
    prints: INTEL,
    lines: (event) => [
      `dmar: DMAR:[DMA ${upper(event)}] Request device [${event.device}] fault addr ${hex(event.iova)} `,
      `DMAR:[fault reason 0${event.isWrite ? 5 : 6}] PTE ${upper(event)} access is not set`,
    ],
  },
  { name: "amd", kind: "dma-fault", prints: ALL, lines: (event) => [amdEvent(event, `device=${event.device} `)] },
  {
    name: "amd-device-in-front",
    kind: "dma-fault",
    prints: ALL,
    lines: (event) => [`nvme 0000:${event.device}: ${amdEvent(event, "")}`],
  },
  { name: "smmu-v3-raw", kind: "dma-fault", prints: STREAM, lines: rawEvent },
  {
    name: "smmu-v3-raw-and-decoded",
    kind: "dma-fault",
    prints: [...STREAM, "device"],
    lines: (event) => [
      ...rawEvent(event),
      `${SMMU_V3} event: F_${event.isPermission ? "PERMISSION" : "TRANSLATION"} client: 0000:${event.device} sid: 0x${hex(event.streamId)} ssid: 0x0 iova: 0x${hex(event.iova)} ipa: 0x0`,
      `${SMMU_V3} unpriv data ${upper(event).toLowerCase()} s1 "Input address caused fault" stag: 0x0`,
    ],
  },
  {
    name: "smmu",
    kind: "dma-fault",
    prints: STREAM,
    lines: (event) => [
      `arm-smmu 15000000.iommu: Unhandled context fault: fsr=0x40${event.isPermission ? 8 : 2}, iova=0x${hex(event.iova)}, fsynr=0x1300${event.isWrite ? 10 : "00"}, cbfrsynra=0x${hex(event.streamId)}, cb=4`,
    ],
  },
  {
    name: "qemu",
    kind: "dma-fault",
    prints: ALL,
    lines: ({ device, iova, isWrite, isPermission }) => [
      `qemu-system-x86_64: vtd_iova_to_slpte: detected slpte permission error (iova=0x${hex(iova)}, level=0x1, slpte=0x${isPermission ? (isWrite ? "1f2556001" : "1f2556002") : 0}, write=${isWrite ? 1 : 0})`,
      `qemu-system-x86_64: vtd_iommu_translate: detected translation failure (dev=${device.replace(".", ":0")}, iova=0x${hex(iova)})`,
    ],
  },
];

const OTHERS: readonly Shape[] = [
  {
    name: "swiotlb",
    kind: "bounce-refused",
    prints: ["device"],
    lines: ({ device, iova }) => [
      `nvme 0000:${device}: swiotlb buffer is full (sz: ${(iova >>> 12) % 262144} bytes), total 32768 (slots), used 32000 (slots)`,
    ],
  },
  {
    name: "vfio-memlock",
    kind: "map-refused",
    prints: [],
    isSingle: true,
    lines: () => ["vfio_pin_pages_remote: RLIMIT_MEMLOCK (65536) exceeded"],
  },
  {
    name: "pte-already-set",
    kind: "conflicting-entry",
    prints: ["iova"],
    isSingle: true,
    lines: ({ iova }) => [
      `DMAR: ERROR: DMA PTE for vPFN 0x${hex(iova >>> 12)} already set (to ${hex(iova)}003 not 173025001)`,
    ],
  },
  {
    name: "intr-remap",
    kind: "interrupt",
    prints: ["device"],
    lines: ({ device, iova }) => [
      `DMAR: [INTR-REMAP] Request device [${device}] fault index 0x${hex((iova >>> 12) & 0xffff)} [fault reason 0x25] Blocked a compatibility format interrupt request`,
    ],
  },
];

const SHAPES = [...FAULTS, ...FAULTS, ...OTHERS];

/** Lines of an ordinary log that say nothing of an IOMMU. */
const NOISE = [
  "usb 1-1: new high-speed USB device number 2 using xhci_hcd",
  "EXT4-fs (sda1): mounted filesystem with ordered data mode. Opts: (null)",
  "e1000e 0000:00:1f.6 eno1: NIC Link is Up 1000 Mbps Full Duplex, Flow Control: None",
  "random: crng init done",
  "ACPI: Power Button [PWRF]",
  "input: AT Translated Set 2 keyboard as /devices/platform/i8042/serio0/input/input0",
  'audit: type=1400 audit(1596012345.123:4): apparmor="STATUS" operation="profile_load" profile="unconfined"',
  "Bluetooth: hci0: Firmware revision 0.1 build 50 week 12 2019",
] as const;

interface Line {
  readonly prefix: string;
  readonly text: string;
}

const clockOf = (seconds: number): string => new Date(seconds * 1000).toISOString().slice(11, 19);
const uptime = (seconds: number): string => seconds.toFixed(6).padStart(12);

/** What stands before each message, by the seconds since the machine began. */
const PREFIXES: readonly (readonly [name: string, prefix: (seconds: number) => string])[] = [
  ["kernel", (seconds) => `[${uptime(seconds)}] `],
  ["dmesg -T", (seconds) => `[Thu Oct 22 ${clockOf(seconds)} 2020] `],
  ["syslog", (seconds) => `Jul 28 ${clockOf(seconds)} myhost kernel: [${uptime(seconds)}] `],
  ["journal", (seconds) => `Jul 28 ${clockOf(seconds)} myhost kernel: `],
  ["caller", (seconds) => `[${uptime(seconds)}][  T814] `],
  ["none", () => ""],
];

const plain = (lines: readonly Line[]): string[] => lines.map(({ prefix, text }) => prefix + text);
const quoted = (lines: readonly string[]): string[] => lines.map((line) => `> ${line}`);

/** Breaks a line at its last blank before the column. */
function wrapped(line: string, column: number): string[] {
  if (line.length <= column) return [line];
  const at = line.lastIndexOf(" ", column);
  return at < 20 ? [line] : [line.slice(0, at), ...wrapped(line.slice(at + 1), column)];
}

/** Quoted-printable (RFC 2045, 6.7): lines of at most 76 characters, the "=" at their end among them. */
function encoded(line: string): string {
  const lines = [""];
  for (const [character] of line.replaceAll("=", "=3D").matchAll(/=3D|[\s\S]/g)) {
    const last = lines.at(-1) ?? "";
    if (last.length + character.length > 75) lines.push(character);
    else lines[lines.length - 1] = last + character;
  }
  return lines.join("=\n");
}

const ENTITIES: Readonly<Record<string, string>> = { "<": "&lt;", ">": "&gt;", "&": "&amp;", '"': "&quot;" };

const DAMAGES: readonly (readonly [name: string, damage: (lines: readonly Line[], random: Random) => string])[] = [
  ["undamaged", (lines) => plain(lines).join("\n")],
  ["quoted", (lines) => quoted(plain(lines)).join("\n")],
  [
    "wrapped",
    (lines, random) => {
      const column = 72 + random(7);
      return plain(lines)
        .flatMap((line) => wrapped(line, column))
        .join("\n");
    },
  ],
  [
    "wrapped and quoted",
    (lines, random) => {
      const column = 72 + random(7);
      return quoted(plain(lines).flatMap((line) => wrapped(line, column))).join("\n");
    },
  ],
  ["CRLF", (lines) => `${plain(lines).join("\r\n")}\r\n`],
  [
    "entities",
    (lines) =>
      plain(lines)
        .join("\n")
        .replace(/[<>&"]/g, (mark) => ENTITIES[mark] ?? mark),
  ],
  [
    "coloured",
    (lines) => lines.map(({ prefix, text }) => `\u001b[32m${prefix}\u001b[0m\u001b[1m${text}\u001b[0m`).join("\n"),
  ],
  ["quoted-printable", (lines) => plain(lines).map(encoded).join("\n")],
  [
    "quoted again below",
    (lines) => [...plain(lines), "", "Somebody wrote:", "", ...quoted(plain(lines)), ""].join("\n"),
  ],
];

function pick<T>(list: readonly T[], random: Random): T {
  return list[random(list.length)] as T;
}

/** The messages of one shape: what they print, and the truth. `number` makes its device and its addresses differ from those of others. */
function messageOf(shape: Shape, number: number, random: Random): { message: GeneratedMessage; texts: string[][] } {
  const event: Event = {
    device: `${hex(number * 16 + random(16), 2)}:${hex(random(32), 2)}.${random(8)}`,
    iova: (0x1000_0000 * number + random(0xf000) * 0x1000) >>> 0,
    isWrite: random(2) === 0,
    isPermission: random(3) === 0,
    streamId: 0x100 * number + random(0x100),
  };
  const count = shape.isSingle === true ? 1 : 1 + random(4);
  const texts = Array.from({ length: count }, (_, at) => [
    ...shape.lines({ ...event, iova: event.iova + at * 0x1000 }),
  ]);
  const prints = (what: Shape["prints"][number]): boolean => shape.prints.includes(what);
  const message = {
    kind: shape.kind,
    ...(prints("device") ? { device: `0000:${event.device}` } : {}),
    ...(prints("streamId") ? { streamId: `0x${hex(event.streamId)}` } : {}),
    ...(prints("iova") ? { iova: `0x${hex(event.iova)}` } : {}),
    ...(prints("access") ? { access: event.isWrite ? "write" : "read" } : {}),
    count,
    never: prints("cause") ? [event.isPermission ? "not-mapped" : "permission"] : [],
    isOpen: shape.kind === "dma-fault" && !prints("cause"),
  };
  return { message, texts };
}

/** A log with one to three messages, each printed up to four times. */
export function generatedLog(seed: number): GeneratedLog {
  const random = generator(seed);
  const shapes = Array.from({ length: 1 + random(3) }, () => pick(SHAPES, random)).filter(
    (shape, at, all) => shape.isSingle !== true || all.indexOf(shape) === at,
  );
  const [prefixName, prefix] = pick(PREFIXES, random);
  const [damageName, damage] = pick(DAMAGES, random);
  const isNoisy = random(2) === 0;
  const messages: GeneratedMessage[] = [];
  const lines: Line[] = [];
  let seconds = 100 + random(9000) + random(1000) / 1000;
  const print = (text: string): void => {
    // Two messages of one microsecond are told apart by their text only, so each has a time of its own.
    seconds += (1 + random(1000)) / 1e5;
    const isQemu = text.startsWith("qemu-");
    lines.push({ prefix: isQemu ? "" : prefix(seconds), text });
    // QEMU prints to a terminal of its own.
    if (isNoisy && !isQemu && random(3) === 0) lines.push({ prefix: prefix(seconds), text: pick(NOISE, random) });
  };
  for (const [at, shape] of shapes.entries()) {
    const { message, texts } = messageOf(shape, at + 1, random);
    messages.push(message);
    for (const text of texts.flat()) print(text);
    seconds += random(100);
  }
  const names = shapes.map(({ name }) => name).join(", ");
  return {
    text: `${damage(lines, random)}\n`,
    messages,
    how: `${names}; prefix ${prefixName}; ${damageName}${isNoisy ? "; noise" : ""}`,
  };
}
