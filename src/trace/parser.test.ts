import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  DMA_ALLOC,
  DMA_FREE,
  DMA_MAP,
  DMA_MAP_SG,
  DMA_MAP_SG_ERROR,
  DMA_SYNC_FOR_DEVICE,
  DMA_UNMAP_SG,
  FROM_DEVICE,
  IO_PAGE_FAULT,
  MAP,
  TO_DEVICE,
  type Trace,
  UNMAP,
} from "./events.ts";
import { MAP_LINE, parse, read, row, UNMAP_LINE } from "./lines.model.ts";
import { readByRegex } from "./parser.model.ts";
import { MAX_LINE_BYTES, parseTrace, TraceParser } from "./parser.ts";

function classSum(trace: Trace): number {
  return Object.values(trace.classes).reduce((sum, tally) => sum + tally.count, 0);
}

describe("the trace parser on recordings", () => {
  for (const name of ["nvme-io-612.txt.gz", "fixtures/linux-6.1.txt", "fixtures/e1000e.txt", "fixtures/vfio.txt"]) {
    test(`reads ${name} like a regular expression per line`, () => {
      const bytes = read(name);
      const trace = parseTrace(bytes);
      const expected = readByRegex(new TextDecoder().decode(bytes));
      assert.equal(trace.events.length, expected.length);
      assert.equal(classSum(trace), trace.lines);
      expected.forEach((event, at) => {
        const { events } = trace;
        assert.equal(events.line[at], event.line);
        assert.equal(events.cpu[at], event.cpu);
        assert.equal(Math.round(events.time[at]! / 1e3), Math.round(event.seconds * 1e6));
        const found = row(trace, at);
        assert.ok(found.includes(`iova ${event.iova.toString(16)} bytes ${event.bytes};`), `${found}: ${event.name}`);
        assert.ok(found.includes(`physical ${event.physical.toString(16)};`), found);
        assert.ok(found.includes(`device ${event.device || "-"} dir`), found);
        assert.ok(found.includes(`elements ${event.elements.map((at) => at.toString(16)).join(",")};`), found);
        assert.ok(found.endsWith(`segments ${event.segments.map((at) => at.toString(16)).join(",")}`), found);
      });
    });
  }

  test("counts of nvme-io-612 are those of its known truth", () => {
    const trace = parseTrace(read("nvme-io-612.txt.gz"));
    const counts = new Map<number, number>();
    for (const kind of trace.events.kind.subarray(0, trace.events.length))
      counts.set(kind, (counts.get(kind) ?? 0) + 1);
    assert.equal(trace.events.length, 12741);
    assert.deepEqual(
      [MAP, UNMAP, DMA_MAP, DMA_MAP + 2, DMA_MAP_SG, DMA_UNMAP_SG, DMA_ALLOC].map((kind) => counts.get(kind)),
      [9914, 942, 576, 576, 366, 366, 1],
    );
    assert.deepEqual([trace.entriesInBuffer, trace.entriesWritten, trace.headerCpus], [12741, 12741, 4]);
    assert.deepEqual(trace.devices, ["0000:00:06.0"]);
    assert.equal(trace.entriesRead, 12741);
  });

  test("chunks may be cut anywhere", () => {
    const bytes = read("fixtures/e1000e.txt");
    const whole = parseTrace(bytes);
    for (const size of [1, 7, 64, 1000]) {
      const parser = new TraceParser();
      for (let at = 0; at < bytes.length; at += size) parser.write(bytes.slice(at, at + size));
      const trace = parser.finish();
      assert.equal(trace.events.length, whole.events.length, `chunks of ${size}`);
      for (let at = 0; at < whole.events.length; at++) assert.equal(row(trace, at), row(whole, at));
      assert.equal(trace.bytes, bytes.length);
    }
  });

  test("an overrun is recognised by the header alone", () => {
    const trace = parseTrace(read("fixtures/overrun.txt"));
    assert.deepEqual([trace.entriesInBuffer, trace.entriesWritten], [7478, 11196]);
    assert.equal(trace.classes.comments.count, 13);
  });
});

