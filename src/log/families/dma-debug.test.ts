import assert from "node:assert/strict";
import { test } from "node:test";
import { factsOf, linesOf } from "../facts-of.model.ts";

const MESSAGE = { kind: "misuse", shape: "dma-debug-message" } as const;

/** The only fact of one message. */
function only(text: string): object {
  const facts = factsOf(text);
  assert.equal(facts.length, 1, text);
  return facts[0] ?? {};
}

test("each message has its class", () => {
  const classes: Record<string, string> = {
    "device driver has pending DMA allocations while released from device [count=21]": "leak",
    "device driver tries to free DMA memory it has not allocated [device address=0x0] [size=24 bytes]": "not-allocated",
    "device driver tries to free an invalid DMA memory address": "not-allocated",
    "device driver frees DMA memory with different size [device address=0x1000] [map size=64 bytes] [unmap size=32 bytes]":
      "size",
    "device driver frees DMA memory with wrong function [device address=0x1000] [size=64 bytes] [mapped as page] [unmapped as single]":
      "other",
    "device driver frees DMA memory with different CPU address [device address=0x1000] [size=64 bytes]": "other",
    "device driver frees DMA sg list with different entry count [map count=4] [unmap count=2]": "size",
    "device driver frees DMA memory with different direction [device address=0x1000] [size=64 bytes] [mapped with DMA_TO_DEVICE] [unmapped with DMA_FROM_DEVICE]":
      "direction",
    "device driver failed to check map error[device address=0x1000] [size=64 bytes] [mapped as page]":
      "unchecked-error",
    "device driver maps memory from stack [addr=aa217c54]": "bad-memory",
    "device driver maps memory from kernel text or rodata [addr=aa217c54] [len=64]": "bad-memory",
    "device driver tries to sync DMA memory it has not allocated [device address=0x1000] [size=64 bytes]": "sync",
    "device driver syncs DMA memory outside allocated range [device address=0x1000] [allocation size=64 bytes] [sync offset+size=128]":
      "sync",
    "mapping sg segment longer than device claims to support [len=131072] [max=65536]": "segment",
    "mapping sg segment across boundary [start=0x000000007fff0000] [end=0x000000008000ffff] [boundary=0x00000000ffffffff]":
      "segment",
    "cpu touching an active dma mapped cacheline [cln=0x000000001f405880]": "other",
    "cacheline tracking EEXIST, overlapping mappings aren't supported": "overlap",
    "device driver does something that a later kernel checks": "other",
  };
  for (const [message, because] of Object.entries(classes)) {
    const fact = only(`DMA-API: e1000e 0000:00:19.0: ${message}`);
    assert.deepEqual(
      { because: (fact as { because?: string }).because, device: (fact as { device?: string }).device },
      { because, device: "0000:00:19.0" },
      message,
    );
  }
});

test("a leak and the details of an entry are one fact, also when a mail program wrapped them", () => {
  const text = `> DMA-API: pci 0000:83:00.0: device driver has pending DMA
> allocations while released from device [count=21]
> One of leaked entries details: [device address=0x000000007a6d0000] [size=4096
> bytes] [mapped with DMA_FROM_DEVICE] [mapped as single]`;
  assert.deepEqual(only(text), {
    ...MESSAGE,
    lines: linesOf(1, 2, 3, 4),
    text: "DMA-API: pci 0000:83:00.0: device driver has pending DMA",
    because: "leak",
    device: "0000:83:00.0",
    count: 21,
    iova: 0x7a6d0000n,
    bytes: 4096n,
  });
});

test("a WARNING before its message, as old kernels print it, is the same fact", () => {
  const text = `[    9.075218] WARNING: CPU: 0 PID: 162 at lib/dma-debug.c:1166 check_for_stack+0xc4/0x100()
[    9.075226] dwc_otg bcm2708_usb: DMA-API: device driver maps memory from stack [addr=aa217c54]`;
  assert.deepEqual(only(text), {
    kind: "misuse",
    shape: "dma-debug-warning",
    lines: linesOf(1, 2),
    text: "WARNING: CPU: 0 PID: 162 at lib/dma-debug.c:1166 check_for_stack+0xc4/0x100()",
    time: 9.075218,
    clock: "uptime",
    because: "bad-memory",
    driver: "dwc_otg",
    device: "bcm2708_usb",
  });
});

test("a WARNING after its message is the same fact, and the next message is another", () => {
  const text = `DMA-API: mlx5_core 0662:00:00.0: cacheline tracking EEXIST, overlapping mappings aren't supported
WARNING: CPU: 0 PID: 33720 at kernel/dma/debug.c:570 add_dma_entry+0x208/0x2c8
DMA-API: i3c mipi-i3c-hci.0: device driver tries to free DMA memory it has not allocated [device address=0x0000000000000000] [size=0 bytes]`;
  const lines = text.split("\n");
  assert.deepEqual(factsOf(text), [
    {
      ...MESSAGE,
      lines: linesOf(1, 2),
      text: lines[0],
      because: "overlap",
      driver: "mlx5_core",
      device: "0662:00:00.0",
    },
    {
      ...MESSAGE,
      lines: linesOf(3),
      text: lines[2],
      because: "not-allocated",
      device: "mipi-i3c-hci.0",
      iova: 0n,
      bytes: 0n,
    },
  ]);
});

test("a WARNING alone gives the misuse that its function checks", () => {
  const text = "WARNING: CPU: 1 PID: 2873 at kernel/dma/debug.c:1009 check_unmap+0x4f8/0x960";
  assert.deepEqual(only(text), {
    kind: "misuse",
    shape: "dma-debug-warning",
    lines: linesOf(1),
    text,
    because: "other",
  });
});

test("overlapping mappings are counted; the number of the cache line is no address", () => {
  const text = "DMA-API: exceeded 7 overlapping mappings of cacheline 0x0000000005e373c0";
  assert.deepEqual(only(text), {
    kind: "misuse",
    shape: "dma-debug-overlap",
    lines: linesOf(1),
    text,
    because: "overlap",
    count: 7,
  });
});

test("a WARNING of the IOMMU code is a fact of its own; debug that ran out of memory is a loss", () => {
  const text = `WARNING: CPU: 3 PID: 1842 at drivers/iommu/dma-iommu.c:846 __iommu_dma_unmap+0x134/0x140
DMA-API: debugging out of memory - disabling`;
  const lines = text.split("\n");
  assert.deepEqual(factsOf(text), [
    { kind: "loss", what: "messages", shape: "dma-debug-disabled", lines: linesOf(2), text: lines[1] },
    { kind: "misuse", shape: "iommu-warning", lines: linesOf(1), text: lines[0], because: "other" },
  ]);
});

test("messages of DMA-API debug about itself are no misuse", () => {
  const facts = factsOf(`DMA-API: preallocated 65536 debug entries
DMA-API: debugging enabled by kernel config
DMA-API: driver filter enabled for driver [e1000e]`);
  assert.deepEqual(
    facts.filter(({ kind }) => kind === "misuse"),
    [],
  );
});
