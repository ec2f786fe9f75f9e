import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { ArchiveError, ArchiveFile } from "./archive-file.ts";
import { bootAdvice } from "./boot.ts";
import { type CaptureOptions, type CaptureResult, capture } from "./capture.ts";
import { ModelHost, systemError } from "./host.model.ts";
import { scriptOf } from "./script.ts";

const folder = mkdtempSync(join(tmpdir(), "iova-capture-"));
after(() => rmSync(folder, { recursive: true }));
const FAULT =
  "3,2,200000,-;DMAR: [DMA Read NO_PASID] Request device [01:00.0] fault addr 0x12345000 [fault reason 0x06] PTE Read access is not set\n";

interface Run {
  readonly notes: readonly string[];
  readonly result: CaptureResult | undefined;
  readonly error: unknown;
}

/** Runs a capture that is asked to stop at once, unless the options say otherwise. */
async function run(
  host: ModelHost,
  options: CaptureOptions = {},
  { target = join(folder, "a.tar.gz"), user = 0, stops = true } = {},
): Promise<Run> {
  const notes: string[] = [];
  let result: CaptureResult | undefined;
  let error: unknown;
  try {
    result = await capture(options, {
      files: host,
      user,
      archive: new ArchiveFile(target),
      folder: "a",
      stopAsked: () => (stops ? "Ctrl-C" : undefined),
      note: (line) => notes.push(line),
      onRestore: () => {},
    });
  } catch (thrown) {
    error = thrown;
  }
  return { notes, result, error };
}

function messageOf({ error }: Run): string {
  return error instanceof Error ? error.message : "no error";
}

function filesIn(archive: string): string[] {
  return spawnSync("tar", ["-tzf", archive], { encoding: "utf8" }).stdout.trim().split("\n");
}

describe("capture", () => {
  test("records in instances of its own, removes them, and writes an archive that tar reads", async () => {
    const host = new ModelHost();
    const before = [...host.files];
    const target = join(folder, "whole.tar.gz");
    const { result, error } = await run(host, {}, { target });
    assert.equal(error, undefined);
    assert.deepEqual([result?.why, result?.events, result?.overwritten], ["Ctrl-C", 2, 3]);
    assert.deepEqual([...host.files], before);
    assert.deepEqual(filesIn(target), ["a/capture.txt", "a/trace.txt", "a/dmesg.txt", "a/cmdline.txt"]);
    assert.deepEqual(
      host.written.filter((write) => !/^(iova|iova-faults)\/|^\/dev\/kmsg=iova capture: /.test(write)),
      [],
    );
    assert.ok(host.written.includes("iova/events/printk/console/enable=1"));
  });

  test("whichever step fails, the settings are as before, and no file is left", async () => {
    const clean = new ModelHost();
    await run(clean, {}, { target: join(folder, "counted.tar.gz") });
    assert.ok(clean.steps > 15, `${clean.steps} steps`);
    for (let failAt = 1; failAt <= clean.steps; failAt++) {
      const host = new ModelHost();
      const before = [...host.files];
      host.failAt = failAt;
      const target = join(folder, `failed-${failAt}.tar.gz`);
      await run(host, {}, { target });
      assert.deepEqual([...host.files], before, `step ${failAt}`);
    }
    assert.deepEqual(
      readdirSync(folder).filter((name) => /partial|^\./.test(name)),
      [],
    );
  });
});

