/** Arm SMMUv3: errors of its queues. The command queue stops or is refused, or the event queue loses faults. */
import type { FaultFact } from "../facts.ts";
import { given, HEX_ADDRESS, type Shape, SPEAKER, SPEAKER_FIELD, TEXT } from "../shape.ts";

const QUEUE_INDEX = { radix: "hex", unit: "index of the command queue, with its wrap bit" } as const;

const CMD_SYNC: Shape = {
  name: "smmu-v3-cmd-sync",
  example: "arm-smmu-v3 arm-smmu-v3.0.auto: CMD_SYNC timeout at 0x00000146 [hwprod 0x00000146, hwcons 0x00000000]",
  kernels: "all; the indexes since 5.4. `CMDQ timeout`: the queue stays full",
  pattern: new RegExp(
    String.raw`${SPEAKER}\s+(?:CMD_SYNC\s+timeout|CMDQ\s+(?<full>timeout))(?:\s+at\s+(?<at>0x[0-9a-f]+)\s+\[hwprod\s+(?<hwprod>0x[0-9a-f]+),\s+hwcons\s+(?<hwcons>0x[0-9a-f]+))?`,
  ),
  fields: { iommu: SPEAKER_FIELD, full: TEXT, at: QUEUE_INDEX, hwprod: QUEUE_INDEX, hwcons: QUEUE_INDEX },
  read(values, found, sink) {
    const consumed = values.number("hwcons");
    // The SMMU has taken no command at all, or its registers do not answer.
    const isSilent = consumed === 0n || consumed === 0xffffffffn || values.text("full") !== undefined;
    sink.add({
      kind: "invalidation-timeout",
      ...found.base,
      ...given({ iommu: values.text("iommu"), silent: isSilent ? ("iommu" as const) : undefined }),
    });
  },
};

/** Codes of CMDQ_CONS.ERR (IHI 0070, 4.1.4). */
const COMMAND_ERRORS: Readonly<Record<string, string>> = {
  "No error": "0x0",
  "Illegal command": "0x1",
  "Abort on command fetch": "0x2",
  "ATC invalidate timeout": "0x3",
};

const COMMAND_ERROR: Shape = {
  name: "smmu-v3-cmdq-error",
  example: "arm-smmu-v3 arm-smmu-v3.1.auto: CMDQ error (cons 0x0300001e): ATC invalidate timeout",
  kernels: "all",
  pattern: new RegExp(
    String.raw`${SPEAKER}\s+CMDQ\s+error\s+\(cons\s+(?<cons>0x[0-9a-f]+)\):\s+(?<text>No\s+error|Illegal\s+command|Abort\s+on\s+command\s+fetch|ATC\s+invalidate\s+timeout|Unknown|\S+)`,
  ),
  fields: { iommu: SPEAKER_FIELD, cons: QUEUE_INDEX, text: TEXT },
  read(values, found, sink) {
    const iommu = values.text("iommu");
    const text = (values.text("text") ?? "").replace(/\s+/g, " ");
    const base = { ...found.base, ...given({ iommu }) };
    // The words of the refused command, which may follow, are no event: the key ends the event before.
    const key = `smmu-v3 ${iommu ?? ""}`;
    if (text === "ATC invalidate timeout") {
      sink.add({ kind: "invalidation-timeout", ...base, silent: "device" }, key);
      return;
    }
    const code = COMMAND_ERRORS[text] ?? `0x${(((values.small("cons") ?? 0) >> 24) & 0x7f).toString(16)}`;
    const fact: FaultFact = {
      kind: "fault",
      family: "smmu-v3",
      ...base,
      cause: "table-error",
      granule: 1,
      reason: { code, text },
    };
    sink.add(fact, key);
  },
};

