/** `--device` and `--at` of `iova explain`: which findings are asked for. */
import type { Finding } from "../explain/contract.ts";
import type { Moment } from "./moment.ts";

export interface Question {
  readonly device?: string;
  readonly at?: Moment;
}

/** Findings at most this many seconds from `--at` are shown. */
const AT_SECONDS = 1;

export function isAsked(finding: Finding, { device, at }: Question): boolean {
  return (device === undefined || isOf(finding, device)) && (at === undefined || isAt(finding, at.seconds));
}

/** The request, for a sentence: `of device 03:00.0`; undefined: all findings. */
export function askedText({ device, at }: Question): string | undefined {
  const parts = [
    ...(device === undefined ? [] : [`of device ${device === "" ? "(an empty name)" : device}`]),
    ...(at === undefined ? [] : [`within ${AT_SECONDS} s of ${at.text}`]),
  ];
  return parts.length === 0 ? undefined : parts.join(" ");
}

/** A device as the finding has it, or as a person writes it: `3:0.0`, `[03:00.0]`, without function, a driver, a stream id, an IOMMU. */
function isOf({ device, driver, streamId, iommu }: Finding, text: string): boolean {
  const asked = text.trim().toLowerCase();
  if (asked === "") return false;
  const names = [device, driver, streamId, iommu].map((name) => name?.toLowerCase());
  if (names.includes(asked)) return true;
  if (
    streamId !== undefined &&
    /^(?:0x)?[0-9a-f]+$/.test(asked) &&
    BigInt(streamId) === BigInt(`0x${asked.replace("0x", "")}`)
  )
    return true;
  const full = pciNameOf(asked);
  return full !== undefined && device !== undefined && (device === full || device.startsWith(`${full}.`));
}

/** `3:0.0`, `[03:00.0]:`, `0x03:0x00.0` → `0000:03:00.0`; `03:00` → `0000:03:00`, a slot. */
function pciNameOf(text: string): string | undefined {
  const match =
    /^\[?(?:([0-9a-f]{1,8}):)?(?:0x)?([0-9a-f]{1,2}):(?:0x)?([0-9a-f]{1,2})(?:[.:](?:0x)?([0-7]))?\]?:?$/.exec(text);
  if (match === null) return undefined;
  const [, segment = "0", bus = "", slot = "", fn] = match;
  const name = `${segment.padStart(4, "0")}:${bus.padStart(2, "0")}:${slot.padStart(2, "0")}`;
  return fn === undefined ? name : `${name}.${fn}`;
}

function isAt({ firstTime, lastTime }: Finding, seconds: number): boolean {
  if (firstTime === undefined || lastTime === undefined) return false;
  return seconds >= firstTime - AT_SECONDS && seconds <= lastTime + AT_SECONDS;
}
