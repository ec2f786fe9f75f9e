/**
 * Arm SMMUv3. An event is printed as a record of two to four raw words, since 6.14 also in two decoded lines: both are one fact. A word keeps
 * 16 digits through all versions, but the blanks before it differ, and mail programs break it.
 */
import type { Access, FaultFact } from "../facts.ts";
import { deviceName } from "../pci.ts";
import {
  DEVICE,
  type Family,
  type Found,
  given,
  HEX_ADDRESS,
  type Shape,
  type Sink,
  SPEAKER,
  SPEAKER_FIELD,
  TEXT,
  type Values,
} from "../shape.ts";
import { accessOf, codeOf, detailsOf, eventOf, isFirstWord, streamOf } from "./smmu-v3-events.ts";
import { SMMU_V3_QUEUES } from "./smmu-v3-queues.ts";

/** Words of a record. */
const MOST_WORDS = 4;

/** The part of an event that has been read. */
interface Progress {
  /** Raw words. */
  words: number;
  /** Its decoded form. */
  isDecoded: boolean;
}

/** The progress of events that later lines may continue. */
const PROGRESS = new WeakMap<FaultFact, Progress>();

/** The key that was asked for last: each line of a burst asks for the same. */
let latestKey = "smmu-v3 ";
let latestIommu = "";

/** The key of what an SMMU printed last; words that follow belong to it. */
function keyOf(values: Values): string {
  const iommu = values.text("iommu") ?? "";
  if (iommu !== latestIommu) {
    latestIommu = iommu;
    latestKey = `smmu-v3 ${iommu}`;
  }
  return latestKey;
}

function openEvent(values: Values, sink: Sink): FaultFact | undefined {
  const fact = sink.open(keyOf(values));
  return fact?.kind === "fault" && PROGRESS.has(fact) ? fact : undefined;
}

function progressOf(fact: FaultFact | undefined): Progress {
  return (fact === undefined ? undefined : PROGRESS.get(fact)) ?? { words: 0, isDecoded: false };
}

function begin(code: number | undefined, name: string, values: Values, found: Found, sink: Sink): FaultFact {
  const before = openEvent(values, sink);
  if (before !== undefined) PROGRESS.delete(before);
  const event = eventOf(code ?? -1);
  const fact: FaultFact = {
    kind: "fault",
    family: "smmu-v3",
    ...found.base,
    ...given({ iommu: values.text("iommu") }),
    cause: event.cause,
    granule: 1,
    ...(code === undefined ? {} : { reason: { code: `0x${code.toString(16)}`, text: name } }),
  };
  PROGRESS.set(fact, { words: 0, isDecoded: false });
  sink.add(fact, keyOf(values));
  return fact;
}

const EVENT: Shape = {
  name: "smmu-v3-event",
  example:
    "arm-smmu-v3 arm-smmu-v3.5.auto: event 0x10 received:\narm-smmu-v3 arm-smmu-v3.5.auto:  0x0002060000000010\narm-smmu-v3 arm-smmu-v3.5.auto:  0x0000020000000000\narm-smmu-v3 arm-smmu-v3.5.auto:  0x00000000ff9bc000\narm-smmu-v3 arm-smmu-v3.5.auto:  0x0000000000000000",
  kernels: "all; Xen likewise, with three words",
  pattern: new RegExp(String.raw`${SPEAKER}\s+event\s+0x(?<code>[0-9a-f]{1,2})\s+received`),
  fields: { iommu: SPEAKER_FIELD, code: { radix: "hex", unit: "event code" } },
  read(values, found, sink) {
    const code = values.small("code") ?? 0;
    begin(code, eventOf(code).name, values, found, sink);
  },
};

const WORD: Shape = {
  name: "smmu-v3-word",
  example: "arm-smmu-v3 490d0000.iommu:      0x0000001100000010",
  kernels: "all: the words of an event",
  // Rockchip's dump of entries looks alike.
  pattern: new RegExp(
    String.raw`(?<![\w./@-])(?!mmu_dte_addr:)${SPEAKER}\s+0x(?<word>(?:[0-9a-f]\s{0,3}){15}[0-9a-f])(?![0-9a-f])`,
  ),
  fields: { iommu: SPEAKER_FIELD, word: { radix: "hex", unit: "word of an event record" } },
  word: "word",
  read(values, found, sink) {
    const word = values.number("word") ?? 0n;
    const open = openEvent(values, sink);
    const progress = progressOf(open);
    if (open !== undefined && progress.words < MOST_WORDS) {
      takeWord(open, progress.words++, word);
      sink.extend(open, found);
      return;
    }
    // The line before was lost, to a rate limit or to the one who cut the paste.
    if (sink.open(keyOf(values)) !== open || !isFirstWord(word)) return;
    const code = Number(word & 0xffn);
    const fact = begin(code, eventOf(code).name, values, found, sink);
    takeWord(fact, progressOf(fact).words++, word);
  },
};

