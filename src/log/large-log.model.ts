/** Makes large logs of a few kinds, for measurements and for tests of memory. */

/** The kind of lines that fill a log. */
export type LargeLog = "journal" | "boot" | "reboot" | "amd" | "intel" | "smmu" | "smmu-v3";

/** Lines of a running machine: daemons, networks, disks; one line in five names a device or an event. */
const JOURNAL: readonly string[] = [
  "EXT4-fs (dm-3): mounted filesystem with ordered data mode. Quota mode: none.",
  "perf: interrupt took too long (2505 > 2500), lowering kernel.perf_event_max_sample_rate to 79750",
  "br0: port 3(tap7) entered blocking state",
  'audit: type=1400 audit(1667322135.771:#): apparmor="DENIED" operation="open" profile="snap.firefox" pid=# comm="firefox"',
  "systemd[1]: Started Session # of user root.",
  "usb 1-1: new high-speed USB device number # using xhci_hcd",
  "IPv6: ADDRCONF(NETDEV_CHANGE): veth1a2b3c4: link becomes ready",
  "docker0: port 2(veth1a2b3c4) entered forwarding state",
  "CIFS: Attempting to mount //fileserver/home",
  "[UFW BLOCK] IN=eth0 OUT= MAC=01:00:5e:00:00:01 SRC=192.168.1.# DST=224.0.0.1 LEN=32 TOS=0x00 PREC=0xC0 TTL=1 ID=# PROTO=2",
  "e1000e 0000:00:1f.6 eno1: NIC Link is Up 1000 Mbps Full Duplex, Flow Control: Rx/Tx",
  "usb 2-3: USB disconnect, device number #",
  "sd 6:0:0:0: [sdb] Attached SCSI removable disk",
  "systemd-journald[412]: Received client request to flush runtime journal.",
  "mce: CPU3: Package temperature above threshold, cpu clock throttled (total events = #)",
];

/** Lines of booting machines: each names a device, and some a number that no other line has. The same machine again (`reboot`) has the same numbers. */
const BOOT: readonly string[] = [
  "pci 0000:00:1f.3: [8086:a170] type 00 class 0x040300",
  "pci 0000:00:1f.3: reg 0x10: [mem 0xdf340000-0xdf343fff 64bit]",
  "pci 0000:00:1c.4: PCI bridge to [bus 03]",
  "pci 0000:02:00.0: Adding to iommu group #",
  "iwlwifi 0000:02:00.0: loaded firmware version 36.77d01142.0 op_mode iwlmvm",
  "nvme nvme0: 8/0/0 default/read/poll queues",
  "ahci 0000:00:17.0: AHCI 0001.0301 32 slots 4 ports 6 Gbps 0xf impl SATA mode",
  "xhci_hcd 0000:00:14.0: new USB bus registered, assigned bus number #",
];

type Line = (random: () => number) => readonly string[];

const hex = (value: number, digits: number): string => Math.floor(value).toString(16).padStart(digits, "0");
const MOST_NUMBERS = 100_000;
/** Numbers of IOMMU groups and buses of one machine. */
const NUMBERS_OF_MACHINE = 16;
const numbered = (line: string, random: () => number, numbers: number): string =>
  line.replaceAll("#", () => String(Math.floor(random() * numbers)));
const one =
  (lines: readonly string[], numbers = MOST_NUMBERS): Line =>
  (random) => [numbered(lines[Math.floor(random() * lines.length)] as string, random, numbers)];

const LINES: Readonly<Record<LargeLog, Line>> = {
  journal: one(JOURNAL),
  boot: one(BOOT),
  reboot: one(BOOT, NUMBERS_OF_MACHINE),
  amd: (random) => [
    `nvme 0000:01:00.0: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x000b address=0x${hex(random() * 2 ** 40, 16)} flags=0x0000]`,
  ],
  intel: (random) => [
    "DMAR: DRHD: handling fault status reg 2",
    `DMAR: [DMA Write] Request device [03:00.0] PASID ffffffff fault addr ${hex(random() * 2 ** 20, 5)}000 [fault reason 05] PTE Write access is not set`,
  ],
  smmu: (random) => [
    `arm-smmu 5000000.iommu: Unhandled context fault: fsr=0x402, iova=0x${hex(random() * 2 ** 32, 8)}, fsynr=0x1, cbfrsynra=0x429, cb=5`,
  ],
  "smmu-v3": (random) =>
    [
      "event 0x10 received:",
      "\t0x0000000300000010",
      "\t0x0000020000000000",
      `\t0x${hex(random() * 2 ** 32, 16)}`,
      "\t0x0000000000000000",
    ].map((text) => `arm-smmu-v3 arm-smmu-v3.0.auto: ${text}`),
};

const PIECE_CHARACTERS = 2 ** 20;

/** A log of at least `bytes` bytes, in pieces. The same seed gives the same log. */
export function* largeLog(kind: LargeLog, bytes: number, seed = 1): Generator<Uint8Array, undefined> {
  const encoder = new TextEncoder();
  const random = randomOf(seed);
  let seconds = 1;
  for (let made = 0; made < bytes; ) {
    let piece = "";
    while (piece.length < PIECE_CHARACTERS && made + piece.length < bytes) {
      seconds += 1e-5 + random() * 1e-3;
      for (const line of LINES[kind](random)) piece += `[${seconds.toFixed(6).padStart(12)}] ${line}\n`;
    }
    made += piece.length;
    yield encoder.encode(piece);
  }
}

/** Numbers in [0, 1): a linear congruential generator of 32 bits (Numerical Recipes), its upper 24 bits. */
function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return (state >>> 8) / 2 ** 24;
  };
}
