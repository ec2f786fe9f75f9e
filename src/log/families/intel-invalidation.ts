/**
 * VT-d: the fault status register, and errors of the invalidation queue. Invalidation errors are no DMA faults. Bits: VT-d specification, 11.4.9
 * "Fault Status Register".
 */
import type { FaultFact, InvalidationTimeoutFact } from "../facts.ts";
import { nameOfRequesterId } from "../pci.ts";
import { type Found, given, type Shape } from "../shape.ts";

/** Key of the latest error of the queue. It comes in several lines, some of them printed by another CPU. */
const KEY = "intel-invalidation";
/** A source id of all ones: the register was read from an IOMMU that does not answer. */
const NO_SOURCE = 0xffff;
const NO_REASON = 0xf;

const OVERFLOW = 0x01;
const QUEUE_ERROR = 0x10;
const COMPLETION_ERROR = 0x20;
const TIME_OUT = 0x40;
const ALL_ONES = 0xffff_ffff;

const STATUS: Shape = {
  name: "intel-status",
  example: "DMAR: DRHD: handling fault status reg 3",
  kernels: "all",
  pattern: /DRHD:\s+handling\s+fault\s+status\s+reg\s+(?<status>(?:0x)?[0-9a-f]+)/i,
  fields: { status: { radix: "hex", unit: "fault status register: bit 0 overflow" } },
  read(values, found, sink) {
    const status = values.small("status") ?? 0;
    if (status === ALL_ONES) {
      sink.add({ kind: "invalidation-timeout", ...found.base, silent: "iommu" });
      return;
    }
    if ((status & OVERFLOW) !== 0) sink.add({ kind: "loss", what: "faults", ...found.base });
    if ((status & (QUEUE_ERROR | COMPLETION_ERROR | TIME_OUT)) === 0) return;
    const open = sink.open(KEY);
    if (open !== undefined) sink.extend(open, found);
    else if ((status & (COMPLETION_ERROR | TIME_OUT)) !== 0)
      sink.add({ kind: "invalidation-timeout", ...found.base, silent: "device" }, KEY);
    else sink.add(queueError(found.base), KEY);
  },
};

const QUEUE: Shape = {
  name: "intel-queue-error",
  example: "DMAR: VT-d detected Invalidation Queue Error: Reason 2",
  kernels: "Linux 5.14 on",
  pattern: /VT-d\s+detected\s+Invalidation\s+Queue\s+Error:\s+Reason\s+(?<reason>(?:0x)?[0-9a-f]+)/,
  fields: { reason: { radix: "hex", unit: "reason of a queue error" } },
  read(values, found, sink) {
    const reason = values.small("reason") ?? 0;
    if (reason === NO_REASON) {
      sink.add({ kind: "invalidation-timeout", ...found.base, silent: "iommu", gone: true }, KEY);
      return;
    }
    const open = sink.open(KEY);
    const isNew = open?.kind !== "fault" || open.reason !== undefined;
    const fact = isNew ? queueError(found.base) : open;
    fact.reason = { code: `0x${reason.toString(16)}`, text: "Invalidation Queue Error" };
    if (isNew) sink.add(fact, KEY);
    else sink.extend(fact, found);
  },
};

const SOURCE: Shape = {
  name: "intel-invalidation-error",
  example: "DMAR: VT-d detected Invalidation Time-out Error: SID 5e00",
  kernels: "Linux 5.14 on",
  pattern:
    /VT-d\s+detected\s+Invalidation\s+(?<error>Time-out|Completion)\s+Error:\s+SID\s+(?<source>(?:0x)?[0-9a-f]+)/,
  fields: {
    error: { radix: "text", unit: "time-out or completion error" },
    source: { radix: "hex", unit: "requester id; 0: not recorded" },
  },
  read(values, found, sink) {
    const open = sink.open(KEY);
    const source = values.small("source") ?? 0;
    if (open?.kind === "invalidation-timeout" && !isSameErrorAgain(open, values.text("error") ?? "")) {
      setSource(open, source);
      sink.extend(open, found);
      return;
    }
    const fact: InvalidationTimeoutFact = { kind: "invalidation-timeout", ...found.base, silent: "device" };
    setSource(fact, source);
    sink.add(fact, KEY);
  },
};

/** The queue's entries and the end of an error: they add no more than lines. */
const DETAIL: Shape = {
  name: "intel-queue-detail",
  example: "DMAR: QI HEAD: Invalidation Wait qw0 = 0x200000025, qw1 = 0x1003a07fc",
  kernels: "Linux 5.14 on",
  pattern:
    /QI\s+(?<place>HEAD|PRIOR):\s+[^\n]*|Invalidation\s+(?:Queue|Time-out|Completion)\s+Error\s+\((?<cleared>IQE|ITE|ICE)\)\s+cleared/,
  fields: {
    place: { radix: "text", unit: "which entry of the queue" },
    cleared: { radix: "text", unit: "which error" },
  },
  read(_values, found, sink) {
    const open = sink.open(KEY);
    if (open !== undefined) sink.extend(open, found);
  },
};

/** The fact's first line printed this error already, so the new line begins another event. */
function isSameErrorAgain(fact: InvalidationTimeoutFact, error: string): boolean {
  return fact.shape === SOURCE.name && fact.text.includes(error);
}

function setSource(fact: InvalidationTimeoutFact, source: number): void {
  if (source === NO_SOURCE) Object.assign(fact, { silent: "iommu", gone: true });
  else Object.assign(fact, given({ device: source === 0 ? undefined : nameOfRequesterId(source) }));
}

/** The IOMMU refused an entry of its queue. */
function queueError(base: Found["base"]): FaultFact {
  return { kind: "fault", family: "intel", ...base, cause: "table-error", granule: 1, values: { isQueue: 1 } };
}

export const INTEL_INVALIDATIONS: readonly Shape[] = [STATUS, QUEUE, SOURCE, DETAIL];