describe("the end of a capture", () => {
  test("stops at a fault in the log; with --device, only at one of that device", async () => {
    const host = new ModelHost();
    host.news = [FAULT];
    const { result } = await run(host, {}, { stops: false });
    assert.match(result?.fault ?? "", /^DMAR: \[DMA Read NO_PASID\] Request device \[01:00\.0\]/);
    const other = new ModelHost();
    other.files.set("/sys/bus/pci/devices/0000:02:00.0", "");
    other.news = [FAULT];
    const { result: without } = await run(other, { device: "02:00.0", seconds: 0.2 }, { stops: false });
    assert.deepEqual([without?.why, without?.fault], ["0.2 s are over", undefined]);
    assert.ok(other.written.includes('iova/events/dma/filter=device == "0000:02:00.0"'));
  });

  test("stops at an io_page_fault event of a driver that prints nothing", async () => {
    const host = new ModelHost();
    host.faults = [" x-1 [000] d.h. 1.5: io_page_fault: IOMMU:gpu 0000:01:00.0 iova=0x0000000000001000 flags=0x0001\n"];
    const { result } = await run(host, {}, { stops: false });
    assert.match(result?.fault ?? "", /^io_page_fault: IOMMU:gpu 0000:01:00\.0/);
  });

  test("removes the tracing instance of a killed capture, and refuses to start beside a running one", async () => {
    const host = new ModelHost();
    host.makeFolder("/sys/kernel/tracing/instances/iova");
    const { notes, error } = await run(host);
    assert.equal(error, undefined);
    assert.equal(notes[0], "removed the tracefs instances that a killed capture had left");
    host.makeFolder("/sys/kernel/tracing/instances/iova");
    const other = host.open("/sys/kernel/tracing/instances/iova/trace_pipe");
    assert.match(messageOf(await run(host)), /instances\/iova is in use: another iova capture is running/);
    assert.equal(host.exists("/sys/kernel/tracing/instances/iova"), true);
    other.close();
  });

  test("a full disk is an ArchiveError, after everything is put back", async () => {
    const host = new ModelHost();
    const before = [...host.files];
    const { error } = await run(host, {}, { target: "/dev/full" });
    assert.ok(error instanceof ArchiveError);
    assert.equal((error.cause as NodeJS.ErrnoException).code, "ENOSPC");
    assert.deepEqual([...host.files], before);
  });

  test("stacks are those of one device's unmaps; without dma events those of all events, and a note says so", async () => {
    const host = new ModelHost();
    await run(host, { stacks: "01:00.0" });
    assert.ok(host.written.includes('iova/events/dma/dma_unmap_page/trigger=stacktrace if device == "0000:01:00.0"'));
    assert.equal(host.written.includes("iova/options/stacktrace=1"), false);
    const old = new ModelHost();
    old.hasDmaEvents = false;
    const { notes } = await run(old, { stacks: "01:00.0" });
    assert.ok(old.written.includes("iova/options/stacktrace=1"));
    assert.ok(notes.some((note) => /stacks are recorded for all events/.test(note)));
  });
});

describe("a machine that can't record", () => {
  const cases: readonly [string, (host: ModelHost) => void, RegExp, CaptureOptions?][] = [
    ["has no tracefs", (host) => host.files.delete("/sys/kernel/tracing/instances/."), /run: mount -t tracefs nodev/],
    [
      "is a container without tracefs",
      (host) => {
        host.files.delete("/sys/kernel/tracing/instances/.");
        host.files.set("/proc/self/status", "CapPrm:\t00000000a80425fb\nCapEff:\t00000000a80425fb\n");
      },
      /may not mount it \(no CAP_SYS_ADMIN, as in most containers\); run it on the host itself: iova capture --dry-run/,
    ],
    [
      "has no tracefs, but may mount it",
      (host) => {
        host.files.delete("/sys/kernel/tracing/instances/.");
        host.files.set("/proc/self/status", "CapEff:\t000001ffffffffff\n");
      },
      /run: mount -t tracefs nodev/,
    ],
    [
      "is locked down",
      (host) => host.files.set("/sys/kernel/security/lockdown", "none integrity [confidentiality]\n"),
      /boot with: lockdown=integrity/,
    ],
    [
      "has no events",
      (host) => {
        host.files.delete("/sys/kernel/tracing/events/iommu/map");
        host.files.delete("/sys/kernel/tracing/events/dma/dma_map_page");
      },
      /CONFIG_IOMMU_API/,
    ],
    [
      "lacks the memory",
      () => {},
      /--buffer: 1048576 KiB for each of 2 CPUs .*expected at most 524288k/,
      { bufferKib: 2 ** 20 },
    ],
    ["lacks the device", () => {}, /--device: this machine has no device 09:00\.0; expected/, { device: "09:00.0" }],
  ];
  for (const [name, change, message, options] of cases) {
    test(`${name}: the error says what to do, and nothing is changed`, async () => {
      const host = new ModelHost();
      change(host);
      const before = [...host.files];
      const outcome = await run(host, options);
      assert.match(messageOf(outcome), message);
      assert.deepEqual([...host.files], before);
    });
  }

  test("needs root", async () => {
    assert.match(messageOf(await run(new ModelHost(), {}, { user: 1000 })), /needs root; run: sudo iova capture/);
  });
});