describe("the trace parser on lines", () => {
  test("map and unmap", () => {
    const trace = parse(`${MAP_LINE}\n${UNMAP_LINE}\n`);
    assert.equal(
      row(trace, 0),
      "kind 1 cpu 3 time 9118253000 line 1; iova ffff9000 bytes 4096; physical 10945b000; device - dir -1; elements ; segments ",
    );
    assert.ok(row(trace, 1).includes("iova 12349000 bytes 16384"), "what was really unmapped counts");
  });

  test("an older kernel prints no end, a vendor adds dev=, a range may end at 2^64", () => {
    const trace = parse(
      [
        "  a-1 [000] .....  1.000001: map: IOMMU: iova=0x00000000ffff9000 paddr=0x000000000945b000 size=4096",
        "  a-1 [000] .....  1.000002: map: IOMMU: iova=0xffff9000 - 0xffffa000 paddr=0x945b000 size=4096 dev=a600000.ssusb",
        "  a-1 [000] .....  1.000003: unmap: IOMMU: iova=0xfffffffffffff000 - 0x0000000000000000 size=4096 unmapped_size=4096",
        "",
      ].join("\n"),
    );
    assert.equal(trace.classes.malformed.firstText, "");
    assert.equal(trace.events.length, 3);
    assert.equal(trace.devices[trace.events.device[1]!], "a600000.ssusb");
    assert.equal(trace.events.iovaHigh[2]! >>> 0, 0xffffffff);
  });
});

const DMA_LINES = [
  "dma_map_page: 0000:00:06.0 dir=TO_DEVICE dma_addr=ffff9000 size=4096 phys_addr=945b000 attrs=",
  "dma_map_phys: 0000:00:06.0 dir=FROM_DEVICE dma_addr=ffffa200 size=512 phys_addr=76f42200 attrs=SKIP_CPU_SYNC|MMIO",
  "dma_unmap_phys: 0000:00:06.0 dir=TO_DEVICE dma_addr=ffff9000 size=4096 attrs=",
  "dma_alloc: 0000:00:06.0 dma_addr=fffff000 size=512 phys_addr=1000 flags=GFP_KERNEL attrs=",
  "dma_alloc_pages: 0000:00:06.0 dir=BIDIRECTIONAL dma_addr=fffff000 size=512 virt_addr=000000006877d657 flags=none attrs=",
  "dma_free: 0000:00:06.0 dma_addr=fffff000 size=512 virt_addr=000000006877d657 attrs=",
  "dma_free_sgt: 0000:00:06.0 dir=TO_DEVICE dma_addr=fff000 size=8192 phys_addrs={0x1000,0x5000}",
  "dma_map_sg: nvme0 dir=TO_DEVICE dma_addrs={0xfff40000,0xfff80000} sizes={0x2000,0x1000} phys_addrs={0x1000,0x5000,0x9000} attrs=",
  "dma_map_sg: nvme0 dir=TO_DEVICE nents=128/300 ents=1/1 [TRUNCATED] dma_addrs={0xfff40000} sizes={0x2000} phys_addrs={0x1000, 0x5000} attrs=",
  "dma_map_sg_err: nvme0 dir=TO_DEVICE dma_addrs={0x1000,0x5000} err=-12 attrs=",
  "dma_unmap_sg: nvme0 dir=TO_DEVICE phys_addrs={0x1000,0x5000} attrs=",
  "dma_sync_single_for_device: nvme0 dir=TO_DEVICE dma_addr=ffff9000 size=4096",
  "dma_sync_sg_for_device: nvme0 dir=TO_DEVICE dma_addrs={0xffff9000} sizes={0x1000}",
];

