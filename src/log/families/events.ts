/**
 * Events of devices and of the machine that stand near a fault: resets, time-outs, crashes of firmware, changes of power, links, unbinding. Each may
 * be the cause of a fault just after it, or its consequence. Drivers word them freely, so these shapes read one word of the event and the device.
 */
import type { EventFact } from "../facts.ts";
import { deviceName, PCI_DEVICE } from "../pci.ts";
import type { Family, Field, Shape } from "../shape.ts";

const DRIVER: Field = { radix: "text", unit: "driver" };
const DEVICE: Field = { radix: "text", unit: "device" };

/** `nvme 0000:01:00.0: `, `nvme nvme0: `, `r8169 0000:02:00.0 eth0: `, `ath10k_pci 0000:01:00.0: `, `[drm] `. */
const REQUESTER = String.raw`(?:(?<driver>(?![\w-]*(?:iommu|smmu|dart)\b)[a-z][\w-]{1,30})\s+(?<device>${PCI_DEVICE}|[\w.:-]{2,40})(?:\s+[\w-]+)?:\s+(?:[\w-]+:\s+)?)`;
/** The rest of a line up to the word. */
const TO = String.raw`[^\n]{0,120}?`;

interface Wording {
  readonly event: EventFact["event"];
  readonly example: string;
  readonly words: string;
}

/** The first wording that a line holds counts. */
const WORDINGS: readonly Wording[] = [
  {
    event: "firmware-crash",
    example: "ath10k_pci 0000:03:00.0: firmware crashed! (guid 7d4c7c5d)",
    words: String.raw`[Ff]irmware\s+(?:has\s+)?crash|[Mm]icrocode\s+SW\s+error|firmware\s+(?:hang|error\s+detected|assert)|SYS_ERR|fw\s+(?:crash|assert|exception)|MHI_CB_EE_RDDM|device\s+has\s+entered\s+RDDM|MCU\s+(?:message|exception)`,
  },
  {
    event: "link-down",
    example: "pcieport 0000:00:1c.0: pciehp: Slot(1): Link Down",
    words: String.raw`[Ll]ink\s+(?:is\s+)?[Dd]own|PCIe\s+link\s+lost|Card\s+not\s+present|surprise\s+(?:down|removal)`,
  },
  {
    event: "aer",
    example: "pcieport 0000:00:1c.0: AER: Uncorrected (Fatal) error received: 0000:01:00.0",
    words: String.raw`AER:\s+(?!enabled)|PCIe\s+Bus\s+Error`,
  },
  {
    event: "power",
    example: "nvme 0000:01:00.0: can't change power state from D3cold to D0 (config space inaccessible)",
    words: String.raw`(?:can't|Unable\s+to|unable\s+to)\s+change\s+power\s+state|D3cold|not\s+ready\s+\d+ms\s+after`,
  },
  {
    event: "timeout",
    example: "nvme nvme0: I/O 128 QID 3 timeout, aborting",
    words: String.raw`[Tt]ime[d-]?[\s-]?out(?!\s+(?:is\s+)?(?:set|value)\b|\s*=)|[Hh]ardware\s+Unit\s+Hang|GPU\s+HANG|not\s+responding|assume\s+dead|controller\s+is\s+down|stuck\s+in|hung`,
  },
  {
    event: "reset",
    example: "amdgpu 0000:05:00.0: amdgpu: GPU reset begin!",
    words: String.raw`[Rr]esetting|\b[Rr]eset(?:\s+(?:begin|adapter|device|controller|request|the)|:|\b)|Restarting|[Rr]ecover(?:y|ing)\b`,
  },
  {
    event: "guest-reset",
    example: "vfio-pci 0000:01:00.0: vfio_bar_restore: reset recovery - restoring BARs",
    words: String.raw`vfio_bar_restore|vfio-pci[^\n]{0,60}?reset`,
  },
  {
    event: "removed",
    example: "pci 0000:01:00.0: Removing from iommu group 12",
    words: String.raw`Removing\s+from\s+iommu\s+group|device\s+removed|[Dd]isconnected|remove,\s+state`,
  },
  {
    event: "unbind",
    example: "e1000e 0000:00:19.0: driver unbound",
    words: String.raw`\bunb(?:ind|ound)|[Ss]hutting\s+down\b|shutdown\b`,
  },
  {
    event: "driver-error",
    example: "xhci_hcd 0000:00:14.0: WARN Cannot submit Set TR Deq Ptr",
    words: String.raw`WARN\s+(?:Cannot\s+submit|Set\s+TR)|[Ff]ailed\s+to\s+(?:stop|halt|flush|disable)|command\s+aborted|ring\s+\w+\s+timeout|DMA\s+status\s+error`,
  },
];