describe("for other machines", () => {
  test("the script is one that sh can read, and sets what the capture sets", async () => {
    const host = new ModelHost();
    await run(host, { bufferKib: 1024, device: "0000:01:00.0" });
    const script = scriptOf({ bufferKib: 1024, device: "0000:01:00.0", seconds: 5 });
    const { status, stderr } = spawnSync("sh", ["-n"], { input: script, encoding: "utf8" });
    assert.equal(status, 0, stderr);
    for (const write of host.written.filter((text) => text.startsWith("iova/") && !text.endsWith("=0"))) {
      const [path, value] = [write.slice(5, write.indexOf("=")), write.slice(write.indexOf("=") + 1)];
      assert.ok(script.includes(`${path} ${value}\n`) || script.includes(`${path} '${value}'\n`), write);
    }
  });

  test("the script says in one line why a machine can't record, when it comes through a pipe, too", () => {
    const place = mkdtempSync(join(folder, "script-"));
    const tracing = join(place, "tracing");
    const script = scriptOf({}).replaceAll(/\/sys\/kernel\/(?:debug\/)?tracing/g, tracing);
    const said = (user: number): string => {
      writeFileSync(join(place, "id"), `#!/bin/sh\necho ${user}\n`, { mode: 0o755 });
      const env = { PATH: `${place}:${process.env["PATH"] ?? ""}` };
      const { status, stderr } = spawnSync("sh", [], { input: script, encoding: "utf8", env });
      assert.equal(status, 2, stderr);
      return stderr;
    };
    assert.equal(said(1000), "capture: needs root: sudo sh FILE, or iova capture --dry-run | sudo sh\n");
    assert.match(
      said(0),
      /^capture: tracefs is not mounted: mount -t tracefs nodev \S+ \(a container may not: run it on the host\)\n$/,
    );
    mkdirSync(join(tracing, "instances"), { recursive: true });
    assert.match(said(0), /^capture: \S+ has neither iommu nor dma: boot a kernel of a distribution\n$/);
  });

  test("boot parameters fit the kernel", () => {
    const parameters = (release: string, iommu: string): string =>
      /^trace_event=.*$/m.exec(bootAdvice({ release, iommus: [iommu] }))?.[0] ?? "";
    assert.equal(
      parameters("6.12.1", "dmar0"),
      "trace_event=iommu:*,dma:*,printk:console trace_buf_size=64M iommu.strict=1 log_buf_len=16M",
    );
    assert.match(parameters("5.10.0-8", "dmar0"), /=iommu:\*,printk:console .* intel_iommu=strict /);
    assert.match(parameters("5.10.0-8", "ivhd0"), / amd_iommu=fullflush /);
    assert.match(parameters("6.1.0", "ivhd0"), /=iommu:\*,printk:console .* iommu\.strict=1 /);
  });
});

test("an archive that can't be written whole leaves the file that was there, and nothing else", async () => {
  const target = join(folder, "there.tar.gz");
  writeFileSync(target, "before");
  const pieces = function* (): Generator<Uint8Array> {
    yield new Uint8Array(10);
    throw systemError("ENOSPC");
  };
  await assert.rejects(new ArchiveFile(target).write([{ name: "a", bytes: 20, pieces: pieces() }]), ArchiveError);
  assert.equal(readFileSync(target, "utf8"), "before");
  assert.equal(existsSync(`${target}.partial`), false);
});
