/** Inputs with more than plain events of one recording: stacks, messages of the log, several recordings, lines of a log around a trace. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { parseTrace } from "../../trace/parser.ts";
import type { Explanation, Finding } from "../contract.ts";
import { explainTexts } from "../texts.ts";
import { inOrderOfTime } from "./order.ts";
import { DEVICE, TraceText } from "./trace.model.ts";

const IOVA = "0x00000000ffff0000 - 0x00000000ffff1000";
const HEADER = "# entries-in-buffer/entries-written: 5/5   #P:2";

function line(seconds: number, event: string, head = "init-1 [000] ....."): string {
  return `${head} ${seconds.toFixed(6)}: ${event}`;
}

/** The device is added, and maps one page at `seconds`. */
function mapped(seconds: number): string[] {
  return [
    line(seconds - 0.5, `add_device_to_group: IOMMU: groupID=4 device=${DEVICE}`),
    line(seconds, `map: IOMMU: iova=${IOVA} paddr=0x70000000 size=4096`),
    line(seconds, `dma_map_page: ${DEVICE} dir=FROM_DEVICE dma_addr=ffff0000 size=4096 phys_addr=70000000 attrs=`),
  ];
}

function unmapped(seconds: number, head?: string, stack: readonly string[] = []): string[] {
  return [
    line(seconds, `unmap: IOMMU: iova=${IOVA} size=4096 unmapped_size=4096`, head),
    ...stack,
    line(seconds, `dma_unmap_page: ${DEVICE} dir=FROM_DEVICE dma_addr=ffff0000 size=4096 attrs=`, head),
  ];
}

const FAULT = `DMAR: [DMA Write NO_PASID] Request device [${DEVICE.slice(5)}] fault addr 0xffff0000 [fault reason 0x05] PTE Write access is not set`;
const faulted = (seconds: number): string =>
  line(seconds, `io_page_fault: IOMMU:driver ${DEVICE} iova=0x00000000ffff0010 flags=0x0001`);

function explain(...texts: readonly (readonly string[])[]): Explanation {
  return explainTexts(texts.map((lines, at) => ({ file: `file${at + 1}`, text: `${lines.join("\n")}\n` })));
}

function only({ findings }: Explanation): Finding {
  assert.equal(findings.length, 1, JSON.stringify(findings.map(({ kind, verdict }) => [kind, verdict])));
  return findings[0] as Finding;
}

const said = ({ verdict, certainty, count }: Finding): string => `${verdict} ${certainty} ${count}`;
const texts = ({ follows }: Finding): string => follows.map(({ text }) => text).join("\n");

describe("the unmapping task", () => {
  const end = (...unmap: string[]): Finding => only(explain([HEADER, ...mapped(1), ...unmap, faulted(2.00004)]));

  test("is named by the stack behind the unmap line, without the functions of the DMA API", () => {
    const stack = [
      line(2, "<stack trace>"),
      " => trace_event_raw_event_unmap",
      " => iommu_unmap",
      " => __iommu_dma_unmap",
      " => foo_free_buffer+0x10/0x20 [foo]",
      " => foo_close",
    ];
    const finding = end(...unmapped(2, undefined, stack));
    assert.equal(said(finding), "use-after-unmap certain 1");
    assert.match(texts(finding), /foo_free_buffer.*foo_close/);
    assert.doesNotMatch(texts(finding), /iommu_unmap|trace_event_raw/);
  });

  test("is named by perf's stack as well", () => {
    const stack = [
      "\tffffffff81a01234 iommu_unmap+0x20 ([kernel.kallsyms])",
      "\tffffffffc0801234 foo_free_buffer+0x10 ([foo])",
    ];
    assert.match(texts(end(...unmapped(2, undefined, stack))), /foo_free_buffer/);
  });

  test("is the task of the line without a stack", () => {
    assert.match(texts(end(...unmapped(2, "worker-77 [000] ....."))), /unmapped by the task worker-77/);
  });

  test("is not the task that an interrupt interrupted", () => {
    for (const flags of ["d.h1.", "..s1.", "d.H1."]) {
      const text = texts(end(...unmapped(2, `worker-77 [000] ${flags}`)));
      assert.match(text, /in an interrupt\b.*worker-77.*interrupted/s, flags);
      assert.doesNotMatch(text, /by the task worker-77/, flags);
    }
  });
});

describe("a message that stands in the log and in the trace (printk:console)", () => {
  const trace = [HEADER, ...mapped(1), ...unmapped(2), line(2.25, `console: ${FAULT}`, "irq/24-dmar0-52 [001] d....")];

  test("is one fault, and relates the clocks", () => {
    const explanation = explain(trace, [`[    1.750000] ${FAULT}`]);
    assert.equal(explanation.host.clockOffsetSeconds, -0.5);
    const finding = only(explanation);
    assert.equal(said(finding), "use-after-unmap certain 1");
    assert.equal(finding.mapping?.afterUnmapMicroseconds, 250_000);
  });

  test("relates the clocks for other faults of the log", () => {
    const other = FAULT.replace("0xffff0000", "0xfffe0000");
    const explanation = explain(trace, [`[    1.750000] ${FAULT}`, `[    1.760000] ${other}`]);
    assert.deepEqual(explanation.findings.map(said).sort(), ["not-mapped certain 1", "use-after-unmap certain 1"]);
  });

  test("is a fault with the trace's time when there is no log", () => {
    assert.equal(said(only(explain(trace))), "use-after-unmap certain 1");
  });

  test("that stands more often in one than in the other relates nothing", () => {
    const explanation = explain(trace, [`[    1.750000] ${FAULT}`, `[    5.750000] ${FAULT}`]);
    assert.equal(explanation.host.clockOffsetSeconds, undefined);
  });
});