describe("the trace parser on dma events and faults", () => {
  test("dma events of both generations of kernels, by key", () => {
    const trace = parse(DMA_LINES.map((line) => `  a-1 [000] .....  1.000001: ${line}\n`).join(""));
    assert.deepEqual([trace.malformedReason, trace.classes.foreign.count], ["", 0]);
    assert.deepEqual(
      [...trace.events.kind.subarray(0, trace.events.length)],
      [
        DMA_MAP,
        DMA_MAP,
        DMA_MAP + 2,
        DMA_ALLOC,
        DMA_ALLOC,
        DMA_FREE,
        DMA_FREE,
        DMA_MAP_SG,
        DMA_MAP_SG,
        DMA_MAP_SG_ERROR,
        DMA_UNMAP_SG,
        DMA_SYNC_FOR_DEVICE,
        DMA_SYNC_FOR_DEVICE,
      ],
    );
    assert.deepEqual([...trace.events.direction.subarray(0, 2)], [TO_DEVICE, FROM_DEVICE]);
    assert.ok(row(trace, 7).includes("iova fff40000 bytes 12288"), row(trace, 7));
    assert.ok(row(trace, 7).endsWith("elements 1000,5000,9000; segments fff40000,fff80000"), row(trace, 7));
    assert.ok(row(trace, 9).endsWith("elements 1000,5000; segments "), "the label of a failed list lies: physical");
  });

  test("a fault names driver and device, group events a device", () => {
    const trace = parse(
      [
        "  irq/24-AMD-Vi-52 [000] .....  8.402248: io_page_fault: IOMMU:vfio-pci 0000:00:04.0 iova=0x0000000600000804 flags=0x0021",
        "  init-1 [001] .....  3.615194: add_device_to_group: IOMMU: groupID=0 device=0000:00:00.0",
        "  init-1 [001] .....  3.615195: attach_device_to_domain: IOMMU: device=0000:00:04.0",
        "",
      ].join("\n"),
    );
    assert.equal(trace.events.kind[0], IO_PAGE_FAULT);
    assert.ok(row(trace, 0).includes("iova 600000804 bytes 33; physical 0; device 0000:00:04.0"), row(trace, 0));
    assert.deepEqual(trace.devices, ["0000:00:04.0", "0000:00:00.0"]);
  });
});

describe("the trace parser on other writers and on lines between", () => {
  test("the shapes of trace-cmd report and of perf script", () => {
    const trace = parse(
      [
        "cpus=4",
        "CPU 2 is empty",
        "            tail-114   [003]     9.118253: map:                  IOMMU: iova=0x0000000012349000 - 0x000000001234b000 paddr=0x1000 size=8192",
        "            tail-114   [003] d.h1.     9.118253: map:                  IOMMU: iova=0x0000000012349000 - 0x000000001234b000 paddr=0x1000 size=8192",
        "CPU:1 [27 EVENTS DROPPED]",
        "            tail   114 [003]     9.118253: iommu:map: IOMMU: iova=0x0000000012349000 - 0x000000001234b000 paddr=0x0000000000001000 size=8192",
        "kworker/0:1-ev [ 7] 5   114/114 [003]     9.118253000:    iommu:map: IOMMU: iova=0x0000000012349000 - 0x000000001234b000 paddr=0x0000000000001000 size=8192",
        "\tffffffff81234567 iommu_map+0x17 ([kernel.kallsyms])",
        "",
        "         swapper     0 [003]     9.2: PERF_RECORD_LOST lost 12",
        "",
      ].join("\n"),
    );
    const { classes } = trace;
    assert.equal(trace.events.length, 4);
    const rows = [0, 1, 2, 3].map((at) => row(trace, at).replace(/line \d+/, ""));
    assert.equal(new Set(rows).size, 1, rows.join("\n"));
    assert.deepEqual([classes.comments.count, classes.stacks.count, classes.blank.count], [2, 1, 1]);
    assert.deepEqual([classes.lost.count, trace.lostEvents, trace.headerCpus], [2, 39, 4]);
    assert.equal(classSum(trace), trace.lines);
  });

  test("a task's name may hold blanks, colons and brackets", () => {
    const line = MAP_LINE.replace("dd-194    ", "a [1] map: b-194");
    assert.equal(row(parse(`${line}\n`), 0), row(parse(`${MAP_LINE}\n`), 0));
  });

  test("events that the kernel lost between two lines are counted", () => {
    const trace = parse(`CPU:2 [LOST 1234 EVENTS]\n${MAP_LINE}\nCPU:2 [LOST EVENTS]\n`);
    assert.deepEqual([trace.classes.lost.count, trace.lostEvents, trace.events.length], [2, 1234, 1]);
  });

  test("stack traces belong to their event and are entries of the buffer", () => {
    const trace = parse(
      `${MAP_LINE}\n  dd-194 [003] d.h1. 9.118254: <stack trace>\n => iommu_map\n => __iommu_dma_map\n${UNMAP_LINE}\n`,
    );
    assert.deepEqual([trace.events.length, trace.classes.stacks.count, trace.entriesRead], [2, 3, 3]);
  });

  test("events of other kinds, and events of the same name elsewhere, are counted apart", () => {
    const trace = parse(
      [
        "  a-1 [000] .....  1.000001: sched_switch: prev_comm=a prev_pid=1",
        "  a-1 [000] .....  1.000002: map: inode=4 offset=7",
        "  a-1 [000] .....  1.000003: btrfs:map: IOMMU: iova=0x1000 paddr=0x1000 size=4096",
        "  a-1 [000] .....  1.000004: foo <-bar",
        "",
      ].join("\n"),
    );
    assert.deepEqual([trace.events.length, trace.classes.otherEvents.count, trace.classes.malformed.count], [0, 4, 0]);
    assert.equal(
      trace.classes.otherEvents.firstText,
      "a-1 [000] .....  1.000001: sched_switch: prev_comm=a prev_pid=1",
    );
  });

  test("a clock that counts has no decimal point", () => {
    const trace = parse(`${MAP_LINE.replace("9.118253", "123456")}\n`);
    assert.deepEqual([trace.clockCounts, trace.events.time[0], trace.events.length], [true, 123456, 1]);
  });

  test("lines that end in CR LF", () => {
    const trace = parse(`# x\r\n${MAP_LINE}\r\n${UNMAP_LINE}\r\n\r\n`);
    assert.deepEqual([trace.events.length, trace.classes.blank.count, trace.classes.malformed.count], [2, 1, 0]);
    assert.equal(trace.classes.comments.firstText, "# x");
  });
});