/** @param at - the word's index in the record */
function takeWord(fact: FaultFact, at: number, word: bigint): void {
  const { hasAddress } = eventOf(Number(fact.reason?.code ?? -1));
  if (at === 0) Object.assign(fact, streamOf(word));
  if (hasAddress !== true) return;
  if (at === 1) {
    fact.access = accessOf(word);
    fact.values = detailsOf(word);
  } else if (at === 2) fact.iova = word;
  else if (at === 3 && word !== 0n) fact.values = { ...fact.values, ipa: word };
}

const DECODED_EVENT: Shape = {
  name: "smmu-v3-decoded",
  example:
    "arm-smmu-v3 arm-smmu-v3.5.auto: event: F_TRANSLATION client: 0001:06:00.0 sid: 0x20600 ssid: 0x0 iova: 0xff9bc000 ipa: 0x0",
  kernels: "Linux 6.14 on, and kernels of vendors",
  pattern: new RegExp(
    String.raw`${SPEAKER}\s+event:\s+(?<name>[A-Z_]+)(?:\s+client:\s+(?<client>\([^)\n]*\)|\S+))?\s+sid:\s+(?<sid>0x[0-9a-f]+)` +
      String.raw`(?:\s+ssid:\s+(?<ssid>0x[0-9a-f]+))?(?:\s+iova:\s+(?<iova>0x[0-9a-f]+))?(?:\s+ipa:\s+(?<ipa>0x[0-9a-f]+))?`,
  ),
  fields: {
    iommu: SPEAKER_FIELD,
    name: TEXT,
    client: DEVICE,
    sid: { radix: "hex", unit: "stream id" },
    ssid: { radix: "hex", unit: "substream id" },
    iova: HEX_ADDRESS,
    ipa: { radix: "hex", unit: "address between the stages" },
  },
  read(values, found, sink) {
    const name = values.text("name") ?? "";
    const code = codeOf(name);
    const open = openEvent(values, sink);
    let fact = open;
    if (open === undefined || progressOf(open).isDecoded || !isSameEvent(open, code, values))
      fact = begin(code, name, values, found, sink);
    if (fact === undefined) return;
    complete(fact, values);
    PROGRESS.set(fact, { words: MOST_WORDS, isDecoded: true });
    if (fact === open) sink.extend(fact, found);
  },
};

function isSameEvent(open: FaultFact, code: number | undefined, values: Values): boolean {
  const differs = (known: bigint | undefined, printed: bigint | undefined): boolean =>
    known !== undefined && printed !== undefined && known !== printed;
  if (Number(open.reason?.code) !== code) return false;
  return !differs(open.streamId, values.number("sid")) && !differs(open.iova, values.number("iova"));
}

function complete(fact: FaultFact, values: Values): void {
  const client = values.text("client");
  const ssid = values.number("ssid");
  Object.assign(
    fact,
    given({
      device: client?.startsWith("(") ? undefined : deviceName(client),
      streamId: values.number("sid"),
      iova: eventOf(Number(fact.reason?.code ?? -1)).hasAddress === true ? values.number("iova") : undefined,
      // The decoded form prints 0 where there is no substream; the raw words tell them apart.
      pasid: fact.pasid ?? (ssid === 0n ? undefined : ssid),
    }),
  );
}

const DECODED_ACCESS: Shape = {
  name: "smmu-v3-access",
  example: `arm-smmu-v3 arm-smmu-v3.5.auto: unpriv data write s1 "Input address caused fault" stag: 0x0`,
  kernels: "Linux 6.14 on: the second decoded line",
  pattern: new RegExp(
    String.raw`${SPEAKER}\s+(?:un)?priv\s+(?<what>data|inst)\s+(?<access>read|write)\s+s(?<stage>[12])\s+"(?<class>[^"]{0,80})"(?:[^\n]{0,80}?\s+stag:\s+(?<stag>0x[0-9a-f]+))?`,
  ),
  fields: {
    iommu: SPEAKER_FIELD,
    what: TEXT,
    access: TEXT,
    stage: { radix: "decimal", unit: "stage of the translation" },
    class: TEXT,
    stag: { radix: "hex", unit: "tag of a stalled transaction" },
  },
  read(values, found, sink) {
    const fact = openEvent(values, sink);
    if (fact === undefined) return;
    const access = values.text("access") as Access;
    fact.access = access === "read" && values.text("what") === "inst" ? "execute" : access;
    fact.values ??= { stage: values.small("stage") ?? 1, class: values.text("class") ?? "" };
    sink.extend(fact, found);
  },
};

export const SMMU_V3: Family = {
  name: "smmu-v3",
  about: "Arm SMMUv3: events, command queue errors, timeouts of CMD_SYNC, page requests",
  hint: /smmu|SMMU|event:?\s|CMDQ|CMD_SYNC/,
  shapes: [EVENT, WORD, DECODED_EVENT, DECODED_ACCESS, ...SMMU_V3_QUEUES],
};
