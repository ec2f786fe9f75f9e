/** Prefixes of log daemons and consoles: every kind that was seen in reports, with its time. */
import type { Clock } from "../facts.ts";

/** A prefix of one line, and the time that a reader must take from it. */
export interface Printed {
  readonly text: string;
  readonly time?: number;
  readonly clock?: Clock;
}

export interface PrefixKind {
  readonly name: string;
  /** Makes the prefixes of one log: a function of the seconds since the machine began, called line by line. */
  readonly begin: () => (seconds: number) => Printed;
}

/** 2020-10-22 00:00:00 UTC, a Thursday. */
const DAY = Date.UTC(2020, 9, 22) / 1000;

const stamp = (seconds: number, width = 12): string => seconds.toFixed(6).padStart(width);
const uptime = (seconds: number): { time: number; clock: Clock } => ({
  time: Number(seconds.toFixed(6)),
  clock: "uptime",
});
const clockOf = (seconds: number): string => new Date((DAY + seconds) * 1000).toISOString().slice(11, 19);
/** A syslog line has no year, so its time counts from the beginning of one: 28 July is day 208 of 1970. */
const syslog = (seconds: number): { time: number; clock: Clock } => ({
  time: Date.UTC(1970, 6, 28) / 1000 + Math.floor(seconds),
  clock: "wall",
});

function kind(name: string, prefix: (seconds: number) => Printed): PrefixKind {
  return { name, begin: () => prefix };
}

/** A prefix that holds the kernel's time stamp. */
function stamped(name: string, before: string | ((seconds: number) => string), behind = "", width = 12): PrefixKind {
  return kind(name, (seconds) => ({
    text: `${typeof before === "string" ? before : before(seconds)}[${stamp(seconds, width)}]${behind} `,
    ...uptime(seconds),
  }));
}

export const PREFIXES: readonly PrefixKind[] = [
  kind("none", () => ({ text: "" })),
  stamped("kernel", ""),
  stamped("kernel without padding", "", "", 1),
  stamped("caller: task", "", "[  T814]"),
  stamped("caller: processor", "", "[    C0]"),
  kind("dmesg -T", (seconds) => ({
    text: `[Thu Oct 22 ${clockOf(seconds)} 2020] `,
    time: DAY + Math.floor(seconds),
    clock: "wall",
  })),
  {
    name: "dmesg --reltime",
    begin: () => {
      let before: number | undefined;
      let sum = 0;
      return (seconds) => {
        const delta = before === undefined ? 0.001779 : seconds - before;
        before = seconds;
        sum = Number((sum + Number(delta.toFixed(6))).toFixed(6));
        return { text: `[${`+${delta.toFixed(6)}`.padStart(11)}] `, time: sum, clock: "wall" };
      };
    },
  },
  stamped("dmesg -x", "kern  :err   : "),
  stamped("syslog", (seconds) => `Jul 28 ${clockOf(seconds)} myhost kernel: `),
  kind("journal", (seconds) => ({ text: `Jul 28 ${clockOf(seconds)} myhost kernel: `, ...syslog(seconds) })),
  stamped("kernel:", "kernel: "),
  kind("journalctl -o short-monotonic", (seconds) => ({
    text: `[${stamp(seconds)}] myhost kernel: `,
    ...uptime(seconds),
  })),
  stamped("level", "<3>"),
  stamped("ISO time", (seconds) => `${new Date((DAY + seconds) * 1000).toISOString()} WARNING kernel: `),
  kind("ISO time alone", (seconds) => ({
    text: `${new Date((DAY + seconds) * 1000).toISOString()} myhost kernel: `,
    time: Math.floor((DAY + seconds) * 1000) / 1000,
    clock: "wall",
  })),
  stamped("OpenWrt", "kern.debug: "),
  kind("dump of RAM", (seconds) => ({
    text: `0x000000000277BBFA |   ${seconds.toFixed(6)}:   `,
    ...uptime(seconds),
  })),
  stamped("QEMU's monitor", "(qemu) "),
  stamped("Xen", "(XEN) "),
  kind("Xen without time", () => ({ text: "(XEN) " })),
  kind("Open vSwitch", (seconds) => ({
    text: `${new Date((DAY + seconds) * 1000).toISOString()}|00093|dpdk|ERR|`,
    time: Math.floor((DAY + seconds) * 1000) / 1000,
    clock: "wall",
  })),
  stamped("tab", "\t"),
  stamped("item of a list", "- "),
];