const cases: readonly (readonly [what: string, line: string, reason: RegExp])[] = [
  ["an invalid digit", MAP_LINE.replace("945b000", "945g000"), /paddr= goes on with/],
  ["an empty address", MAP_LINE.replace("0x000000010945b000", ""), /paddr= holds no hexadecimal/],
  ["an address of 65 bits", MAP_LINE.replace("paddr=0x0", "paddr=0x00"), /up to 64 bits/],
  ["no size", MAP_LINE.replace(" size=4096", ""), /size= is missing/],
  ["no physical address", MAP_LINE.replace(/paddr=\S+ /, ""), /paddr= is missing/],
  ["a size that is no number", MAP_LINE.replace("size=4096", "size=4k"), /size= holds no decimal/],
  [
    "a size that is not the range's",
    MAP_LINE.replace("size=4096", "size=8192"),
    /range is 4096 bytes long, size= says 8192/,
  ],
  ["a range that ends before it begins", MAP_LINE.replace("ffffa000", "ffff8000"), /range is -4096 bytes long/],
  ["an empty range", MAP_LINE.replace("ffffa000", "ffff9000").replace("size=4096", "size=0"), /size= is 0/],
  ["nothing after the name", MAP_LINE.slice(0, MAP_LINE.indexOf(" IOMMU")), /iova= is missing/],
  ["a cut word after the name", MAP_LINE.slice(0, MAP_LINE.indexOf("MMU")), /iova= is missing/],
];