describe("mappings that are live after their device has been removed", () => {
  const trace = (end?: number): TraceText => {
    const text = new TraceText().add(100, DEVICE);
    for (let at = 0; at < 3; at++) text.dmaMap(1_000_000 + at, DEVICE, 0xffff_0000 - at * 4096, 4096, "FROM_DEVICE");
    text.event(3_000_000, `remove_device_from_group: IOMMU: groupID=4 device=${DEVICE}`);
    text.event(9_000_000, "add_device_to_group: IOMMU: groupID=9 device=0000:00:09.0");
    if (end !== undefined)
      for (let at = 0; at < 3; at++) text.dmaUnmap(end + at, DEVICE, 0xffff_0000 - at * 4096, 4096, "FROM_DEVICE");
    return text;
  };

  test("are a leak at exit, with their number", () => {
    const [finding, ...others] = trace().findings();
    assert.deepEqual(others, []);
    assert.equal(said(finding as Finding), "at-exit certain 3");
    assert.equal(finding?.device, DEVICE);
    assert.match(
      texts(finding as Finding),
      /^3 mappings of 0000:00:04\.0 are not ended after the device has been removed\.$/m,
    );
  });

  test("are no more than strong when events were lost", () => {
    const [finding] = trace().findings({ header: "# entries-in-buffer/entries-written: 9/900   #P:2" });
    assert.equal(said(finding as Finding), "at-exit strong 3");
  });

  test("are not reported when they end before, or within a second after", () => {
    assert.deepEqual(trace(2_000_000).findings(), []);
    assert.deepEqual(trace(3_500_000).findings(), []);
    assert.equal(trace(4_500_000).findings().length, 1);
  });

  test("one is described in the singular", () => {
    const text = new TraceText().add(100, DEVICE).dmaMap(1_000_000, DEVICE, 0xffff_0000, 4096, "FROM_DEVICE");
    const [finding] = text.event(3_000_000, `remove_device_from_group: IOMMU: groupID=4 device=${DEVICE}`).findings();
    assert.match(texts(finding as Finding), /^1 mapping of 0000:00:04\.0 is not ended after/m);
  });
});

describe("several recordings in one file", () => {
  test("are one history in the order of time, whichever stands first", () => {
    const first = [HEADER, ...mapped(1)];
    const second = ["# entries-in-buffer/entries-written: 3/3   #P:2", ...unmapped(2), faulted(2.00004)];
    for (const file of [
      [...first, ...second],
      [...second, ...first],
    ]) {
      const explanation = explain(file);
      assert.equal(said(only(explanation)), "use-after-unmap certain 1");
      assert.deepEqual(explanation.lost, []);
    }
  });

  test("lose events when one of them does", () => {
    const lossy = ["# entries-in-buffer/entries-written: 3/30   #P:2", ...unmapped(2), faulted(2.00004)];
    const explanation = explain([HEADER, ...mapped(1), ...lossy]);
    assert.equal(said(only(explanation)), "use-after-unmap strong 1");
    assert.deepEqual(
      explanation.lost.map(({ what, count }) => [what, count]),
      [["events", 27]],
    );
  });

  test("hold an event that both show once, and unmaps of different lists at one moment both", () => {
    const list = (physical: string): string =>
      line(3, `dma_unmap_sg: ${DEVICE} dir=TO_DEVICE phys_addrs={${physical}} attrs=`);
    const text = [
      line(4, "map: IOMMU: iova=0x1000 - 0x2000 paddr=0x5000 size=4096"),
      list("0x1000"),
      list("0x2000"),
      list("0x1000"),
    ];
    const trace = inOrderOfTime(parseTrace(new TextEncoder().encode(`${text.join("\n")}\n`)));
    assert.deepEqual([...trace.events.line.subarray(0, trace.events.length)], [2, 3, 1]);
  });
});

test("a trace among the lines of a log is read as a trace, and the log as a log, with the lines of the file", () => {
  const explanation = explain([
    "[    0.100000] sched_clock: Marking stable (1, 1)->(1, -500000000)",
    "[    0.200000] DMAR: IOMMU enabled",
    "I recorded this:",
    HEADER,
    ...mapped(1),
    ...unmapped(2),
    "and dmesg says:",
    `[    1.750000] ${FAULT}`,
  ]);
  assert.deepEqual(explanation.inputs[0]?.holds, ["kernel-log", "trace"]);
  assert.equal(explanation.host.clockOffsetSeconds, -0.5);
  const finding = only(explanation);
  // The boot line is right only for the default clock, which no line names.
  assert.equal(said(finding), "use-after-unmap strong 1");
  assert.equal(finding.mapping?.afterUnmapMicroseconds, 250_000);
  assert.deepEqual(finding.proof[0], { file: "file1", line: 11 });
  const lines = finding.follows.flatMap(({ proof }) => proof.map((one) => one.line));
  assert.ok(lines.includes(8), `the unmap stands in line 8: ${lines}`);
});