function ofDevice({ event, example, words }: Wording): Shape {
  return {
    name: `device-${event}`,
    example,
    kernels: "drivers of all kernels",
    pattern: new RegExp(`(?:^|\\n)[ \\t]*${REQUESTER}${TO}(?:${words})`),
    fields: { driver: DRIVER, device: DEVICE },
    read(values, found, sink) {
      const driver = values.text("driver");
      const device = deviceName(values.text("device"));
      const fact: EventFact = { kind: "event", ...found.base, event };
      if (driver !== undefined && !/^(?:pci|platform)$/.test(driver)) fact.driver = driver;
      if (device !== undefined) fact.device = device;
      sink.add(fact);
    },
  };
}

function ofMachine(name: string, event: EventFact["event"], example: string, pattern: RegExp): Shape {
  return {
    name,
    example,
    kernels: "all kernels",
    pattern,
    fields: {},
    read: (_values, found, sink) => sink.add({ kind: "event", ...found.base, event }),
  };
}

const MACHINE: readonly Shape[] = [
  ofMachine(
    "suspend",
    "suspend",
    "PM: suspend entry (s2idle)",
    /PM:\s+(?:suspend\s+entry|hibernation\s+entry)|Freezing\s+user\s+space\s+processes/,
  ),
  ofMachine(
    "resume",
    "resume",
    "PM: suspend exit",
    /PM:\s+(?:suspend|hibernation)\s+exit|Waking\s+up\s+from\s+system\s+sleep/,
  ),
  ofMachine(
    "shutdown",
    "shutdown",
    "reboot: Restarting system",
    /reboot:\s+\w+|systemd-shutdown\[|kexec_core:\s+Starting\s+new\s+kernel/,
  ),
  ofMachine(
    "translation-off",
    "translation-off",
    "DMAR: disabling translation",
    /disabling\s+translation|IOMMU\s+bypass\s+window\s+disabled/i,
  ),
  ofMachine(
    "process-killed",
    "process-killed",
    "Out of memory: Killed process 1234 (qemu-system-x86)",
    /Out\s+of\s+memory:\s+Kill|oom-kill:/,
  ),
  {
    name: "netdev-watchdog",
    example: "NETDEV WATCHDOG: eth0 (r8169): transmit queue 0 timed out",
    kernels: "all kernels",
    pattern: /NETDEV\s+WATCHDOG:\s+(?:CPU:\s+\d+:\s+)?(?<device>\S+)\s+\((?<driver>[\w-]+)\)/,
    fields: { driver: DRIVER, device: DEVICE },
    read(values, found, sink) {
      const driver = values.text("driver");
      const device = values.text("device");
      sink.add({
        kind: "event",
        ...found.base,
        event: "timeout",
        ...(driver === undefined ? {} : { driver }),
        ...(device === undefined ? {} : { device }),
      });
    },
  },
  {
    name: "drm-reset",
    example: "[drm:amdgpu_job_timedout [amdgpu]] *ERROR* ring gfx timeout, signaled seq=1, emitted seq=3",
    kernels: "graphics drivers without a device in their messages",
    pattern: /\[drm(?::\w+(?:\s+\[(?<driver>\w+)\])?)?\][^\n]{0,80}?(?:GPU\s+HANG|timeout|[Rr]esetting|reset)/,
    fields: { driver: DRIVER },
    read(values, found, sink) {
      const driver = values.text("driver");
      sink.add({ kind: "event", ...found.base, event: "reset", ...(driver === undefined ? {} : { driver }) });
    },
  },
];

export const EVENTS: Family = {
  name: "events",
  about: "events near a fault: resets, time-outs, crashes of firmware, power, links, removal",
  hint: new RegExp(
    `${WORDINGS.map(({ words }) => words).join("|")}|PM:\\s|Freezing|Waking\\s+up|reboot:|systemd-shutdown|kexec_core|disabling\\s+translation|bypass\\s+window|oom-kill|Out\\s+of\\s+memory|NETDEV|\\[drm`,
  ),
  shapes: [...WORDINGS.map(ofDevice), ...MACHINE],
};