describe("the trace parser on damage", () => {
  for (const [what, line, reason] of cases) {
    test(`a line with ${what} is counted as malformed, with its number, its text and the reason`, () => {
      const trace = parse(`# head\n${UNMAP_LINE}\n${line}\n${line}\n`);
      assert.deepEqual([trace.events.length, trace.classes.malformed.count], [1, 2]);
      assert.equal(trace.classes.malformed.firstLine, 3);
      assert.equal(
        trace.classes.malformed.firstText,
        line.trimStart().slice(0, 160) + (line.trimStart().length > 160 ? "…" : ""),
      );
      assert.match(trace.malformedReason, reason);
    });
  }

  test("lists that are cut or do not fit each other are malformed, and leave nothing behind", () => {
    const head = "  a-1 [000] .....  1.000001: dma_map_sg: nvme0 dir=TO_DEVICE ";
    const trace = parse(
      [
        `${head}dma_addrs={0xfff40000} sizes={0x2000} phys_addrs={0x1000,0x50`,
        `${head}dma_addrs={0xfff40000} sizes={0x2000,0x1000} phys_addrs={0x1000} attrs=`,
        `${head}dma_addrs={0xfff40000} sizes={0x2000} phys_addrs={0x1000,zz} attrs=`,
        `${head.replace("TO_", "NEAR_")}dma_addrs={0xfff40000} sizes={0x2000} phys_addrs={0x1000} attrs=`,
        "",
      ].join("\n"),
    );
    assert.deepEqual([trace.classes.malformed.count, trace.events.length], [4, 0]);
    assert.deepEqual([trace.events.elements.length, trace.events.segments.length], [0, 0]);
  });

  test("a last line that is cut is no event, wherever the cut is", () => {
    for (const line of [MAP_LINE, UNMAP_LINE.replace("16384", "8192")]) {
      for (let length = 1; length < line.length; length++) {
        const trace = parse(`${MAP_LINE}\n${line.slice(0, length)}`);
        assert.equal(trace.events.length, 1, line.slice(0, length));
        assert.equal(trace.cutLastLine, line.slice(0, length).trim() !== "", line.slice(0, length));
        assert.equal(trace.lines, 2);
        assert.equal(classSum(trace), 2);
      }
      const whole = parse(`${MAP_LINE}\n${line}`);
      assert.deepEqual([whole.events.length, whole.cutLastLine], [2, false], "a whole line may lack its newline");
    }
  });

  test("a last line whose size can't be checked is not trusted without its newline", () => {
    const trace = parse("  a-1 [000] .....  1.000001: map: IOMMU: iova=0xffff9000 paddr=0x945b000 size=4096");
    assert.deepEqual([trace.events.length, trace.cutLastLine], [0, true]);
    assert.equal(trace.classes.events.firstLine, 0);
    assert.match(trace.malformedReason, /ends in the middle/);
  });

  test("foreign lines are counted, with the first of them; control characters can't reach a terminal", () => {
    const trace = parse(`${MAP_LINE}\nhello \u001b[31m world\n[    1.234567] DMAR: IOMMU enabled\n`);
    assert.deepEqual([trace.classes.foreign.count, trace.classes.foreign.firstLine], [2, 2]);
    assert.equal(trace.classes.foreign.firstText, "hello \\x1b[31m world");
  });

  test("a line without end is refused", () => {
    const parser = new TraceParser();
    assert.throws(() => {
      for (let i = 0; i < 20; i++) parser.write(new Uint8Array(MAX_LINE_BYTES / 16).fill(0x61));
    }, /line 1 is longer than 1048576 bytes \(it begins at byte 0\)/);
  });

  test("an empty file has no lines", () => {
    const trace = parse("");
    assert.deepEqual([trace.lines, trace.events.length, trace.cutLastLine, trace.entriesInBuffer], [0, 0, false, -1]);
  });
});

test("a number of more than 64 bits is malformed, and so is the line (found in review, 2026-11-30)", () => {
  const digits = "9".repeat(400);
  const map = (size: string): string =>
    ` node-174 [000] .....     8.139461: map: IOMMU: iova=0x0000000000001000 - 0x0000000000002000 paddr=0x0000000000003000 size=${size}\n`;
  const text = map(digits) + map("18446744073709551616") + map("4096");
  const trace = parseTrace(new TextEncoder().encode(text));
  assert.deepEqual([...trace.events.bytes.subarray(0, trace.events.length)], [4096]);
  assert.equal(trace.classes.malformed.count, 2);
  assert.equal(trace.malformedReason, "size= holds no decimal number of up to 64 bits");
  const late = parseTrace(new TextEncoder().encode(map("4096").replace("8.139461", `${digits}.139461`)));
  assert.equal(late.events.length, 0);
});