const SERVICE_FAILURE: Shape = {
  name: "smmu-v3-service-failure",
  example: "arm-smmu-v3 arm-smmu-v3.0.auto: device has entered Service Failure Mode!",
  kernels: "all",
  pattern: new RegExp(String.raw`${SPEAKER}\s+(?<text>device\s+has\s+entered\s+Service\s+Failure\s+Mode)`),
  fields: { iommu: SPEAKER_FIELD, text: TEXT },
  read(values, found, sink) {
    sink.add({
      kind: "fault",
      family: "smmu-v3",
      ...found.base,
      ...given({ iommu: values.text("iommu") }),
      cause: "table-error",
      granule: 1,
      // Bit 8 of SMMU_GERROR.
      reason: { code: "0x100", text: values.text("text") ?? "" },
    });
  },
};

const LOST: Shape = {
  name: "smmu-v3-lost",
  example: "arm-smmu-v3 arm-smmu-v3.0.auto: EVTQ overflow detected -- events lost",
  kernels: "all",
  pattern:
    /(?:EVTQ|PRIQ)\s+(?:overflow\s+detected\s+--\s+(?:events|requests)\s+lost|write\s+aborted\s+--\s+events\s+may\s+have\s+been\s+lost)/,
  fields: {},
  read(_values, found, sink) {
    sink.add({ kind: "loss", what: "faults", ...found.base });
  },
};

const GLOBAL_ERROR: Shape = {
  name: "smmu-v3-global-error",
  example: "arm-smmu-v3 arm-smmu-v3.0.auto: unexpected global error reported (0x00000001), this could be serious",
  kernels: "all: the line before the one that names the error",
  pattern:
    /unexpected\s+global\s+error\s+reported\s+\((?<bits>0x[0-9a-f]+)\)|(?:CMDQ|EVTQ|PRIQ|GERROR)\s+MSI\s+write\s+aborted|unexpected\s+PRI\s+request\s+received/,
  fields: { bits: { radix: "hex", unit: "active bits of SMMU_GERROR" } },
  read() {},
};

const PAGE_REQUEST: Shape = {
  name: "smmu-v3-page-request",
  example:
    "arm-smmu-v3 arm-smmu-v3.0.auto: unexpected PRI request received:\narm-smmu-v3 arm-smmu-v3.0.auto: \tsid 0x00000100.0x00001: [1L] unprivileged -W- access at iova 0x0000ffff8000a000",
  kernels: "Linux 4.2 on",
  pattern: new RegExp(
    String.raw`${SPEAKER}\s+sid\s+(?<sid>0x[0-9a-f]+)\.(?<ssid>0x[0-9a-f]+):\s+\[[^\]\n]{0,16}\]\s+(?:un)?privileged\s+(?<rwx>[-RWX]{1,3})\s+access\s+at\s+iova\s+(?<iova>0x[0-9a-f]+)`,
    "i",
  ),
  fields: {
    iommu: SPEAKER_FIELD,
    sid: { radix: "hex", unit: "stream id" },
    ssid: { radix: "hex", unit: "substream id" },
    rwx: TEXT,
    iova: HEX_ADDRESS,
  },
  read(values, found, sink) {
    const rwx = values.text("rwx") ?? "";
    const ssid = values.number("ssid");
    sink.add({
      kind: "fault",
      family: "smmu-v3",
      ...found.base,
      cause: "absent-or-permission",
      granule: 4096,
      ...given({
        iommu: values.text("iommu"),
        streamId: values.number("sid"),
        pasid: ssid === 0n ? undefined : ssid,
        iova: values.number("iova"),
        access: accessIn(rwx),
      }),
    });
  },
};

function accessIn(rwx: string): "read" | "write" | "execute" | undefined {
  if (/w/i.test(rwx)) return "write";
  if (/x/i.test(rwx)) return "execute";
  return /r/i.test(rwx) ? "read" : undefined;
}

export const SMMU_V3_QUEUES: readonly Shape[] = [
  CMD_SYNC,
  COMMAND_ERROR,
  SERVICE_FAILURE,
  LOST,
  GLOBAL_ERROR,
  PAGE_REQUEST,
];
